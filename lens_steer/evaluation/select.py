"""Choosing where and how strongly to steer, on validation items, beside controls that are chosen in the same way.

    effect_i(p) = [m_i(+s) - m_i(-s)] / 2      item i at point p = (site, positions, s), m the mean of both orders; nats
    band(p)     = the 95th percentile of |mean over items of the effect| of the control vectors at p;  0 without any
    beyond(p)   = mean over items of effect_i(p) - band(p)
    chosen      = the point of least cost among the valid ones whose `beyond` is within one standard error of the best
    valid       = neither +s nor -s has newly collapsed, and letters keep 90 % of the unsteered answer probability

Logit differences do not saturate as matching rates do, and a strength at which random directions go as far as the
vector gains nothing. Where options are scored by their text, steering is meant to
change how probable they are together, so that no share of it is asked for. A vector that only prefers a letter has no
effect, as both orders are averaged. Where no point is valid, the best one is returned with `valid=False`, and must be
shown as such. Source of the rule of one standard error:
Breiman, Friedman, Olshen & Stone 1984, section 3.4.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.evaluation.sweep import SweepResult
from lens_steer.hooks.sites import Site

RETAINED = 0.9
"""The least share of the unsteered answer probability at a valid point."""
TAIL = 0.95


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """One site, position rule and strength, with its effect on the items it was chosen on.

    `effect` is its mean over items, `band` what 95 % of the controls stay below; natural-log units.
    """

    site: Site
    positions: str
    strength: float
    scale: str
    effect: float
    band: float
    valid: bool

    @property
    def beyond(self) -> float:
        """How far the effect is beyond that of the controls."""
        return self.effect - self.band


Cost = Callable[[OperatingPoint], float]
Place = tuple[Site, str, float]
"""Site, position rule and strength."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One place of one vector: the effect on each item, and whether steering there is valid."""

    effects: Float[Tensor, " item"]
    scale: str
    valid: bool


def choose_operating_point(
    *results: SweepResult, controls: Sequence[SweepResult] = (), cost: Cost | None = None
) -> OperatingPoint:
    """The point that steers furthest beyond the controls, at the least cost.

    Args:
        results: sweeps of one vector over the same validation items, one a position rule; each grid holds `+s` and `-s`
            for at least one `s > 0`.
        controls: sweeps of other vectors, such as random directions, at the same points.
        cost: what a point costs, such as its side effects on neutral text; its strength where absent.

    Returns:
        The chosen point, its strength positive.

    Raises:
        ScoreError: there are no sweeps, no strength of a grid has its negative there, or a control lacks a point.
    """
    others: dict[str, list[SweepResult]] = {}
    for control in controls:
        others.setdefault(control.vector, []).append(control)
    return choose_each([results, *others.values()], cost)[0]


def choose_each(results: Sequence[Sequence[SweepResult]], cost: Cost | None = None) -> list[OperatingPoint]:
    """The point of each of several vectors, each beside all the others as its controls.

    Args:
        results: of each vector, its sweeps as `choose_operating_point` takes them; the points are the same for all.
        cost: what a point costs; its strength where absent.

    Returns:
        The chosen points, in the order of the vectors.

    Raises:
        ScoreError: as `choose_operating_point`.
    """
    return choose_measured([dict(chain.from_iterable(map(_measured, own))) for own in results], cost)


def choose_measured(measured: Sequence[Mapping[Place, Measured]], cost: Cost | None = None) -> list[OperatingPoint]:
    """As `choose_each`, of effects that were measured in any way, such as on generated text.

    Args:
        measured: of each vector, what was found at each place; the places are the same for all.
        cost: what a point costs; its strength where absent.

    Returns:
        The chosen points, in the order of the vectors.

    Raises:
        ScoreError: nothing was measured, or a vector lacks a place.
    """
    if not measured or not measured[0]:
        raise ScoreError("no sweeps to choose from; give at least one.")
    sizes = [{place: abs(float(found.effects.mean())) for place, found in own.items()} for own in measured]
    chosen = []
    for number, own in enumerate(measured):
        others = [entry for index, entry in enumerate(sizes) if index != number]
        chosen.append(_chosen(own, partial(_band, others), cost or (lambda point: point.strength)))
    return chosen


def _measured(result: SweepResult) -> list[tuple[Place, Measured]]:
    """Every site and strength of one sweep."""
    strengths = [s for s in result.strengths if s > 0 and -s in result.strengths]
    if not strengths or 0 not in result.strengths:
        raise ScoreError(f"strengths {list(result.strengths)}; choosing needs 0, and +s and -s for at least one s > 0.")
    rows: Any = result.summary(confidence=None).set_index(["site", "strength"])
    found = []
    for site in result.sites:
        differences = dict(zip(result.strengths, result.differences(site).T, strict=True))
        for s in strengths:
            effects = (differences[s] - differences[-s]) / 2
            ends = rows.loc[[(str(site), s), (str(site), -s)]]
            before = rows.loc[(str(site), 0.0)]
            collapsed = bool(ends["collapsed"].any()) and not before["reason"]
            share = ends["answer_probability"] / before["answer_probability"]
            low = result.scoring == "letter" and bool((share < RETAINED).any())
            place = (site, result.positions, s)
            found.append((place, Measured(effects=effects, scale=result.scale, valid=not collapsed and not low)))
    return found


def _band(controls: Sequence[Mapping[Place, float]], place: Place) -> float:
    """What 95 % of the controls stay below at a point."""
    missing = [control for control in controls if place not in control]
    if missing:
        site, positions, strength = place
        raise ScoreError(f"{len(missing)} controls lack {site}, {positions}, strength {strength:g}; sweep them there.")
    return float(np.quantile([control[place] for control in controls], TAIL)) if controls else 0.0


def _chosen(own: Mapping[Place, Measured], band: Callable[[Place], float], cost: Cost) -> OperatingPoint:
    """The least costly of the best points of one vector."""
    points = {
        place: OperatingPoint(
            site=place[0],
            positions=place[1],
            strength=place[2],
            scale=found.scale,
            effect=float(found.effects.mean()),
            band=band(place),
            valid=found.valid,
        )
        for place, found in own.items()
    }
    allowed = [place for place in points if points[place].valid] or list(points)
    best = max(allowed, key=lambda place: points[place].beyond)
    effects = own[best].effects
    error = float(effects.std() / len(effects) ** 0.5) if len(effects) > 1 else 0.0
    near = [points[place] for place in allowed if points[place].beyond >= points[best].beyond - error]
    return min(near, key=lambda point: (cost(point), -point.beyond, point.site))
