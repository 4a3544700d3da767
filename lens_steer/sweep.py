"""Every site and strength of a vector, on the same fixed items.

    rows = sites x strengths x items x option orders        strength 0 = the unhooked model, computed once for all sites

Comparisons over the sweep are paired by construction. A failing or collapsed point is a row like any other. This is
the plain sweep: one scored pass for each site and strength; it does not choose among them.

Example:
    >>> from lens_steer import contrast_from_choices, extract, load_model, sweep
    >>> from lens_steer.lab.items import open_items
    >>> model, items = load_model("lab"), open_items("myopic", 10, split="train")
    >>> vector = extract(model, contrast_from_choices("myopic", items, answer="text"), "resid_post@1")
    >>> sweep(model, vector, items, "resid_post@1", [-1, 1]).summary()["strength"].tolist()
    [-1.0, 0.0, 1.0]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ScoreError, SiteError
from lens_steer.metrics.collapse import collapse
from lens_steer.metrics.statistics import cluster_bootstrap_mean
from lens_steer.model import SteerableModel, fingerprint
from lens_steer.positions import Positions
from lens_steer.progress import track
from lens_steer.score import Asking, ChoiceScores, prepare_choices, score_prompts
from lens_steer.sites import Site, SiteLike, parse_sites
from lens_steer.steer import Intervention, Scale
from lens_steer.tables import load_table, save_table
from lens_steer.vector import SteeringVector

KIND = "sweep"
STRENGTHS = tuple(sign * s for sign in (-1, 1) for s in (0.5, 1.0, 2.0, 3.0))
"""A grid for the raw scale, both signs; 0 joins every grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepResult:
    """The answers at every site and strength; `frame` holds one row for each item and option order."""

    vector: str
    model: str
    method: str
    scale: str
    positions: str
    sites: tuple[Site, ...]
    strengths: tuple[float, ...]
    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each site, strength, item and option order; a copy."""
        return self.frame.copy()

    def differences(self, site: SiteLike) -> Float[Tensor, "item strength"]:
        """The logit difference of each item, averaged over its two orders, at each strength.

        Args:
            site: one of the sweep's sites.

        Returns:
            Items in the order they were given, strengths in the order of `strengths`; natural-log units.

        Raises:
            SiteError: the sweep has no such site.
        """
        rows = self._at(site)
        values = torch.tensor(rows["logit_difference"].to_numpy(dtype=float))
        return values.reshape(len(self.strengths), -1, 2).mean(dim=2).T

    def summary(self, confidence: float | None = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row for each site and strength, with intervals over items and the collapse rule's verdict.

        Args:
            confidence: of the intervals; None leaves them out.
            seed: of the bootstrap.

        Returns:
            Columns: site, kind, layer, strength, mean logit difference with `low` and `high`, matching rate with
            `rate_low` and `rate_high`, letter mass, modal letter share, collapsed, reason. Intervals resample items,
            both orders of an item together; they are NaN where there is one item, or a score is not finite.
        """
        return pd.DataFrame(
            [
                self._summary_row(site, strength, group, confidence, seed)
                for site in self.sites
                for strength in self.strengths
                for group in [self._at(site, strength)]
            ]
        )

    def _summary_row(
        self, site: Site, strength: float, group: pd.DataFrame, confidence: float | None, seed: int
    ) -> dict[str, object]:
        """One site and strength."""
        mass, matches, differences = (
            torch.tensor(group[name].to_numpy(dtype=float)).reshape(-1, 2)
            for name in ("letter_mass", "matches", "logit_difference")
        )
        letter = group["matching_letter"].iloc[0]
        first = torch.tensor(group["chosen_letter"].eq(letter).to_numpy(dtype=bool)).reshape(-1, 2)
        verdict = collapse(first, mass)
        low, high = _interval(differences, confidence, seed)
        rate_low, rate_high = _interval(matches, confidence, seed)
        return {
            "site": str(site),
            "kind": site.kind,
            "layer": site.layer,
            "strength": strength,
            "logit_difference": float(differences.mean()),
            "low": low,
            "high": high,
            "matching_rate": float(matches.mean()),
            "rate_low": rate_low,
            "rate_high": rate_high,
            "letter_mass": verdict.mean_letter_mass,
            "modal_letter_share": verdict.modal_letter_share,
            "collapsed": verdict.collapsed,
            "reason": verdict.reason,
        }

    def save(self, path: str | Path) -> Path:
        """Writes the sweep as one line of JSON and CSV; `SweepResult.load` reads it back."""
        facts = {name: getattr(self, name) for name in ("vector", "model", "method", "scale", "positions")}
        lists = {"sites": [str(site) for site in self.sites], "strengths": list(self.strengths)}
        return save_table(path, KIND, self.frame, {**facts, **lists})

    @classmethod
    def load(cls, path: str | Path) -> "SweepResult":
        """Reads a sweep that `save` wrote.

        Raises:
            FormatError: the file is missing, truncated, edited, foreign or of a newer schema.
        """
        frame, facts = load_table(path, KIND)
        return cls(
            vector=facts["vector"],
            model=facts["model"],
            method=facts["method"],
            scale=facts["scale"],
            positions=facts["positions"],
            sites=tuple(Site.parse(site) for site in facts["sites"]),
            strengths=tuple(facts["strengths"]),
            frame=frame,
        )

    def _at(self, site: SiteLike, strength: float | None = None) -> pd.DataFrame:
        """The rows of one site, at one strength or at all."""
        parsed = Site.parse(site)
        if parsed not in self.sites:
            raise SiteError(f"the sweep has no site {parsed}; it has {', '.join(map(str, self.sites))}.")
        chosen = self.frame["site"] == str(parsed)
        if strength is not None:
            chosen &= self.frame["strength"] == strength
        return pd.DataFrame(self.frame[chosen])


def sweep(
    model: SteerableModel,
    vector: SteeringVector,
    items: Sequence[ChoiceItem],
    sites: SiteLike | Sequence[SiteLike],
    strengths: Sequence[float | int],
    positions: str | int | Sequence[int] | Positions = "all",
    scale: Scale = "raw",
    asking: Asking | None = None,
) -> SweepResult:
    """Scores the same items at every site and strength of a vector.

    Args:
        model: the vector's model.
        vector: what is added.
        items: the questions, the same at every point, each in both option orders.
        sites: as `parse_sites` reads them; the vector must have them.
        strengths: in units of the scale; 0 is added where it is missing.
        positions: which tokens of the prompt are edited.
        scale: what strength 1 means, as in `Intervention.of`.
        asking: template, batch size and progress bar; the defaults where absent.

    Returns:
        The answers, strengths in rising order.

    Raises:
        SiteError: the vector has no such site.
        ScoreError: no items, or a strength that is not finite.
        OptionTokenError: the letters are not one token each.
        MismatchError: a vector of another model.
        SteeringError: the position rule selects nothing in the prompts.
    """
    asking = asking or Asking()
    wanted = parse_sites(sites, int(model.cfg.n_layers), int(model.cfg.n_heads))
    if not all(math.isfinite(strength) for strength in strengths):
        raise ScoreError(f"strengths {list(strengths)}; give finite numbers.")
    grid = tuple(sorted({0.0, *(float(strength) for strength in strengths)}))
    plans = {
        (site, strength): [Intervention.of(vector, site, strength, scale, positions)]
        for site in wanted
        for strength in grid
        if strength != 0
    }
    prompts = prepare_choices(model, items, asking.template)
    unsteered = score_prompts(model, prompts, batch_size=asking.batch_size)
    scored = {
        point: score_prompts(model, prompts, plan, batch_size=asking.batch_size)
        for point, plan in track(plans.items(), "sweeping", len(plans), asking.progress)
    }
    facts = {"model": fingerprint(model).name, "vector": vector.name, "scale": str(scale)}
    facts["positions"] = str(Positions.parse(positions))
    points = [(site, strength) for site in wanted for strength in grid]
    frames = [_rows(scored.get(point, unsteered), facts, *point) for point in points]
    frame = pd.concat(frames, ignore_index=True)
    return SweepResult(**facts, method=vector.method, sites=wanted, strengths=grid, frame=frame)


def _interval(values: Float[Tensor, "item order"], confidence: float | None, seed: int) -> tuple[float, float]:
    """The bootstrap interval of a mean over items; NaN where it is not wanted or cannot be had."""
    if confidence is None or values.shape[0] < 2 or not bool(values.isfinite().all()):
        return math.nan, math.nan
    found = cluster_bootstrap_mean(values, confidence=confidence, seed=seed)
    return found.low, found.high


def _rows(scores: ChoiceScores, facts: dict[str, str], site: Site, strength: float) -> pd.DataFrame:
    """The answers at one site and strength, with the point they belong to in front."""
    frame = scores.to_frame()
    point = {**facts, "site": str(site), "kind": site.kind, "layer": site.layer, "strength": strength}
    return frame.assign(**point).reindex(columns=[*point, *frame.columns])
