"""Selectivity of removing a skill: the accuracy that another skill retains where the target has fallen to a level.

    relative(s)          correct tokens at strength s / correct tokens at strength 0, over fixed documents
    retained at level a  relative text accuracy at the first strength s_a where relative target accuracy falls to a,
                         both interpolated linearly between neighbouring strengths

Source: van der Weij et al. 2024 (arXiv 2403.05767), who report the levels 95, 90, 80, 50 and 20 %. Where
retained = level, steering lowers both skills equally. Intervals (`statistics.percentile_interval`) resample the
documents of the two skills independently, the same documents at every strength. Resamples that do not reach a level are
left out of the interval and counted by `reached`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.significance import bootstrap_p
from lens_steer.metrics.statistics import percentile_interval

LEVELS = (0.95, 0.9, 0.8, 0.5, 0.2)


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Retained text accuracy at the `strength` where the target has fallen to `level`; NaN where the grid ends before.

    `reached` is the share of resamples that reach the level; the interval is over these, and `why` says in one word why
    there is none. `p` is that of a difference against 0.
    """

    level: float
    strength: float
    retained: float
    low: float
    high: float
    why: str
    reached: float
    p: float


def retained_at(
    strengths: Float[Tensor, " strength"],
    target: Float[Tensor, "resample strength"],
    text: Float[Tensor, "resample strength"],
    level: float,
) -> tuple[Float[Tensor, " resample"], Float[Tensor, " resample"]]:
    """Retained accuracy at a level of the target, by linear interpolation.

    Args:
        strengths: growing, from 0.
        target: relative accuracy of the target skill, one curve per row.
        text: relative accuracy of the other skill, likewise.
        level: between 0 and 1.

    Returns:
        The strength of the first crossing and the text accuracy there, per row; NaN where the level is not reached, or
        the target is not finite.

    Raises:
        ScoreError: the strengths do not grow from 0, or the level is not between 0 and 1.
    """
    if not 0 < level < 1 or len(strengths) < 2 or float(strengths[0]) != 0 or not bool((strengths.diff() > 0).all()):
        raise ScoreError(
            f"level {level} for strengths {strengths.tolist()}; give a level between 0 and 1, and increasing strengths "
            "that start at 0."
        )
    fallen = target <= level
    right = fallen.double().argmax(dim=1).clamp(min=1)[:, None]
    left = right - 1
    above, below = target.gather(1, left), target.gather(1, right)
    share = (above - level) / (above - below)
    s, t = strengths.expand_as(target), text
    found = [curve.gather(1, left) + share * (curve.gather(1, right) - curve.gather(1, left)) for curve in (s, t)]
    read = fallen.any(dim=1) & target.isfinite().all(dim=1)
    at, retained = (torch.where(read, values[:, 0], torch.nan) for values in found)
    return at, retained


def selectivity(
    strengths: Sequence[float | int],
    target: Float[Tensor, "strength n_target"],
    text: Float[Tensor, "strength n_source"],
    levels: Sequence[float] = LEVELS,
    resamples: int = 999,
    seed: int = 0,
) -> list[Retained]:
    """Retained text accuracy at each level of the target, with 95 % intervals over documents.

    Args:
        strengths: growing, from 0.
        target: correct tokens of each document of the target skill at each strength.
        text: correct tokens of each document of the other skill at each strength.
        levels: of the target, between 0 and 1.
        resamples: the number of bootstrap resamples; 0 gives no intervals.
        seed: the same seed gives the same intervals.

    Returns:
        One entry per level.

    Raises:
        ScoreError: as `retained_at`.
    """
    grid = torch.tensor(strengths, dtype=torch.float64, device="cpu")
    value, other = (
        _relative(counts, torch.ones(1, counts.shape[1], dtype=torch.float32, device="cpu"))
        for counts in (target, text)
    )
    rng = np.random.default_rng(seed)
    drawn, others = (_relative(counts, _weights(rng, resamples, counts.shape[1])) for counts in (target, text))
    rows = []
    for level in levels:
        at, retained = (float(found) for found in retained_at(grid, value, other, level))
        resampled = retained_at(grid, drawn, others, level)[1].numpy()
        rows.append(_retained(level, at, retained, resampled, min(target.shape[1], text.shape[1])))
    return rows


def selectivity_difference(
    strengths: Sequence[float | int],
    targets: tuple[Float[Tensor, "strength n_target"], Float[Tensor, "strength n"]],
    texts: tuple[Float[Tensor, "strength n_source"], Float[Tensor, "strength n_source"]],
    levels: Sequence[float] = LEVELS,
    resamples: int = 999,
    seed: int = 0,
) -> list[Retained]:
    """Difference of the retained text accuracy of two steerings, each at the same level of its own target.

    Args:
        strengths: growing, from 0; the same for both.
        targets: correct tokens of each steering's target documents at each strength.
        texts: correct tokens of the same text documents under each steering; resampled together (paired).
        levels: of both targets, between 0 and 1.
        resamples: the number of bootstrap resamples.
        seed: the same seed gives the same intervals.

    Returns:
        One entry per level: `retained`, `low` and `high` are of the difference (first - second), `strength` is that of
        the first steering; NaN where either target does not reach the level.

    Raises:
        ScoreError: as `retained_at`.
    """
    grid, rng = torch.tensor(strengths, dtype=torch.float64, device="cpu"), np.random.default_rng(seed)
    weights = [_weights(rng, resamples, counts.shape[1]) for counts in (*targets, texts[0])]
    rows = []
    for level in levels:
        found = []
        for counts, drawn, text in zip(targets, weights, texts, strict=False):
            fallen, stayed = (
                _relative(table, torch.ones(1, table.shape[1], dtype=torch.float32, device="cpu"))
                for table in (counts, text)
            )
            at, retained = retained_at(grid, fallen, stayed, level)
            resampled = retained_at(grid, _relative(counts, drawn), _relative(text, weights[2]), level)[1]
            found.append((float(at), float(retained), resampled))
        bounds = (found[0][2] - found[1][2]).numpy()
        n = min(counts.shape[1] for counts in (*targets, texts[0]))
        rows.append(_retained(level, found[0][0], found[0][1] - found[1][1], bounds, n))
    return rows


def _retained(level: float, strength: float, value: float, drawn: np.ndarray, n: int) -> Retained:
    """A value with its interval over the resamples that reach the level."""
    found = percentile_interval(value, drawn, n)
    return Retained(
        level=level,
        strength=strength,
        retained=value,
        low=found.low,
        high=found.high,
        why="unreached" if np.isnan(value) else found.why,
        reached=float(np.mean(~np.isnan(drawn))) if len(drawn) else np.nan,
        p=np.nan if np.isnan(value) else bootstrap_p(drawn, n),
    )


def _weights(rng: np.random.Generator, resamples: int, n: int) -> Float[Tensor, "resample n"]:
    """How often each document is drawn in each resample."""
    return torch.from_numpy(rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float))


def _relative(
    counts: Float[Tensor, "strength n"], weights: Float[Tensor, "resample n"]
) -> Float[Tensor, "resample strength"]:
    """Relative accuracy of each resample: the weighted sum at each strength divided by that at strength 0."""
    sums = weights.double() @ counts.double().T
    return sums / sums[:, :1]
