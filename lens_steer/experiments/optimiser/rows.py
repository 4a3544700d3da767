"""What the optimiser and the schemes found, as rows of tables; intervals of objectives and of their gains.

    interval   of objective(mean over items of change):   items are resampled, the i-th of all behaviours together
    gain       objective of one configuration - objective of another on the same items, both resampled alike (paired)
    p          share of exchanges of the two configurations, item by item, whose gain is as far from 0

Items of different behaviours are independent, so they may be resampled together. Intervals are percentile ones, since
the smallest of several means is not a mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.experiments.evaluator import Measurements
from lens_steer.experiments.optimiser.problem import SideEffectKind
from lens_steer.experiments.optimiser.search import Tried
from lens_steer.experiments.optimiser.surrogate import Objective
from lens_steer.hooks.sites import Site
from lens_steer.metrics.significance import with_holm
from lens_steer.metrics.statistics import Interval, percentile_interval, ratio_interval

WHOLE = ("relative_top1", "relative_perplexity", "kl")
"""Columns of the evaluator that are of the whole configuration."""

Key = tuple[str, int]
"""A scheme, and the number of one of its configurations."""


def configuration_rows(
    tried: Mapping[str, Sequence[Tried]],
    objective: Objective,
    fronts: Mapping[str, Sequence[int]],
    chosen: Mapping[str, int],
) -> pd.DataFrame:
    """One row a scheme and configuration.

    Args:
        tried: the configurations of each scheme.
        objective: by which they are judged.
        fronts: indices of each scheme's Pareto front.
        chosen: index of each scheme's chosen configuration.

    Returns:
        Columns: scheme, configuration, move, round, effect, disturbance, objective, side_effect, those of the evaluator
            for the whole configuration, collapsed (any behaviour's answers), valid, front, chosen.
    """
    rows = []
    for scheme, entries in tried.items():
        for index, entry in enumerate(entries):
            outcome = entry.outcome
            rows.append(
                {
                    "scheme": scheme,
                    "configuration": index,
                    "move": entry.move,
                    "round": entry.round,
                    "effect": objective.effect(outcome.change),
                    "disturbance": objective.disturbance(outcome.change),
                    "objective": objective.value(outcome.change),
                    "side_effect": outcome.side_effect,
                    **{name: float(outcome.rows[name].iloc[0]) for name in WHOLE},
                    "collapsed": bool(outcome.rows["collapsed"].any()),
                    "valid": outcome.valid,
                    "front": index in fronts[scheme],
                    "chosen": index == chosen[scheme],
                }
            )
    return pd.DataFrame(rows)


def strength_rows(
    tried: Mapping[str, Sequence[Tried]], targets: Mapping[str, int], sites: Sequence[Site]
) -> pd.DataFrame:
    """One row a scheme, configuration and behaviour: site and strength of its vector, and its answers.

    Args:
        tried: the configurations of each scheme.
        targets: of each behaviour.
        sites: of the points.

    Returns:
        Columns: scheme, configuration, behaviour, target, site (empty where the vector is unused), strength, those of
            the evaluator.
    """
    frames = []
    for scheme, entries in tried.items():
        for index, entry in enumerate(entries):
            used, places = (entry.point != 0).any(axis=1).tolist(), np.abs(entry.point).argmax(axis=1).tolist()
            frame = entry.outcome.rows.drop(columns=list(WHOLE))
            frame.insert(0, "scheme", scheme)
            frame.insert(1, "configuration", index)
            frame.insert(3, "target", list(targets.values()))
            names = [str(sites[place]) if here else "" for here, place in zip(used, places, strict=True)]
            frame.insert(4, "site", names)
            frame.insert(5, "strength", entry.point.sum(axis=1))
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def tested_rows(
    measured: Measurements,
    keys: Sequence[Key],
    objective: Objective,
    side_effect_kind: SideEffectKind,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """One row a configuration that was measured on test.

    Args:
        measured: of the configurations.
        keys: what each is, in order.
        objective: by which they are judged.
        side_effect_kind: which of the two measures side effects.
        resamples: of the intervals.
        seed: of the bootstrap.

    Returns:
        Columns: scheme, configuration, objective, side_effect, kl and relative_top1 with `_low`, `_high` and `_why`,
            effect, disturbance, change of each behaviour (`change <name>`), collapsed.
    """
    rows = []
    for index, (scheme, configuration) in enumerate(keys):
        changes = measured.changes(index).numpy()
        mean, side_effect = changes.mean(axis=1), measured.side_effects[index]
        drawn = _objectives(changes, objective, resamples, seed)
        found = percentile_interval(objective.value(mean), drawn, changes.shape[1])
        row = {"scheme": scheme, "configuration": configuration, **found.columns("objective")}
        row |= {"effect": objective.effect(mean), "disturbance": objective.disturbance(mean)}
        row |= _ratio("kl", side_effect.kl_sum, side_effect.tokens, resamples, seed)
        row |= _ratio("relative_top1", side_effect.right_steered, side_effect.right_unsteered, resamples, seed)
        row |= _side_effect(row, side_effect_kind)
        row |= {f"change {name}": value for name, value in zip(measured.behaviours, mean.tolist(), strict=True)}
        rows.append(row | {"collapsed": measured.collapsed(index)})
    return pd.DataFrame(rows)


def gain_rows(
    measured: Measurements,
    keys: Sequence[Key],
    pairs: Sequence[tuple[float, Key, Key]],
    objective: Objective,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """How much more one configuration reaches than another on test, at one budget.

    Args:
        measured: of the configurations.
        keys: what each is, in order.
        pairs: a budget, the optimiser's configuration within it, and a scheme's.
        objective: by which they are judged.
        resamples: of the intervals.
        seed: of the bootstrap.

    Returns:
        Columns: budget, scheme, optimised_configuration, configuration, gain with `_low`, `_high` and `_why`, p and
            p_holm over the `family` of all rows, optimised and other (the two objectives), kl_optimised and kl_other.
    """
    rows = []
    for budget, ours, theirs in pairs:
        one, other = keys.index(ours), keys.index(theirs)
        first, second = (measured.changes(index).numpy() for index in (one, other))
        drawn = _objectives(first, objective, resamples, seed) - _objectives(second, objective, resamples, seed)
        values = [objective.value(changes.mean(axis=1)) for changes in (first, second)]
        gain = percentile_interval(values[0] - values[1], drawn, first.shape[1])
        row = {"budget": budget, "scheme": theirs[0], "optimised_configuration": ours[1], "configuration": theirs[1]}
        row |= {**gain.columns("gain"), "p": _exchange_p(first, second, objective, resamples, seed)}
        row |= {"optimised": values[0], "other": values[1]}
        rows.append(row | {"kl_optimised": measured.side_effects[one].kl, "kl_other": measured.side_effects[other].kl})
    return with_holm(pd.DataFrame(rows), "p", "gains (budgets x schemes)") if rows else pd.DataFrame()


def _side_effect(row: Mapping[str, Any], kind: SideEffectKind) -> dict[str, Any]:
    """The side effects with their interval, of a row that has both kinds."""
    if kind == "kl":
        return {f"side_effect{end}": row[f"kl{end}"] for end in ("", "_low", "_high", "_why")}
    turned = {"": "", "_low": "_high", "_high": "_low"}
    lost: dict[str, Any] = {f"side_effect{end}": 1 - row[f"relative_top1{other}"] for end, other in turned.items()}
    return lost | {"side_effect_why": row["relative_top1_why"]}


def _ratio(
    name: str, above: Float[Tensor, " n"], below: Float[Tensor, " n"], resamples: int, seed: int
) -> dict[str, Any]:
    """A ratio of sums over texts with its interval; NaN where there is nothing below."""
    if float(below.sum()) == 0:
        nothing = Interval(value=math.nan, low=math.nan, high=math.nan, confidence=0.95, n=len(below), why="unscored")
        return nothing.columns(name)
    return ratio_interval(above, below, resamples=resamples, seed=seed).columns(name)


def _objectives(
    changes: Float[np.ndarray, "behaviour item"], objective: Objective, resamples: int, seed: int
) -> Float[np.ndarray, " resample"]:
    """The objective of each resample; the same seed draws the same items."""
    n = changes.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    return np.array([objective.value(change) for change in changes[:, drawn].mean(axis=2).T])


def _exchange_p(
    first: Float[np.ndarray, "behaviour item"],
    second: Float[np.ndarray, "behaviour item"],
    objective: Objective,
    resamples: int,
    seed: int,
) -> float:
    """The two-sided p of a gain: both configurations are exchanged item by item, in all behaviours together."""
    both, n = np.concatenate([first, second], axis=1), first.shape[1]

    def gain(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        ours, theirs = (
            np.apply_along_axis(objective.value, 0, both[:, places].mean(axis=axis)) for places in (one, other)
        )
        return np.asarray(ours - theirs)

    rng = np.random.default_rng(seed)
    places = (np.arange(n), np.arange(n) + n)
    found: Any = stats.permutation_test(
        places, gain, permutation_type="samples", vectorized=True, n_resamples=resamples, rng=rng
    )
    return float(found.pvalue)
