"""The search over sites and strengths of several vectors: measure, expect, step; nothing but arrays and two callables.

    spent      = points measured + 4 for every slope            a slope costs about as much as four measured points
    ladder       the first-order solution at the unsteered model, at 1/16, 1/4 and 1 of the budget
    starts       all wanted signs at one site, for the sites that promise most; at 1/4 and 1 of the budget
    rounds       around the best point so far: steps of half, one and two radii, all sites chosen anew, one vector moved
                 to another site, one vector dropped;  the radius doubles, stays or halves with the step that was best
    path         rounds begin with a small part of the budget, which is doubled from round to round: a first-order
                 expectation holds best near where it was taken, and the front is traced on the way

The best point is the sound one of largest objective within the budget (of all, where none is sound). Every measured
point is kept. It is deterministic, finds a local optimum, and knows no model: see `optimiser_surrogate` for formulas.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from lens_steer.errors import ScoreError
from lens_steer.experiments.optimiser_surrogate import (
    LEAST_DAMAGE,
    Aim,
    Point,
    Surrogate,
    best_step,
    fit_curvature,
    quadratic,
)

SLOPE_COST = 4
"""What a slope costs: a forward and a backward pass that reuse nothing, in points."""

LADDER, STARTS, RISE = (1 / 16, 1 / 4, 1.0), 3, 3
RADIUS, SMALLEST, LARGEST = 0.5, 0.02, 2.0
_FACTORS = {"half step": 0.5, "step": 1.0, "double step": 2.0}
_SAME = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a point did: the change of each behaviour's mean logit difference (nats), its damage, and whether it is
    sound, that is, nothing has collapsed that had not before."""

    change: Float[np.ndarray, " behaviour"]
    damage: float
    sound: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A measured point, with why it was tried and in which round (0: before the rounds)."""

    point: Point
    outcome: Outcome
    move: str
    round: int


Measure = Callable[[Sequence[Point]], Sequence[Outcome]]
Slopes = Callable[[Point], Float[np.ndarray, "behaviour vector site"]]


@dataclass(kw_only=True, eq=False)
class _Search:
    """The state of one search: everything tried, and what is left to spend."""

    aim: Aim
    gram: Float[np.ndarray, "site vector vector"]
    measure: Measure
    slopes: Slopes
    left: int
    tried: list[Tried] = field(default_factory=list)

    def run(self, moves: Sequence[tuple[str, Point]], round_: int) -> None:
        """Measures points that are new, as far as can be paid for."""
        new: list[tuple[str, Point]] = []
        for move, point in moves:
            known = [entry.point for entry in self.tried] + [other for _, other in new]
            if np.any(point) and not any(_same(point, other) for other in known):
                new.append((move, point))
        new = new[: self.left]
        if new:
            outcomes = self.measure([point for _, point in new])
            self.left -= len(new)
            for (move, point), outcome in zip(new, outcomes, strict=True):
                self.tried.append(Tried(point=point, outcome=outcome, move=move, round=round_))

    def slopes_at(self, entry: Tried | None) -> Surrogate | None:
        """The expectation around a point, or around the unsteered model; None where it cannot be paid for."""
        if self.left <= SLOPE_COST:
            return None
        self.left -= SLOPE_COST
        point = np.zeros((len(self.aim.targets), len(self.gram))) if entry is None else entry.point
        change = np.zeros(len(self.aim.targets)) if entry is None else entry.outcome.change
        return Surrogate(point=point, change=change, slopes=self.slopes(point), curvature=self.gram)

    def fitted(self, surrogate: Surrogate, here: Tried | None) -> Surrogate:
        """The same expectation with the damage fitted to all that was tried, and right at a point."""
        points, damages = [e.point for e in self.tried], [e.outcome.damage for e in self.tried]
        curvature = fit_curvature(self.gram, points, damages)
        if here is not None:
            curvature *= max(here.outcome.damage, LEAST_DAMAGE) / quadratic(curvature, here.point)
        return replace(surrogate, curvature=curvature)


def search(
    aim: Aim,
    gram: Float[np.ndarray, "site vector vector"],
    measure: Measure,
    slopes: Slopes,
    cells: int,
) -> tuple[Tried, ...]:
    """Looks for the assignment of best objective within the budget of damage.

    Args:
        aim: what is wanted.
        gram: inner products of the vectors at each site, in units of the activation norm.
        measure: what points really do, several at once.
        slopes: the slope of each behaviour's change over each strength, at a point.
        cells: how much may be spent; see above.

    Returns:
        Every measured point, in order; `best` chooses among them.

    Raises:
        ScoreError: nothing is targeted, the budget is not above 0, or too few cells to begin with.
    """
    if not any(aim.targets) or not aim.budget > 0 or cells < SLOPE_COST + 1:
        raise ScoreError(
            f"targets {list(aim.targets)}, a budget of {aim.budget} and {cells} cells; give at least one target of +1 "
            f"or -1, a budget above 0, and more than {SLOPE_COST} cells."
        )
    state = _Search(aim=aim, gram=gram, measure=measure, slopes=slopes, left=cells)
    origin = state.slopes_at(None)
    if origin is not None:
        _begin(state, origin)
        _rounds(state)
    return tuple(state.tried)


def best(tried: Sequence[Tried], aim: Aim, budget: float | None = None) -> Tried:
    """The sound point of largest objective within a budget of damage.

    Args:
        tried: at least one.
        aim: what is wanted.
        budget: the aim's where absent.

    Returns:
        The first of the best; where none within the budget is sound, the best unsound one; where none is within the
        budget, the least damaging.
    """
    most = aim.budget if budget is None else budget
    within = [entry for entry in tried if entry.outcome.damage <= most]
    if not within:
        return min(tried, key=lambda entry: entry.outcome.damage)
    return max(within, key=lambda entry: (entry.outcome.sound, aim.objective(entry.outcome.change)))


def front(tried: Sequence[Tried], aim: Aim) -> list[int]:
    """The Pareto front: sound points than which no sound point has more objective for as little damage.

    Args:
        tried: points.
        aim: what is wanted.

    Returns:
        Their indices, damage rising.
    """
    order = sorted(
        (index for index, entry in enumerate(tried) if entry.outcome.sound),
        key=lambda index: (tried[index].outcome.damage, -aim.objective(tried[index].outcome.change)),
    )
    kept: list[int] = []
    for index in order:
        value = aim.objective(tried[index].outcome.change)
        if not kept or value > aim.objective(tried[kept[-1]].outcome.change):
            kept.append(index)
    return kept


def _begin(state: _Search, origin: Surrogate) -> None:
    """The ladder and the starts, before the rounds."""
    aim, everywhere = state.aim, np.ones(origin.point.shape, dtype=bool)
    for share in LADDER:
        expected = state.fitted(origin, None)
        state.run([("ladder", best_step(expected, aim, share * aim.budget, 1.0, origin.point, everywhere))], 0)
    expected, starts = state.fitted(origin, None), []
    for site in range(len(state.gram)):
        point = np.zeros(origin.point.shape)
        point[:, site] = aim.targets
        starts.append(point * np.sqrt(aim.budget / expected.damage(point)))
    starts.sort(key=lambda point: -aim.objective(expected.changes(point)))
    state.run([("start", point * np.sqrt(share)) for point in starts[:STARTS] for share in (1 / 4, 1)], 0)


def _rounds(state: _Search) -> None:
    """Steps around the best point so far, until all is spent or no step is left to take."""
    radius, number, stay = RADIUS, 0, 0
    here: Tried | None = None
    around: Surrogate | None = None
    while state.left > 0 and radius >= SMALLEST:
        number += 1
        budget = state.aim.budget * 0.5 ** max(RISE + 1 - number, 0)
        before = best(state.tried, state.aim, budget)
        if before is not here:
            here, around, stay = before, state.slopes_at(before), 0
        if around is None or here is None:
            return
        moves = list(_moves(state.fitted(around, here), state.aim, budget, radius, stay))
        state.run(moves, number)
        after, stay = best(state.tried, state.aim, budget), stay + 1
        factor = _FACTORS.get(after.move, 1.0) if after is not here else 0.5
        radius = min(radius * factor, LARGEST)


def _moves(
    expected: Surrogate, aim: Aim, budget: float, radius: float, stay: int
) -> Iterator[tuple[str, Point]]:
    """What to try around a point; `stay` counts the rounds that it has been the best, and goes down the list."""
    here = expected.point
    free = (here != 0) | ~here.any(axis=1, keepdims=True)
    for move, factor in _FACTORS.items():
        yield move, best_step(expected, aim, budget, radius * factor, here, free)
    yield "anew", best_step(expected, aim, budget, 1.0, np.zeros_like(here), np.ones(here.shape, dtype=bool))
    for move, points in (("elsewhere", _elsewhere(expected)), ("dropped", _dropped(here))):
        ranked = sorted(points, key=lambda point: -aim.objective(expected.changes(point)))
        if stay < len(ranked):
            used = ranked[stay] != 0
            yield move, best_step(expected, aim, budget, radius, ranked[stay], used)


def _elsewhere(expected: Surrogate) -> Iterator[Point]:
    """One vector at another site, of either sign, at the same damage."""
    sizes = np.sqrt(np.einsum("lii->il", expected.curvature))
    for vector, old in zip(*np.nonzero(expected.point), strict=True):
        for site in range(expected.point.shape[1]):
            if site != old:
                strength = abs(expected.point[vector, old]) * sizes[vector, old] / sizes[vector, site]
                for sign in (-1, 1):
                    moved = expected.point.copy()
                    moved[vector] = 0.0
                    moved[vector, site] = sign * strength
                    yield moved


def _dropped(here: Point) -> Iterator[Point]:
    """One vector less, where there are several."""
    used = np.flatnonzero(here.any(axis=1))
    for vector in used if len(used) > 1 else ():
        left = here.copy()
        left[vector] = 0.0
        yield left


def _same(one: Point, other: Point) -> bool:
    """Whether two points are the same for all that measuring them again could show."""
    return bool(np.abs(one - other).max() <= _SAME * np.abs(other).max())
