"""The contenders: whatever changes a behaviour, made of the same training items, with an end for either direction.

    vectors       each method of `extraction.methods`, and the optimised vector:       h + s v,  h - s v
    maps          mean matching, MiMiC, LEACE then steer, Linear-AcT, K-steering:     fitted from one side to the other
    turns         angular: to the angle of v, or to its opposite;  spherical: to the prototype of one side
    gates         CAST: the mean difference, where a prompt is like the behaviour's questions and not like neutral text
    prompts       persona: a sentence that shows the behaviour;  few-shot: examples answered in its way
    fine-tuning   LoRA adapters by SFT and by DPO, one trained for each end
    controls      random directions with the norm of the mean difference

An end is a function from a strength above 0 to a condition. Prompts have no strength: their side effects are measured,
not set. A gate that is shut on neutral text costs nothing there at any strength; so CAST takes the strength at which
its vector meets the budget without the gate. A turn ends at its angle, and an adapter as it was trained (strength 1:
scaled beyond, it would answer with neither option), which may be short of the budget. All these are compared with the
reference at their own side effects.
"""

import difflib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.data.own_answers import Listing
from lens_steer.errors import MethodError
from lens_steer.evaluation.equal_side_effects import LARGEST
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.experiments.benchmark.conditions import Adapted, Condition, Edited, Prompted
from lens_steer.experiments.benchmark.settings import BenchmarkSettings
from lens_steer.experiments.evaluator import scoring_options
from lens_steer.experiments.painless.on_top import prefix_of
from lens_steer.experiments.reliability.prompts import persona_of
from lens_steer.extraction import contrast_activations, extract
from lens_steer.extraction.condition import extract_condition
from lens_steer.extraction.finetune import Loss, train_adapter
from lens_steer.extraction.methods import METHODS
from lens_steer.extraction.optimise import extract_optimised
from lens_steer.hooks import Intervention
from lens_steer.hooks.operators import (
    ClassifierGradient,
    EraseThenSteer,
    GatedSlerp,
    LinearTransport,
    MeanMatch,
    Mimic,
    Operator,
    Rotate,
)
from lens_steer.hooks.sites import Site
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

REFERENCE, RANDOM = "mean_difference", "random"
KAPPA, BETA = 20.0, -0.15
"""Of spherical steering: its published sharpness, and the least of its published thresholds."""
HALF_TURN = float(np.pi)
Kind = Literal["vector", "map", "turn", "gate", "prompt", "fine-tuning", "control"]
Family = Callable[[float], Condition]
"""From a strength above 0 to what the model is asked under."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What every contender is given of one behaviour with one seed."""

    model: SteerableModel
    name: str
    items: tuple[ChoiceItem, ...]
    documents: tuple[str, ...]
    site: Site
    settings: BenchmarkSettings
    seed: int

    @cached_property
    def options(self) -> ScoringOptions:
        """How items are asked."""
        return scoring_options(self.settings)

    @cached_property
    def contrast(self) -> ContrastSet:
        """The training items, each completed in either way."""
        answer = "text" if self.settings.scoring == "letter" else "option"
        return contrast_from_choices(self.name, self.items, self.settings.template, answer)

    @cached_property
    def sides(self) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n width"]]:
        """The activations of both sides, suppressed first: where to come from, and where to go."""
        position = self.settings.position
        positive, negative = contrast_activations(self.model, self.contrast, sites=self.site, position=position)[
            self.site
        ]
        return negative, positive

    @cached_property
    def reference(self) -> SteeringVector:
        """The mean difference."""
        return self.extracted(REFERENCE)

    def extracted(self, method: str) -> SteeringVector:
        """The vector of a method; `single_pair` is given the first pair alone."""
        pairs = self.contrast.pairs[:1] if method == "single_pair" else self.contrast.pairs
        contrast = replace(self.contrast, pairs=pairs)
        return extract(self.model, contrast, sites=self.site, method=method, position=self.settings.position)


@dataclass(frozen=True, kw_only=True, eq=False)
class End:
    """One end of a contender; `calibrated`, where given, is what the strength is calibrated on in place of `at`.

    `largest` is the strength at which the family ends. `fixed`: there is no strength.
    """

    at: Family
    calibrated: Family | None = None
    largest: float = LARGEST
    fixed: bool = False


Ends = tuple[End, End]
"""The promoting and the suppressing end."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One contender: its name, its kind, and how its ends are made."""

    name: str
    kind: Kind
    fit: Callable[[Material], Ends]


def contenders(names: Sequence[str] = (), n_random: int = 0) -> tuple[Contender, ...]:
    """The contenders by name, the reference first, random directions last.

    Args:
        names: of `CONTENDERS`; all where there are none.
        n_random: how many random directions.

    Raises:
        MethodError: there is no such contender.
    """
    for name in names:
        if name not in CONTENDERS:
            near = difflib.get_close_matches(name, CONTENDERS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise MethodError(f"{name!r} is not a contender; expected one of {', '.join(CONTENDERS)}.{hint}")
    chosen = dict.fromkeys([REFERENCE, *(names or CONTENDERS)])
    controls = (Contender(name=f"{RANDOM} {k}", kind="control", fit=partial(_random, k)) for k in range(n_random))
    return (*(CONTENDERS[name] for name in chosen), *controls)


def _written(material: Material, vector: SteeringVector) -> Ends:
    """A vector, added and subtracted."""

    def at(sign: int, strength: float) -> Condition:
        where = material.settings.positions
        return Edited(edits=(Intervention.of(vector, material.site, sign * strength, positions=where),))

    return End(at=partial(at, 1)), End(at=partial(at, -1))


def _operated(material: Material, operators: Sequence[Operator], largest: float = LARGEST) -> Ends:
    """An operator for each end, on the mean difference where it reads a direction."""

    def at(operator: Operator, strength: float) -> Condition:
        where, vector = material.settings.positions, material.reference
        edit = Intervention.of(vector, material.site, strength, positions=where, operator=operator)
        return Edited(edits=(edit,))

    promoting, suppressing = (End(at=partial(at, operator), largest=largest) for operator in operators)
    return promoting, suppressing


def _extracted(method: str, material: Material) -> Ends:
    return _written(material, material.extracted(method))


def _optimised(material: Material) -> Ends:
    descent = replace(material.settings.descent, positions=material.settings.positions, seed=material.seed)
    return _written(material, extract_optimised(material.model, material.contrast, material.site, descent))


def _random(number: int, material: Material) -> Ends:
    return _written(material, random_like(material.reference, 1000 * material.seed + number))


def _mapped(fit: Callable[[Tensor, Tensor], Operator], material: Material) -> Ends:
    """A map from one side to the other, fitted in both directions."""
    source, target = material.sides
    return _operated(material, (fit(source, target), fit(target, source)))


def _labelled(fit: Callable[[Tensor, Tensor, int], Operator], material: Material) -> Ends:
    """A map to one of two labels: 0 the suppressed side, 1 the promoted one."""
    rows = torch.cat(material.sides)
    labels = torch.arange(len(rows), device="cpu") // len(material.sides[0])
    return _operated(material, [fit(rows, labels, target) for target in (1, 0)])


def _classified(material: Material) -> Ends:
    return _labelled(partial(ClassifierGradient.fit, seed=material.seed), material)


def _angular(material: Material) -> Ends:
    """Turned in the plane of the mean difference and the first component of those of all layers."""
    kind = material.site.kind
    every = extract(material.model, material.contrast, sites=f"{kind}@*", position=material.settings.position)
    units = torch.stack([every.at(site) / every.norm(site) for site in every.sites])
    second = torch.linalg.svd(units - units.mean(dim=0)).Vh[0]
    return _operated(material, [Rotate(second, angle) for angle in (0.0, HALF_TURN)], largest=1.0)


def _spherical(material: Material) -> Ends:
    """Turned to the mean of one side, the more the closer a token is to that of the other."""
    means, where = [side.mean(dim=0) for side in material.sides], material.settings.positions

    def at(toward: Tensor, away: Tensor, strength: float) -> Condition:
        operator = GatedSlerp(away, KAPPA, BETA)
        return Edited(edits=(Intervention.at(material.site, toward, strength, where, operator),))

    suppressed, promoted = means
    return End(at=partial(at, promoted, suppressed)), End(at=partial(at, suppressed, promoted))


def _conditional(material: Material) -> Ends:
    """The mean difference, behind a gate that tells the behaviour's questions from neutral text."""
    questions = [pair.prompt for pair in material.contrast.pairs]
    gate = extract_condition(material.model, questions, material.documents, material.site)

    def at(sign: int, strength: float) -> Condition:
        where, vector = material.settings.positions, material.reference
        edit = Intervention.of(vector, material.site, sign * strength, positions=where, gate=gate)
        return Edited(edits=(edit,))

    free = _written(material, material.reference)
    return End(at=partial(at, 1), calibrated=free[0].at), End(at=partial(at, -1), calibrated=free[1].at)


def _prompted(*conditions: Prompted) -> Ends:
    """Prompts for both ends, whatever the strength."""
    promoting, suppressing = (End(at=lambda _, own=own: own, fixed=True) for own in conditions)
    return promoting, suppressing


def _persona(material: Material) -> Ends:
    settings = material.settings
    said = settings.personas.get(material.name) or persona_of(material.name, chat=settings.chat).system
    return _prompted(*(Prompted(system=sentence) for sentence in said))


def _few_shot(material: Material) -> Ends:
    """Training items answered in the behaviour's way, and in the other one."""
    listing = Listing(template=material.settings.template)
    rng = random.Random(f"shots:{material.name}:{material.seed}")
    shown = rng.sample(material.items, min(material.settings.shots, len(material.items)))
    other = [replace(item, matching=item.other, other=item.matching) for item in shown]
    return _prompted(*(Prompted(before=prefix_of(items, listing, material.options)) for items in (shown, other)))


def _tuned(loss: Loss, material: Material) -> Ends:
    tuning = replace(material.settings.tuning, loss=loss, seed=material.seed)
    sets = (material.contrast, material.contrast.swapped())
    made = [train_adapter(material.model, contrast, tuning) for contrast in sets]
    promoting, suppressing = (
        End(at=lambda strength, own=own: Adapted(adapter=own, strength=strength), largest=1.0) for own in made
    )
    return promoting, suppressing


CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        *(Contender(name=name, kind="vector", fit=partial(_extracted, name)) for name in METHODS),
        Contender(name="optimised", kind="vector", fit=_optimised),
        Contender(name="mean_matching", kind="map", fit=partial(_mapped, MeanMatch.fit)),
        Contender(name="mimic", kind="map", fit=partial(_mapped, Mimic.fit)),
        Contender(name="leace_then_steer", kind="map", fit=partial(_labelled, EraseThenSteer.fit)),
        Contender(name="linear_act", kind="map", fit=partial(_mapped, LinearTransport.fit)),
        Contender(name="k_steering", kind="map", fit=_classified),
        Contender(name="angular", kind="turn", fit=_angular),
        Contender(name="spherical", kind="turn", fit=_spherical),
        Contender(name="cast", kind="gate", fit=_conditional),
        Contender(name="persona", kind="prompt", fit=_persona),
        Contender(name="few_shot", kind="prompt", fit=_few_shot),
        Contender(name="lora_sft", kind="fine-tuning", fit=partial(_tuned, "sft")),
        Contender(name="lora_dpo", kind="fine-tuning", fit=partial(_tuned, "dpo")),
    )
}
