"""Confidence intervals of means, ratios and shares, and the Holm correction of p-values.

    mean over items      bootstrap over items, bias-corrected and accelerated (scipy.stats.bootstrap)
    items in two orders  items are resampled with both of their answers (cluster bootstrap)
    ratio of sums        bootstrap over items, numerator and denominator of an item together (paired)
    share k / n          Clopper-Pearson, exact (scipy.stats.binomtest)
    many p-values        Holm: p_(i) <- max over j <= i of min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

Source: Efron 1987 (better bootstrap confidence intervals); Clopper & Pearson 1934; Holm 1979. An interval over items
generalises to other items of the same kind, not to other training pairs, prompts or models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import reduce
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError

EMPTY = 1e-9
"""A ratio's interval is NaN where a resample has only zero denominators with a probability above this."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its interval: `low <= value <= high` at the stated confidence, from `n` items."""

    value: float
    low: float
    high: float
    confidence: float
    n: int


def bootstrap_mean(
    values: Float[Tensor, " item"],
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    method: Literal["BCa", "percentile"] = "BCa",
) -> Interval:
    """The mean over items, with its bootstrap interval.

    Args:
        values: one number per item.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples.
        seed: the same seed gives the same interval.
        method: bias-corrected and accelerated (BCa), or percentile.

    Returns:
        The mean and its interval, in the units of the values; of width 0 where all items are equal.

    Raises:
        ScoreError: fewer than two items, or a value that is not finite.
    """
    data = values.detach().cpu().double().numpy()
    if data.size < 2 or not np.isfinite(data).all():
        raise ScoreError(f"{data.size} values for a bootstrap interval; it needs at least two items, all finite.")
    mean = float(data.mean())
    low = high = mean
    if data.max() > data.min():
        result = stats.bootstrap(
            (data,),
            np.mean,
            n_resamples=resamples,
            batch=max(1, min(resamples, 2_000_000 // data.size)),
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(seed),
        )
        low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    return Interval(value=mean, low=low, high=high, confidence=confidence, n=data.size)


def mean_interval(
    values: Float[Tensor, " item"],
    confidence: float = 0.95,
    seed: int = 0,
    method: Literal["BCa", "percentile"] = "percentile",
) -> tuple[float, float]:
    """The bounds of a mean's bootstrap interval, from 2000 resamples; for tables of many means.

    Args:
        values: one number per item, finite.
        confidence: between 0 and 1.
        seed: of the bootstrap.
        method: as in `bootstrap_mean`.

    Returns:
        (low, high); NaN for fewer than two items.
    """
    if values.numel() < 2:
        return math.nan, math.nan
    found = bootstrap_mean(values, confidence, 2000, seed, method)
    return found.low, found.high


def cluster_bootstrap_mean(
    values: Float[Tensor, "item order"], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """The mean over items scored in both option orders, with an interval from resampling items.

    Args:
        values: one number per item and option order.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples.
        seed: the same seed gives the same interval.

    Returns:
        The mean and its interval; `n` counts items, not answers.

    Raises:
        ScoreError: fewer than two items, or a value that is not finite.
    """
    return bootstrap_mean(
        reduce(values.double(), "item order -> item", "mean"), confidence=confidence, resamples=resamples, seed=seed
    )


def bootstrap_ratio(
    numerator: Float[Tensor, " item"],
    denominator: Float[Tensor, " item"],
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """sum(numerator) / sum(denominator), with its bootstrap interval (BCa) over items.

    Args:
        numerator: one number per item, such as a document's correct tokens under steering.
        denominator: one number per item, such as its correct tokens without steering.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples; both numbers of an item are drawn together.
        seed: the same seed gives the same interval.

    Returns:
        The ratio and its interval; of width 0 where every item has the same ratio. The bounds are NaN where so many
        denominators are 0 that a resample may contain only zeros.

    Raises:
        ScoreError: fewer than two items, a value that is not finite, a negative denominator, or a denominator sum of 0.
    """
    above, below = (values.detach().cpu().double().numpy() for values in (numerator, denominator))
    if above.size < 2 or not np.isfinite([above, below]).all() or below.min() < 0 or below.sum() == 0:
        raise ScoreError(
            f"{above.size} items for a bootstrap interval of a ratio; it needs at least two, all finite, and "
            "denominators >= 0 with a sum above 0."
        )
    ratio = float(above.sum() / below.sum())
    low = high = ratio
    if np.mean(below == 0) ** below.size > EMPTY:
        low = high = math.nan
    if np.allclose(above, ratio * below, rtol=1e-12, atol=0):
        low = high = ratio
    elif not math.isnan(low):
        result = stats.bootstrap(
            (above, below),
            lambda x, y, axis: x.sum(axis) / y.sum(axis),
            n_resamples=resamples,
            paired=True,
            batch=max(1, min(resamples, 2_000_000 // above.size)),
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
        low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    return Interval(value=ratio, low=low, high=high, confidence=confidence, n=above.size)


def share_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A share of independent items, with its exact interval.

    Args:
        successes: the number of items counted.
        n: the number of all items.
        confidence: between 0 and 1.

    Returns:
        successes / n with its Clopper-Pearson interval.

    Raises:
        ScoreError: n < 1, or successes not between 0 and n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ScoreError(f"{successes} of {n} is not a share; give 0 <= successes <= n and n >= 1.")
    interval = stats.binomtest(successes, n).proportion_ci(confidence_level=confidence, method="exact")
    return Interval(value=successes / n, low=float(interval.low), high=float(interval.high), confidence=confidence, n=n)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for multiple tests by Holm's method, which controls the family-wise error rate.

    Args:
        p_values: between 0 and 1; the tests may be dependent.

    Returns:
        The corrected p-values, in the same order.

    Raises:
        ScoreError: no p-values, or one that is not between 0 and 1.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure". SciPy offers only corrections of the
        false discovery rate.
    """
    values = np.asarray(p_values, dtype=float)
    if not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ScoreError(f"{values.size} p-values to correct; give at least one, each between 0 and 1.")
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1, values[order] * np.arange(values.size, 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected.tolist()
