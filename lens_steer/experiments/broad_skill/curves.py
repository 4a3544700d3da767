"""Steered text measured curve by curve: a vector at one place over many strengths, on fixed documents of two skills.

    curve       vector, place (one site, or several at once), strengths
    measured    the side effects of each strength on each document of the target, and of the text that should stay
    add         h <- h + strength v
    match       h <- h + strength (m - h . u) u,      u = v / ||v||,  m = u . mean over text of h

Matching sets the component along the vector to text's (affine concept editing, Marshall et al. 2024, arXiv
2411.09003): tokens that have it already are hardly changed, and the length of the vector does not matter. Along a
random direction text and skill are alike, so that matching there changes little and seldom reaches a level.

All curves of a call are measured on the same documents in one pass over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.evaluation.side_effects import SideEffects
from lens_steer.experiments.evaluator import Evaluator
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.operators import Ablate
from lens_steer.hooks.sites import Site
from lens_steer.metrics.selectivity import Retained, selectivity
from lens_steer.vector import SteeringVector

STEERING = "steering"
Write = Literal["add", "match"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Writing:
    """How the vectors of all curves are written: at which tokens, and added unless there are `means` to match.

    `means` are text's mean activations by site.
    """

    scale: Scale = "raw"
    positions: str = "all"
    means: Mapping[Site, Float[Tensor, " width"]] | None = None

    def edit(self, vector: SteeringVector, site: Site, strength: float) -> Intervention:
        """The intervention at one site."""
        operator = None if self.means is None else Ablate(mean=self.means[site].float())
        return Intervention.of(vector, site, strength, self.scale, self.positions, operator)


def scale_in_words(write: str, scale: str) -> str:
    """What strength 1 means."""
    return "of the way to text" if write == "match" else scale


@dataclass(frozen=True, eq=False)
class SkillCurve:
    """One vector at one place over some strengths, in rising order; `label` is `steering`, or names a control."""

    vector: SteeringVector
    label: str
    place: tuple[Site, ...]
    strengths: tuple[float | int, ...]

    @property
    def site(self) -> str:
        """The place in words: its sites, joined by +."""
        return " + ".join(map(str, self.place))

    def edits(self, strength: float, writing: Writing) -> list[Intervention]:
        """The interventions at one strength; none at 0."""
        return [writing.edit(self.vector, site, strength) for site in self.place] if strength else []


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """A curve with its side effects on the documents of the target and of the text, one entry a strength."""

    curve: SkillCurve
    target: list[SideEffects]
    text: list[SideEffects]

    def at(self, strength: float) -> tuple[SideEffects, SideEffects]:
        """Target and text at one strength of the curve."""
        index = self.curve.strengths.index(strength)
        return self.target[index], self.text[index]

    def falling(self) -> tuple[list[float | int], Tensor, Tensor]:
        """Strengths of 0 and more, with the right tokens of each document of the target and of the text at each."""
        upward = [i for i, strength in enumerate(self.curve.strengths) if strength >= 0]
        target, text = (_right([side_effects[i] for i in upward]) for side_effects in (self.target, self.text))
        return [self.curve.strengths[i] for i in upward], target, text

    def retained(self, levels: Sequence[float], resamples: int, seed: int) -> list[Retained]:
        """What text retains at each level of the target, over strengths of 0 and more."""
        return selectivity(*self.falling(), levels, resamples, seed)


def measure_curves(
    evaluator: Evaluator, curves: Sequence[SkillCurve], target: str, writing: Writing
) -> list[MeasuredCurve]:
    """Every strength of every curve, on the evaluator's documents of the target and of the neutral text."""
    configurations = [curve.edits(strength, writing) for curve in curves for strength in curve.strengths]
    both = [iter(evaluator.side_effects(configurations, skill)) for skill in (target, evaluator.neutral)]
    return [MeasuredCurve(curve, *(list(islice(found, len(curve.strengths))) for found in both)) for curve in curves]


def curve_rows(measured: Sequence[MeasuredCurve], resamples: int, seed: int) -> list[dict[str, object]]:
    """One row a curve, strength and skill (`target` or `text`); controls have no intervals.

    Raises:
        ScoreError: the unsteered model has no token of a skill right.
    """
    rows = []
    for found in measured:
        curve, drawn = found.curve, resamples if found.curve.label == STEERING else 0
        for skill, side_effects in (("target", found.target), ("text", found.text)):
            for strength, side_effect in zip(curve.strengths, side_effects, strict=True):
                place = {"vector": curve.label, "site": curve.site, "strength": strength, "skill": skill}
                rows.append(place | side_effect_row(side_effect, drawn, seed) | {"n": _documents(side_effect)})
    return rows


def side_effect_row(side_effect: SideEffects, resamples: int, seed: int) -> dict[str, object]:
    """The alignment tax of one configuration with its intervals (NaN without resamples)."""
    plain: dict[str, object] = {
        "top1": side_effect.top1 * side_effect.relative_top1,
        "top10": side_effect.top10 * side_effect.relative_top10,
    }
    found = side_effect.intervals(resamples=resamples, seed=seed)
    return plain | {key: value for name, interval in found.items() for key, value in interval.columns(name).items()}


def retained_rows(
    measured: Sequence[MeasuredCurve], levels: Sequence[float], resamples: int, seed: int
) -> list[dict[str, object]]:
    """One row a curve and level, of curves that go from 0 upwards; controls have no intervals."""
    return [
        {"vector": found.curve.label, "site": found.curve.site, **asdict(retained), "n": _documents(found.text[0])}
        for found in measured
        if 0 in found.curve.strengths and max(found.curve.strengths) > 0
        for retained in found.retained(levels, resamples if found.curve.label == STEERING else 0, seed)
    ]


def _documents(side_effect: SideEffects) -> int:
    """How many documents were measured."""
    return side_effect.right_steered.numel()


def _right(side_effects: Sequence[SideEffects]) -> Float[Tensor, "strength n"]:
    """Right tokens of each document at each strength."""
    counts = torch.stack([side_effect.right_steered for side_effect in side_effects])
    if not float(counts[0].sum()) > 0:
        raise ScoreError("the unsteered model predicts no token of these documents; there is nothing to lose.")
    return counts
