"""What a sweep found: one row for each site, strength, item and option order, and what is read from them.

    rows = sites x strengths x items x option orders

Comparisons over the sweep are paired by construction. A failing or collapsed point is a row like any other. It does
not choose among the points.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.plotting import draw
from lens_steer._util.shown import shown
from lens_steer.data.tables import load_table, save_table
from lens_steer.errors import FormatError, SiteError
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.metrics.collapse import Collapse, collapse
from lens_steer.metrics.statistics import RESAMPLES, mean_interval, rate_interval

KIND = "sweep"
_FACTS = ("vector", "model", "method", "scale", "positions", "path", "scoring")


@shown("summary")
@dataclass(frozen=True, kw_only=True, eq=False)
class SweepResult:
    """The answers at every site and strength; `frame` holds one row for each item and option order.

    `scoring` says what was scored, as `ScoringOptions` takes it.
    `path` says how they were computed: `reused` (what does not change between points was forwarded once), or `naive`
    and why; the answers are the same within 1e-4.
    """

    vector: str
    model: str
    method: str
    scale: str
    positions: str
    path: str
    sites: tuple[Site, ...]
    strengths: tuple[float, ...]
    frame: pd.DataFrame
    scoring: str = "letter"

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
        values = torch.tensor(rows["logit_difference"].to_numpy(dtype=float), device="cpu")
        axes = {"strength": len(self.strengths), "order": self.frame["order"].nunique()}
        return reduce(values, "(strength item order) -> item strength", "mean", **axes)

    def summary(self, confidence: float | None = 0.95, seed: int = 0) -> pd.DataFrame:
        """One row for each site and strength, with intervals over items and the collapse rule's verdict.

        Args:
            confidence: of the intervals; None leaves them out.
            seed: of the bootstrap.

        Returns:
            Columns: site, kind, layer, strength, mean logit difference with `low`, `high` and `why` there are none (as
            `metrics.statistics.Interval` says it), matching rate with `rate_low` and `rate_high`, answer probability,
            position bias (nats; the part of the difference that follows the order), modal letter share, modal text
            share, collapsed, reason, n (items). Both orders of an item are one item. Where a file's scores are not
            finite, rate and intervals are NaN. The rule of collapse is meant for steered answers: at
            strength 0 `collapsed` is False, and `reason` says what the rule found (`unsteered answers are one-sided:
            ...`).
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
            self._by_item(group[name]) for name in ("answer_probability", "matches", "logit_difference")
        )
        matches = torch.where(differences.isfinite(), matches, torch.nan)
        verdict = self._collapse(group, mass)
        collapsed, reason = verdict.collapsed, verdict.reason
        if strength == 0 and collapsed:
            found = "unsteered answers are one-sided" if reason.startswith("one ") else "unsteered"
            collapsed, reason = False, f"{found}: {reason}"
        level, resamples = (confidence, RESAMPLES) if confidence else (0.95, 0)
        found, rate = mean_interval(differences, level, resamples, seed), rate_interval(matches, level)
        return {
            "site": str(site),
            "kind": site.kind,
            "layer": site.layer,
            "strength": strength,
            "logit_difference": found.value,
            "low": found.low,
            "high": found.high,
            "why": found.why,
            "matching_rate": rate.value,
            "rate_low": rate.low if confidence else math.nan,
            "rate_high": rate.high if confidence else math.nan,
            "answer_probability": float(mass.mean()),
            "position_bias": self._position_bias(differences),
            "modal_letter_share": verdict.modal_letter_share,
            "modal_text_share": verdict.modal_text_share,
            "collapsed": collapsed,
            "reason": reason,
            "n": len(mass),
        }

    def _by_item(self, column: pd.Series) -> Float[Tensor, "item order"]:
        """A column of one site and strength."""
        orders = self.frame["order"].nunique()
        values = torch.tensor(column.to_numpy(dtype=float), device="cpu")
        return rearrange(values, "(item order) -> item order", order=orders)

    def _collapse(self, group: pd.DataFrame, mass: Float[Tensor, "item order"]) -> Collapse:
        """The collapse rule's verdict on one site and strength."""
        columns = [group[name] for name in ("chosen_text", "matching_text") if name in group.columns]
        texts = (list(columns[0]), list(columns[1])) if columns and columns[0].iloc[0] else None
        if self.scoring != "letter":
            return collapse(None, None, None, texts)
        letters = list(dict.fromkeys(group["matching_letter"]))
        places = torch.tensor([letters.index(letter) for letter in group["chosen_letter"]], device="cpu")
        faulty = self._by_item(group["faulty"]) > 0 if "faulty" in group.columns else None
        return collapse(self._by_item(pd.Series(places.numpy())).long(), mass, faulty, texts)

    def _position_bias(self, differences: Float[Tensor, "item order"]) -> float:
        """The part of the differences that follows the order, nats; NaN of more than two orders, 0 of one."""
        if differences.shape[1] == 1:
            return 0.0
        if differences.shape[1] > 2:
            return math.nan
        return float((differences[:, 0] - differences[:, 1]).mean() / 2)

    def figure_frame(self) -> pd.DataFrame:
        """The summary with the vector, the position rule and the scale: what figures of sweeps are drawn from."""
        return self.summary().assign(vector=self.vector, positions=self.positions, scale=self.scale)

    def plot(self) -> Any:
        """Draws the matching rates: of several layers a map, of one site a curve over strength."""
        return draw("layer_strength_map" if len({site.layer for site in self.sites}) > 1 else "steering_curves", self)

    def save(self, path: str | Path) -> Path:
        """Writes the sweep as one line of JSON and CSV; `SweepResult.load` reads it back."""
        facts = {name: getattr(self, name) for name in _FACTS}
        lists = {"sites": [str(site) for site in self.sites], "strengths": list(self.strengths)}
        return save_table(path, KIND, self.frame, {**facts, **lists})

    @classmethod
    def load(cls, path: str | Path) -> "SweepResult":
        """Reads a sweep that `save` wrote.

        Raises:
            FormatError: the file is missing, truncated, edited, foreign or of a newer schema.
        """
        frame, facts = load_table(path, KIND)
        try:
            return cls(
                **{name: facts.get(name, "unknown") for name in _FACTS if name != "scoring"},
                scoring=facts.get("scoring", "letter"),
                sites=tuple(Site.parse(site) for site in facts["sites"]),
                strengths=tuple(map(float, facts["strengths"])),
                frame=frame,
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise FormatError(f"{path}: the facts of a sweep are damaged ({error}); save the sweep again.") from error

    def _at(self, site: SiteLike, strength: float | None = None) -> pd.DataFrame:
        """The rows of one site, at one strength or at all."""
        parsed = Site.parse(site)
        if parsed not in self.sites:
            raise SiteError(f"the sweep has no site {parsed}; it has {', '.join(map(str, self.sites))}.")
        chosen = self.frame["site"] == str(parsed)
        if strength is not None:
            chosen &= self.frame["strength"] == strength
        return pd.DataFrame(self.frame[chosen])
