"""Points of schemes: chosen on validation, measured on test, compared in pairs of items.

    best    argmax over strengths of the objective,   KL <= budget and nothing newly collapsed;  ties: the smaller one
    equal   the smallest strength whose KL on validation texts is the budget (Brent's method between two of the grid)

    objective of an item  =  sum_b t_b change_b / sum_b |t_b|        t: +1 or -1 for each behaviour, 0 leaves it out

The objective pairs the i-th items of all behaviours, which are resampled together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.experiments.evaluator import Evaluator, Measurements
from lens_steer.experiments.joint_steering.schemes import AS_PUBLISHED, SchemeCurve
from lens_steer.metrics.significance import sign_flip_p, with_holm
from lens_steer.metrics.statistics import mean_interval

WHOLE = ("sum", "simultaneous")
"""The schemes whose whole curves are measured on test: all vectors at one site, and at a site each."""
EACH = "each"
"""What `steered` says where individual curves are pooled: each behaviour alone, its own change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SchemePoint:
    """One curve at one strength, and its purpose: `best`, `equal`, `as_published` or `grid`."""

    curve: SchemeCurve
    kind: str
    strength: float


def validate(
    evaluator: Evaluator, curves: Sequence[SchemeCurve], strengths: Sequence[float], kl: float
) -> tuple[pd.DataFrame, list[SchemePoint]]:
    """Measures every curve at every strength, and chooses points.

    Args:
        evaluator: validation items and texts.
        curves: the schemes.
        strengths: from 0 upwards.
        kl: the budget of side effects, nats a token.

    Returns:
        One row a curve, strength and behaviour; and of each curve its best point, and its equal one where the grid
        reaches the budget.
    """
    measured = evaluator.measure([curve.configuration(strength) for curve in curves for strength in strengths])
    frames, points = [], []
    for number, curve in enumerate(curves):
        here = measured.between(number * len(strengths), (number + 1) * len(strengths))
        frame = here.to_frame()
        grid = frame["configuration"].map(dict(enumerate(strengths)))
        frames.append(frame.drop(columns="configuration").assign(**curve.key, point="grid", strength=grid))
        points.append(SchemePoint(curve=curve, kind="best", strength=best_strength(here, strengths, curve, kl)))
        equal = strength_at_budget(evaluator, curve, strengths, [found.kl for found in here.side_effects], kl)
        points += [] if equal is None else [SchemePoint(curve=curve, kind="equal", strength=equal)]
    return pd.concat(frames, ignore_index=True), points


def further_points(curves: Sequence[SchemeCurve], strengths: Sequence[float]) -> list[SchemePoint]:
    """Points measured on test without a choice: the paper's combined ones, and the whole curves of `WHOLE`."""
    points = [
        SchemePoint(curve=curve, kind="as_published", strength=1.0) for curve in curves if curve.scheme in AS_PUBLISHED
    ]
    curves = [curve for curve in curves if curve.scheme in WHOLE]
    return points + [
        SchemePoint(curve=curve, kind="grid", strength=strength) for curve in curves for strength in strengths
    ]


def best_strength(measured: Measurements, strengths: Sequence[float], curve: SchemeCurve, kl: float) -> float:
    """The strength of largest objective among those within the budget at which nothing has newly collapsed.

    Args:
        measured: the curve's configurations on validation, one a strength.
        strengths: of the configurations; 0, which is always within, among them.
        curve: whose targets are the objective's.
        kl: the budget, nats a token on neutral text.

    Returns:
        The strength; of equal objectives the smallest.
    """
    allowed = [
        (-float(measured.targeted(configuration, curve.targets).mean()), strength)
        for configuration, strength in enumerate(strengths)
        if strength == 0
        or (measured.side_effects[configuration].kl <= kl and not measured.newly_collapsed(configuration))
    ]
    return min(allowed)[1]


def strength_at_budget(
    evaluator: Evaluator,
    curve: SchemeCurve,
    strengths: Sequence[float],
    side_effects: Sequence[float],
    kl: float,
) -> float | None:
    """The smallest strength at which a curve reaches a given KL on the evaluator's neutral texts.

    Args:
        evaluator: the model and the texts.
        curve: the scheme.
        strengths: a grid from 0 upwards.
        side_effects: the KL at each of them, nats a token.
        kl: the KL to reach.

    Returns:
        The strength, to 1 % of it; None where the grid ends before it.
    """

    def excess(strength: float) -> float:
        (side_effects,) = evaluator.side_effects([curve.configuration(strength)])
        return side_effects.kl**0.5 - kl**0.5

    for (below, _), (above, reached) in pairwise(zip(strengths, side_effects, strict=True)):
        if reached >= kl:
            root: Any = brentq(excess, below, above, rtol=np.float64(1e-2), xtol=1e-3)
            return float(root)
    return None


def measure_points(
    evaluator: Evaluator, points: Sequence[SchemePoint], resamples: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measures points once; equal ones share a configuration.

    Args:
        evaluator: test items and texts.
        points: of any curves.
        resamples: of the intervals.
        seed: of the bootstrap.

    Returns:
        One row a point and behaviour; one row a point, with objective, side effects, the p of the objective (sign flips
        of the items) and p_holm over its `family`; one row a chosen point and item. Individual points are pooled over
        behaviours where each has one (`steered` is `each`; side effects: their mean).
    """
    configurations = {(id(point.curve), point.strength): point for point in points}
    measured = evaluator.measure([point.curve.configuration(point.strength) for point in configurations.values()])
    frame, place = measured.to_frame(resamples, seed), {key: index for index, key in enumerate(configurations)}
    frames, rows, items = [], [], []
    for point in points:
        configuration = place[id(point.curve), point.strength]
        key = {**point.curve.key, "point": point.kind, "strength": point.strength}
        objective = measured.targeted(configuration, point.curve.targets)
        row = {**key, **_tested("objective", objective, resamples, seed)}
        frames.append(frame[frame["configuration"] == configuration].drop(columns="configuration").assign(**key))
        rows.append({**row, **_side_effect(measured, configuration, resamples, seed)})
        items.append(pd.DataFrame({**key, "item": range(len(objective)), "objective": objective.tolist()}))
    points_table, items_table = pd.DataFrame(rows), pd.concat(items, ignore_index=True)
    pooled = _pooled(points_table, items_table, resamples, seed)
    return (
        pd.concat(frames, ignore_index=True),
        _corrected(pd.concat([points_table, pooled[0]], ignore_index=True)),
        pd.concat([items_table, pooled[1]], ignore_index=True),
    )


def compared(objective: pd.DataFrame, with_scheme: str, point: str, resamples: int, seed: int) -> pd.DataFrame:
    """How much more each scheme moves the behaviours towards their targets than a given one, paired by item.

    Args:
        objective: one row a scheme, direction, point and item, on test; individual curves pooled or not.
        with_scheme: the scheme that is subtracted.
        point: `equal` or `best`.
        resamples: of the intervals.
        seed: of the bootstrap.

    Returns:
        One row a scheme and direction: `difference` in nats with `_low`, `_high` and `_why`, p (sign flips of items)
        and p_holm over the `family` of all rows; schemes without such a point are left out.

    Raises:
        ScoreError: the scheme that is subtracted has no such point.
    """
    whole = objective[objective["point"].eq(point) & objective["steered"].isin(("all", EACH))]
    table = whole.pivot(index=["scheme", "direction"], columns="item", values="objective")
    rows = []
    for direction in whole["direction"].unique():
        if (with_scheme, direction) not in table.index:
            raise ScoreError(
                f"scheme {with_scheme!r} has no {point!r} point in direction {direction!r}; those that have one: "
                f"{', '.join(sorted(set(whole['scheme'])))}."
            )
        by_scheme: Any = table.loc
        base = by_scheme[(with_scheme, direction)].to_numpy(dtype=float)
        for scheme in whole["scheme"].unique():
            if scheme != with_scheme and (scheme, direction) in table.index:
                paired = torch.tensor(by_scheme[(scheme, direction)].to_numpy(dtype=float) - base, device="cpu")
                key = {"scheme": scheme, "minus": with_scheme, "direction": direction, "point": point}
                rows.append({**key, **_tested("difference", paired, resamples, seed)})
    return with_holm(pd.DataFrame(rows), "p", f"differences to {with_scheme}") if rows else pd.DataFrame()


def _tested(name: str, values: Float[Tensor, " item"], resamples: int, seed: int) -> dict[str, object]:
    """A mean over items with its interval, and the p of its difference from 0."""
    found = mean_interval(values, resamples=resamples, seed=seed)
    return {**found.columns(name), "p": sign_flip_p(values, seed=seed)}


def _corrected(points: pd.DataFrame) -> pd.DataFrame:
    """The points with p_holm: all schemes at one kind of point are a family, and the behaviours steered alone."""
    whole = points["steered"].isin(("all", EACH)).map({True: "schemes", False: "behaviours steered alone"})
    families = points.groupby([points["point"], whole], sort=False)
    found = [with_holm(rows, "p", f"{what} ({point})") for (point, what), rows in families]
    return pd.concat(found).sort_index()


def _side_effect(measured: Measurements, configuration: int, resamples: int, seed: int) -> dict[str, object]:
    """Side effects of a configuration with intervals, and the number of behaviours whose answers have collapsed."""
    found = measured.side_effects[configuration].intervals(resamples=resamples, seed=seed)
    row: dict[str, object] = {}
    for name in ("relative_top1", "relative_perplexity", "kl"):
        row |= found[name].columns(name)
    behaviours = range(len(measured.behaviours))
    collapsed = sum(measured.configurations[configuration].collapse(behaviour).collapsed for behaviour in behaviours)
    return {**row, "collapsed": collapsed, "newly_collapsed": measured.newly_collapsed(configuration)}


def _pooled(points: pd.DataFrame, items: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Individual points of one kind and direction as one row: the mean over behaviours, each steered alone."""
    alone = points[points["scheme"] == "individual"]
    behaviours = len(set(alone["steered"]))
    rows, by_item = [], []
    for direction, kind in dict.fromkeys(zip(alone["direction"], alone["point"], strict=True)):
        group = pd.DataFrame(alone[alone["direction"].eq(direction) & alone["point"].eq(kind)])
        if group.shape[0] < behaviours:
            continue
        chosen = items["scheme"].eq("individual") & items["direction"].eq(direction) & items["point"].eq(kind)
        means = items[chosen].groupby("item")["objective"].mean()
        key = {"scheme": "individual", "steered": EACH, "direction": direction, "point": kind, "strength": math.nan}
        names = ("relative_top1", "relative_perplexity", "kl")
        side_effect = {name: group[name].mean() for name in names} | {f"{name}_why": "pooled" for name in names}
        verdicts = {"collapsed": max(group["collapsed"]), "newly_collapsed": any(group["newly_collapsed"])}
        values = torch.tensor(means.to_numpy(dtype=float), device="cpu")
        rows.append({**key, **_tested("objective", values, resamples, seed), **side_effect, **verdicts})
        by_item.append(pd.DataFrame({**key, "item": means.index, "objective": means.to_numpy()}))
    return pd.DataFrame(rows), pd.concat(by_item, ignore_index=True) if by_item else pd.DataFrame()
