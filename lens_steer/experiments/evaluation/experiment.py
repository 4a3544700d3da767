"""The whole evaluation of one steering vector, section by section, each with its control, interval or reason.

    verdict       effect, reliability per item, biases, controls   `experiments.reliability.judge`, `rules`
    side effects  neutral text, and text of the behaviour apart: KL, top-1, top-10, perplexity, over strengths
    capability    items that test something else, right before and after: McNemar, corrected over strengths (Holm)
    others        behaviours that are not the target: change in nats (sign flips, Holm), entanglement of their rates
    summary       usable strength and perplexity-normalised effect size   `metrics.costs`

What was not given to measure on is named in the facts with the reason, and the sections that apply are there. The
place is chosen on validation items, everything else is of test items or of given texts, at all strengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import torch

from lens_steer._util.plotting import draw
from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import Splits, split_items
from lens_steer.data.tables import Tables
from lens_steer.errors import ScoreError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.score import score_grid
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.experiments.evaluator import of_document, scoring_options
from lens_steer.experiments.reliability.judge import Judged, judge_vector
from lens_steer.experiments.reliability.measure import Place
from lens_steer.experiments.reliability.settings import N_SITES, Reliability
from lens_steer.hooks import Intervention
from lens_steer.metrics.costs import effect_size, entanglement, mcnemar, usable_strength
from lens_steer.metrics.significance import sign_flip_p, with_holm
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector

NEUTRAL, RELATED = "neutral", "related"
COSTS = ("usable_strength", "effect_size", "effect_size_r2", "entanglement")
MOST_TOKENS = 128
"""Tokens of each text, BOS included, on which side effects are measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Tables):
    """Everything that was measured of one vector, as tidy frames; `facts` is the protocol and what is left out.

    `summary`: one row, the verdict with its numbers. `items`: one row a test item. `curves`: one row a strength.
    `controls`: one row a vector, `steering`, `random k` or `shuffled k`. `side_effects`: one row a text, strength and
    measure. `capability`: one row a strength. `others`: one row a behaviour that is not the target.
    """

    kind = "evaluation"
    summary: pd.DataFrame
    items: pd.DataFrame
    curves: pd.DataFrame
    controls: pd.DataFrame
    side_effects: pd.DataFrame
    capability: pd.DataFrame
    others: pd.DataFrame

    @property
    def verdict(self) -> str:
        """The verdict alone; the rules are in `experiments.reliability.rules`."""
        return str(self.summary["verdict"].iloc[0])

    def plot(self) -> Any:
        """The curve of the propensity, the slopes of items, and the side effects."""
        return draw("evaluation_panels", self.curves, self.items, self.controls, self.side_effects)


def evaluate(
    model: SteerableModel,
    vector: SteeringVector,
    items: Sequence[ChoiceItem] | Splits[ChoiceItem],
    *,
    neutral: Sequence[str] = (),
    related: Sequence[str] = (),
    capability: Sequence[ChoiceItem] = (),
    others: Mapping[str, Sequence[ChoiceItem]] | None = None,
    shuffled: Sequence[SteeringVector] = (),
    settings: Reliability | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluates one vector.

    Args:
        model: the vector's model.
        vector: made of other items than those given here.
        items: of the behaviour; a list is split into validation and test items, half each.
        neutral: texts on which side effects are measured; at least 8 for intervals.
        related: texts of the behaviour, where a shift is expected.
        capability: items whose matching option is the right answer, such as MMLU's.
        others: items of behaviours that are not the target, by name.
        shuffled: vectors of shuffled labels of what the vector was made of (`extraction.shuffled_vectors`), the control
            that random directions are not.
        settings: sites, positions, strengths, controls, scoring; the sites are those of the vector where absent, four
            of them where it has more.
        progress: draw a progress bar.

    Returns:
        The sections for which something was given.

    Raises:
        ScoreError: too few items, no reference strength in the grid, or too few random directions for a verdict.
        SiteError, MismatchError, OptionTokenError, SteeringError: as `sweep`.
    """
    settings = _sited(vector, settings or Reliability())
    splits = items if isinstance(items, Splits) else _halved(items)
    found: dict[str, Any] = {}
    texts, rest = {NEUTRAL: neutral, RELATED: related}, others or {}
    sections = {
        "judged": lambda: judge_vector(model, vector, splits, settings, shuffled, progress),
        "side_effects": lambda: _side_effects(model, vector, found["judged"].place, texts, settings, progress),
        "capability": lambda: _capability(model, vector, found["judged"].place, capability, settings, progress),
        "others": lambda: _others(model, vector, found["judged"].place, rest, settings, progress),
    }
    for name, measure in track(sections.items(), f"evaluating {vector.name}", len(sections), progress):
        found[name] = measure()
    judged: Judged = found.pop("judged")
    row = {"behaviour": vector.name, **judged.row, **_costs(judged, **found)}
    given = {
        NEUTRAL: neutral,
        RELATED: related,
        "capability": capability,
        "others": others,
        "shuffled labels": shuffled,
    }
    facts = {"settings": asdict(settings) | {"checkpoint": None}, "versions": versions()}
    facts |= {"model": fingerprint(model).to_dict(), "vector": _described(vector, judged.place)}
    facts["left_out"] = {name: "not given" for name, what in given.items() if not what}
    facts["configurations"] = len(settings.sites) * len(settings.positions) * len(judged.controls)
    return Evaluation(
        summary=pd.DataFrame([row]),
        items=judged.items,
        curves=judged.curves.assign(scale=settings.scale, site=row["site"], positions=row["positions"], n=row["n"]),
        controls=judged.controls.assign(strength=settings.reference),
        facts=facts,
        **found,
    )


def _sited(vector: SteeringVector, settings: Reliability) -> Reliability:
    """The settings with sites of the vector."""
    if settings.sites:
        return settings
    sites, last = [str(site) for site in vector.sites], len(vector.sites) - 1
    spread = [sites[round((k + 1) * last / (N_SITES + 1))] for k in range(N_SITES)]
    return replace(settings, sites=tuple(spread if last >= N_SITES else sites))


def _halved(items: Sequence[ChoiceItem]) -> Splits[ChoiceItem]:
    """Items as validation and test items, half each."""
    if len(items) < 4:
        raise ScoreError(f"{len(items)} items to evaluate on; give at least four, which validation and test share.")
    return split_items(items, fractions=(0.0, 0.5, 0.5))


def _edits(vector: SteeringVector, place: Place, settings: Reliability) -> list[tuple[float, Intervention]]:
    """Every strength with its edit."""
    return [(s, place.edit(vector, s, settings.scale)) for s in sorted(settings.strengths)]


def _side_effects(
    model: SteerableModel,
    vector: SteeringVector,
    place: Place,
    texts: Mapping[str, Sequence[str]],
    settings: Reliability,
    progress: bool,
) -> pd.DataFrame:
    """One row a text, strength and measure, with its interval over texts."""
    rows, edits = list[dict[str, Any]](), _edits(vector, place, settings)
    for name, documents in texts.items():
        if not documents:
            continue
        options = GridOptions(checkpoint=settings.checkpoint, progress=progress)
        written = [[of_document(edit)] for _, edit in edits]
        measured = side_effect_grid(model, documents, written, options, MOST_TOKENS)
        for (s, _), spoilt in zip(edits, measured, strict=True):
            for measure, bounds in spoilt.intervals(resamples=settings.resamples).items():
                row = {"text": name, "strength": s, "scale": settings.scale, "measure": measure, "value": bounds.value}
                rows.append(row | {"low": bounds.low, "high": bounds.high, "why": bounds.why, "n": bounds.n})
    columns = ("text", "strength", "scale", "measure", "value", "low", "high", "why", "n")
    return pd.DataFrame(rows, columns=list(columns))


def _capability(
    model: SteerableModel,
    vector: SteeringVector,
    place: Place,
    items: Sequence[ChoiceItem],
    settings: Reliability,
    progress: bool,
) -> pd.DataFrame:
    """One row a strength: items right before and after; an item is right where it is on the mean of its orders."""
    columns = ("strength", "before", "after", "lost", "gained", "n", "p")
    if not items:
        return pd.DataFrame(columns=[*columns, "p_holm", "family"])
    options, edits = replace(scoring_options(settings), progress=progress), _edits(vector, place, settings)
    found = score_grid(model, options.prepare(model, items), [[edit] for _, edit in edits], options)
    before, rows = found.unsteered.item_differences > 0, []
    for (s, _), scores in zip(edits, found.configurations, strict=True):
        after = scores.item_differences > 0
        row = {"strength": s, "before": float(before.double().mean()), "after": float(after.double().mean())}
        rows.append(row | asdict(mcnemar(before, after)))
    return with_holm(pd.DataFrame(rows)[list(columns)], "p", "strengths")


def _others(
    model: SteerableModel,
    vector: SteeringVector,
    place: Place,
    behaviours: Mapping[str, Sequence[ChoiceItem]],
    settings: Reliability,
    progress: bool,
) -> pd.DataFrame:
    """One row a behaviour: half its change from subtracting to adding at the reference strength, and its rates."""
    rows, options, s = list[dict[str, Any]](), replace(scoring_options(settings), progress=progress), settings.reference
    edits = [[place.edit(vector, sign * s, settings.scale)] for sign in (-1, 1)]
    for name, items in behaviours.items():
        found = score_grid(model, options.prepare(model, items), edits, options)
        down, up = found.configurations
        change = (up.item_differences - down.item_differences).double() / 2
        bounds = mean_interval(change, resamples=settings.resamples, seed=settings.seed)
        row: dict[str, Any] = {"behaviour": name, **bounds.columns("change"), "n": bounds.n}
        row |= {
            name: float(scores.matches.double().mean())
            for name, scores in (("rate_unsteered", found.unsteered), ("rate_added", up), ("rate_subtracted", down))
        }
        rows.append(row | {"p": sign_flip_p(change, seed=settings.seed)})
    if not rows:
        return pd.DataFrame(columns=["behaviour", "change", "p", "p_holm"])
    return with_holm(pd.DataFrame(rows), "p", "behaviours that are not the target")


def _costs(
    judged: Judged, side_effects: pd.DataFrame, capability: pd.DataFrame, others: pd.DataFrame
) -> dict[str, float]:
    """Usable strength, effect size and entanglement; NaN where nothing was given to measure them on."""
    row: dict[str, float] = dict.fromkeys(COSTS, float("nan"))
    spoilt = side_effects[side_effects["text"].eq(NEUTRAL) & side_effects["measure"].eq("relative_perplexity")]
    if len(spoilt):
        ratios = spoilt.set_index("strength")["value"]
        lost = (capability["after"] - capability["before"]).tolist() if len(capability) else None
        row["usable_strength"] = usable_strength(ratios.index.tolist(), ratios.tolist(), lost)
        rates = judged.curves.set_index("strength")["rate"]
        grid = [float(s) for s in rates.index]
        if len(grid) > 4:
            found = effect_size(grid, rates.tolist(), [1.0 if s == 0 else float(ratios[s]) for s in grid])
            row |= {"effect_size": found.value, "effect_size_r2": found.r2}
    if len(others):
        added, plain = (
            torch.tensor(others[name].to_numpy(), device="cpu") for name in ("rate_added", "rate_unsteered")
        )
        row["entanglement"] = entanglement(added, plain)
    return row


def _described(vector: SteeringVector, place: Place) -> dict[str, Any]:
    """The vector in the protocol: how it was made, and its length beside that of activations."""
    norm, usual = vector.norm(place.site), vector.activation_norms.get(place.site)
    found = {"name": vector.name, "method": vector.method, "position": vector.position, "norm": norm}
    found |= {"data_hash": vector.data_hash, "n_positive": vector.n_positive, "n_negative": vector.n_negative}
    return found | {"relative_norm": norm / usual if usual else None}
