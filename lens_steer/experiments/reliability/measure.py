"""Questions asked under many edits: curves of propensity, which strengths are valid, and the choice of a place.

    effect      mean over items of [m(+s) - m(-s)] / 2 at the reference strength s, both option orders averaged    nats
    valid       answers have not newly collapsed, and
                letters: keep 90 % of the unsteered answer probability        (`evaluation.select.RETAINED`)
                texts:   lose at most 1 nat a token, over both options        (`LOST`)

A strength counts where it, its negative and all smaller ones are valid. Steering a text's likelihood makes the text
more or less likely as it should; what no steering should do is to make both options strange.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.evaluation.prompts import Prompts
from lens_steer.evaluation.score import ChoiceScores, ScoringOptions, score_grid
from lens_steer.evaluation.select import RETAINED
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import Site
from lens_steer.metrics.steerability import ROUNDING
from lens_steer.model import SteerableModel, dtype_of
from lens_steer.vector import SteeringVector

LOST = 1.0
"""Nats a token: the most that the options' texts may lose, both together, at a valid strength."""


@dataclass(frozen=True)
class Place:
    """Where a vector is added: a site and a position rule."""

    site: Site
    positions: str

    def edit(self, vector: SteeringVector, strength: float, scale: Scale) -> Intervention:
        """Adds a vector here."""
        return Intervention.of(vector, self.site, strength, scale, self.positions)


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The answers to the same questions, unsteered and at several strengths of one vector."""

    prompts: Prompts
    scores: Mapping[float, ChoiceScores]

    @property
    def strengths(self) -> tuple[float, ...]:
        """The grid in rising order, 0 in it."""
        return tuple(self.scores)

    @property
    def grid(self) -> Float[Tensor, " strength"]:
        """The strengths as a tensor."""
        return torch.tensor(self.strengths, dtype=torch.float64, device="cpu")

    @property
    def curves(self) -> Float[Tensor, "item order strength"]:
        """The propensity curve of each item in each option order (one, where texts are scored), nats."""
        return torch.stack([scores.logit_differences for scores in self.scores.values()], dim=-1).double()

    @property
    def propensity(self) -> Float[Tensor, " item"]:
        """The unsteered propensity of each item, nats."""
        return self.scores[0.0].item_differences.double()

    def effects(self, strength: float) -> Float[Tensor, " item"]:
        """Half the change of each item from subtracting to adding, mean of the option orders; nats."""
        return (self.scores[strength].item_differences - self.scores[-strength].item_differences).double() / 2

    def reason(self, strength: float) -> str:
        """Why a strength does not count; empty where it, its negative and all smaller ones are valid."""
        smaller = [s for s in self.strengths if 0 < abs(s) <= abs(strength)]
        for s in sorted(smaller, key=lambda other: (other != strength, abs(other))):
            if why := _reason(self.prompts, self.scores[s], self.scores[0.0]):
                return why if s == strength else f"{why} at strength {s:g}"
        return ""

    def valid(self) -> tuple[float, ...]:
        """The strengths that count, 0 among them."""
        return tuple(s for s in self.strengths if not self.reason(s))

    def only(self, strengths: Sequence[float]) -> "Asked":
        """The answers at some strengths."""
        return Asked(prompts=self.prompts, scores={s: self.scores[s] for s in sorted(strengths)})


def prepare(
    model: SteerableModel, items: Sequence[ChoiceItem], options: ScoringOptions, template: ChoiceTemplate | None = None
) -> Prompts:
    """Questions as token rows, by the options' template or another one."""
    return (options if template is None else replace(options, template=template)).prepare(model, items)


def ask(
    model: SteerableModel,
    prompts: Prompts,
    vectors: Sequence[tuple[SteeringVector, Place]],
    strengths: Sequence[float],
    scale: Scale,
    options: ScoringOptions,
) -> list[Asked]:
    """Asks the same questions under each vector at its place, at each strength, in one grid.

    Args:
        model: the vectors' model.
        prompts: the questions.
        vectors: what is added where, one at a time.
        strengths: without 0, which joins every grid.
        scale: what strength 1 means.
        options: batch size, checkpoint and progress bar.

    Returns:
        The answers under each vector.
    """
    edits = [[place.edit(vector, s, scale)] for vector, place in vectors for s in strengths]
    found = score_grid(model, prompts, edits, options)
    rows = [found.configurations[k : k + len(strengths)] for k in range(0, len(edits), len(strengths))]
    answers = [{0.0: found.unsteered, **dict(zip(map(float, strengths), row, strict=True))} for row in rows]
    return [Asked(prompts=prompts, scores=dict(sorted(scores.items()))) for scores in answers]


def choose_places(
    model: SteerableModel,
    pool: Sequence[SteeringVector],
    places: Sequence[Place],
    prompts: Prompts,
    reference: float,
    scale: Scale,
    options: ScoringOptions,
) -> list[Place]:
    """The place at which each vector has the largest effect on validation items, a valid one before all others.

    Args:
        model: the vectors' model.
        pool: a vector and its controls, which are all treated alike.
        places: what is chosen from.
        prompts: validation questions.
        reference: the strength at which effects are compared, added and subtracted.
        scale: what strength 1 means.
        options: batch size, checkpoint and progress bar.

    Returns:
        One place for each vector.
    """
    vectors = [(vector, place) for vector in pool for place in places]
    asked = ask(model, prompts, vectors, (-reference, reference), scale, options)
    chosen = []
    for k in range(0, len(asked), len(places)):
        own = asked[k : k + len(places)]
        rank = [(len(found.valid()) > 1, float(found.effects(reference).mean())) for found in own]
        chosen.append(places[max(range(len(places)), key=lambda place: rank[place])])
    return chosen


def rounding_of(model: SteerableModel) -> float:
    """The range that rounding gives a curve in the model's precision: 16 times its step at 1, and 1e-5 at least."""
    return max(ROUNDING, 16 * torch.finfo(getattr(torch, dtype_of(model))).eps)


def _reason(prompts: Prompts, steered: ChoiceScores, unsteered: ChoiceScores) -> str:
    """Why answers are not valid."""
    verdict = steered.collapse
    if verdict.collapsed and not unsteered.collapse.collapsed:
        return verdict.reason
    if prompts.by_letter:
        before, after = (float(scores.answer_probability.mean()) for scores in (unsteered, steered))
        return "" if after >= RETAINED * before else f"answer probability {after:.2f}, unsteered {before:.2f}"
    sizes = [len(row) - length for row, length in zip(prompts.rows, prompts.lengths, strict=True)]
    tokens = torch.tensor(sizes, dtype=torch.float64, device="cpu")
    counts = rearrange(tokens, "(item option) -> item 1 option", option=len(prompts.letters))
    lost = float(((unsteered.log_probs - steered.log_probs).double() / counts).mean())
    return "" if lost <= LOST else f"options lose {lost:.1f} nats a token"
