"""One contender on one behaviour with one seed: made, calibrated at each budget, asked, and its side effects reported.

    change       m under an end - m unsteered, for the suppressing end with the opposite sign;  by item, nats
    calibrated   on neutral texts of the validation split; side effects are reported on those of the test split
    reference    the same changes of the mean difference at the same KL of calibration, end by end

A contender that fails is a run without ends, with the reason; so is an end that cannot reach a budget.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ScoreError
from lens_steer.evaluation.equal_side_effects import LARGEST, Calibration, calibrate
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.evaluation.score import ChoiceScores
from lens_steer.evaluation.side_effects import SideEffects
from lens_steer.experiments.benchmark.conditions import Condition, Edited
from lens_steer.experiments.benchmark.contenders import REFERENCE, Contender, End, Kind, Material

T = TypeVar("T")
SIDES = ("promoting", "suppressing")
FAILURES = (ArithmeticError, LookupError, RuntimeError, ValueError)
"""What a contender may fail with while the others go on; the errors of this package are among them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EndRun:
    """One end at one strength (NaN where there is none).

    `meets_budget`: whether `kl` is the budget. `reference` is the change of the reference at the same KL.
    """

    strength: float
    kl: float
    monotone: bool
    meets_budget: bool
    change: Float[Tensor, " item"]
    rate: float
    answer_probability: float
    side_effects: SideEffects
    reference: Float[Tensor, " item"] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, from which `from_dict` makes the same numbers."""
        found = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return found | {"side_effects": {name: sums.tolist() for name, sums in vars(self.side_effects).items()}}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "EndRun":
        """The end that `to_dict` wrote."""
        sums = {name: torch.tensor(of, dtype=torch.float32, device="cpu") for name, of in given["side_effects"].items()}
        changes = {
            name: None if given[name] is None else torch.tensor(given[name], dtype=torch.float64, device="cpu")
            for name in ("change", "reference")
        }
        return cls(**{**given, **changes, "side_effects": SideEffects(**sums)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One contender at one budget; `ends` by side, those that could be had; `why` says what could not."""

    behaviour: str
    method: str
    kind: Kind
    seed: int
    budget: float
    unsteered: float
    ends: dict[str, EndRun] = field(default_factory=dict)
    why: str = ""

    @property
    def meets_budget(self) -> bool:
        """Whether the KL of every end is the budget."""
        return all(end.meets_budget for end in self.ends.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "ends": {side: end.to_dict() for side, end in self.ends.items()}}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Run":
        """The run that `to_dict` wrote."""
        return cls(**{**given, "ends": {side: EndRun.from_dict(end) for side, end in given["ends"].items()}})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of processor that a contender took: to be made, to be calibrated, and to be asked."""

    behaviour: str
    method: str
    seed: int
    fit_seconds: float
    calibration_seconds: float
    asking_seconds: float


@dataclass(kw_only=True, eq=False)
class Trial:
    """One behaviour with one seed; `calibration` and `reported` are neutral texts of two splits."""

    material: Material
    test: tuple[ChoiceItem, ...]
    calibration: PredictedTexts
    reported: PredictedTexts
    _reference: dict[str, "_Calibrated"] = field(default_factory=dict)
    _at_budget: dict[tuple[str, float], Tensor] = field(default_factory=dict)

    @cached_property
    def unsteered(self) -> ChoiceScores:
        """The answers of the model as it is."""
        return self._asked(Edited(edits=()))

    def run(self, contender: Contender) -> tuple[list[Run], Cost]:
        """One contender at every budget.

        Args:
            contender: the reference first, so that others can be compared with it.

        Returns:
            One run a budget, and what it cost.
        """
        clock, material = _Clock(), self.material
        shared: dict[str, Any] = {
            "behaviour": material.name,
            "method": contender.name,
            "kind": contender.kind,
            "seed": material.seed,
        }
        shared |= {"unsteered": float(self.unsteered.matches.double().mean())}
        budgets = material.settings.budgets
        try:
            ends = clock.timed("fit_seconds", lambda: contender.fit(material))
        except FAILURES as error:
            why = f"failed: {type(error).__name__}: {error}"
            return [Run(**shared, budget=budget, why=why) for budget in budgets], clock.cost(material, contender)
        made = {side: _Calibrated(end, self.calibration) for side, end in zip(SIDES, ends, strict=True)}
        if contender.name == REFERENCE:
            self._reference = made
        if all(end.fixed for end in ends):
            budgets = (material.settings.kl,)
        runs = []
        for budget in budgets:
            found, why = dict[str, EndRun](), []
            for side, end in made.items():
                try:
                    found[side] = self._end(side, end, budget, clock)
                except FAILURES as error:
                    why.append(f"{side}: {error}")
            runs.append(Run(**shared, budget=budget, ends=found, why=" ".join(why)))
        return runs, clock.cost(material, contender)

    def _end(self, side: str, made: "_Calibrated", budget: float, clock: "_Clock") -> EndRun:
        """One end at one budget."""
        strength, kl, monotone, met = clock.timed("calibration_seconds", lambda: made.at(budget))
        condition = made.end.at(strength)
        scores = clock.timed("asking_seconds", lambda: self._asked(condition))
        change = self._change(side, scores)
        if made is self._reference.get(side):
            self._at_budget[side, budget] = change
        return EndRun(
            strength=strength,
            kl=kl,
            monotone=monotone,
            meets_budget=met,
            change=change,
            rate=float(scores.matches.double().mean()),
            answer_probability=float(scores.answer_probability.double().mean()),
            side_effects=condition.side_effects(self.reported),
            reference=self._at_budget.get((side, budget)) if met else self._reference_at(side, kl),
        )

    def _asked(self, condition: Condition) -> ChoiceScores:
        """The answers to the test items under a condition."""
        return condition.scores(self.material.model, self.test, self.material.options)

    def _change(self, side: str, scores: ChoiceScores) -> Float[Tensor, " item"]:
        """How far each item has gone to the side's direction."""
        sign = 1 if side == SIDES[0] else -1
        return sign * (scores.item_differences - self.unsteered.item_differences).double()

    def _reference_at(self, side: str, kl: float) -> Float[Tensor, " item"] | None:
        """The reference's change at a KL; None where it has none."""
        if side not in self._reference or not kl > 0:
            return None
        made = self._reference[side]
        try:
            strength = made.calibrated(kl).strength
        except ScoreError:
            return None
        return self._change(side, self._asked(made.end.at(strength)))


class _Calibrated:
    """An end with the KL of every strength that was tried, which all budgets share."""

    def __init__(self, end: End, texts: PredictedTexts) -> None:
        self.end, self._texts = end, texts
        family = end.calibrated or end.at
        self._kl_of = cache(lambda strength: family(strength).side_effects(texts).kl)

    def calibrated(self, budget: float) -> Calibration:
        """The strength at a budget."""
        return calibrate(self._kl_of, budget, largest=self.end.largest)

    def at(self, budget: float) -> tuple[float, float, bool, bool]:
        """The strength for a budget, the end's own KL there, whether KL never fell on the way, and is the budget.

        A family that ends before the budget is taken at its end.
        """
        if self.end.fixed:
            return math.nan, self._kl_of(math.nan), True, False
        try:
            found = self.calibrated(budget)
        except ScoreError:
            if self.end.largest == LARGEST:
                raise
            return self.end.largest, self._kl_of(self.end.largest), True, False
        if self.end.calibrated is None:
            return found.strength, found.kl, found.monotone, True
        own = self.end.at(found.strength).side_effects(self._texts).kl
        return found.strength, own, found.monotone, False


class _Clock:
    """Seconds of processor by what they were spent on."""

    def __init__(self) -> None:
        self._spent = {"fit_seconds": 0.0, "calibration_seconds": 0.0, "asking_seconds": 0.0}

    def timed(self, what: str, call: Callable[[], T]) -> T:
        """Makes a call, and counts its seconds also where it fails."""
        began = time.process_time()
        try:
            return call()
        finally:
            self._spent[what] += time.process_time() - began

    def cost(self, material: Material, contender: Contender) -> Cost:
        """What was spent."""
        return Cost(behaviour=material.name, method=contender.name, seed=material.seed, **self._spent)
