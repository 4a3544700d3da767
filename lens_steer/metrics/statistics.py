"""Confidence intervals of means, rates and ratios, chosen by the share of simulated runs that they cover.

    mean              bootstrap-t over items    [m - q_high s, m - q_low s],   q: quantiles of (m* - m) / s*
    two means         Welch's t                 [d - t s, d + t s],   s^2 = s1^2 / n1 + s2^2 / n2;  of unpaired items
    ratio of sums     bootstrap-t over items    s^2 = n / (n - 1) sum_i (x_i - r y_i)^2 / (sum_i y_i)^2
    rate              Agresti-Coull             p +- z sqrt(p (1 - p) / (n + z^2)),   p = (k + z^2 / 2) / (n + z^2)
    rate, two orders  the same                  n = rate (1 - rate) / variance of the mean over items, from n to 2 n
    method            two levels                m +- t sqrt(variance over training sets + variance over items)
    any statistic     percentile bootstrap      for what has no standard error of its own

Bootstrap tails are taken at Phi(-t), t of n - 1 degrees of freedom, and not at Phi(-1.96): resamples of few items vary
too little (Hesterberg 2015). Both orders of an item are one item. What the intervals cover in simulation is written in
`docs/statistics.md`. An interval over items generalises to other items of the same kind, not to other training pairs,
prompts or models.

Source: Efron & Tibshirani 1993, chapter 12 (bootstrap-t); Welch 1947; Hesterberg 2015, "What teachers should
know about the bootstrap"; Agresti & Coull 1998; Korn & Graubard 1998 (rates of clusters); Satterthwaite 1946. SciPy has
neither bootstrap-t nor rates of clusters.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError

FEWEST = 8
"""Of fewer items no bootstrap interval of 95 % covers in 92 % of runs: they have none."""

RESAMPLES = 9999
AT_ONCE = 2_000_000
"""Numbers of one block of resamples."""
ROUNDING = 1e-6
"""A resample's standard error below this share of the sample's is 0: it is the root of a difference of sums, which is
wrong by 1e-8 of them."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its interval at the stated confidence, from `n` items.

    Where there is none, the bounds are NaN and `why` says it in one word: `few` (fewer than 8 items), `tied` (all but
    a few items are equal), `unscored` (a number is not finite), `skipped` (not asked for). `equal` marks an interval
    without width: every item has the same value.
    """

    value: float
    low: float
    high: float
    confidence: float
    n: int
    why: str = ""

    def columns(self, name: str) -> dict[str, float | str]:
        """The cells of a table: `name`, with `_low`, `_high` and `_why`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high, f"{name}_why": self.why}


def mean_interval(
    values: Float[Tensor, "item ..."], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean over items with its interval (bootstrap-t).

    Args:
        values: one number an item, or one an item and option order; both orders are resampled together.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples; 0 gives no interval.
        seed: the same seed gives the same interval.

    Returns:
        The mean and its interval, in the units of the values; `n` counts items.

    Raises:
        ScoreError: no items.

    Example:
        >>> import torch
        >>> found = mean_interval(torch.arange(20.0))
        >>> found.value, found.low < 9.5 < found.high
        (9.5, True)
        >>> mean_interval(torch.arange(5.0)).why
        'few'
    """
    data = reduce(values.detach().cpu().double(), "item ... -> item", "mean").numpy()
    if not data.size:
        raise ScoreError("no values for the interval of a mean; give at least one item.")
    return _bootstrap_t(data, np.ones_like(data), confidence, resamples, seed)


def difference_interval(
    one: Float[Tensor, " n_pos"], other: Float[Tensor, " n_neg"], confidence: float = 0.95
) -> Interval:
    """The difference of the means of two unpaired lists with its interval (Welch's t).

    Args:
        one: a number for each item of the one list.
        other: likewise of the other list, which may have another length.
        confidence: between 0 and 1.

    Returns:
        mean(one) - mean(other) and its interval; `n` counts the items of both. None where a list has fewer than
        4 items (`few`).

    Raises:
        ScoreError: a list is empty.

    Source:
        Welch 1947; `scipy.stats.ttest_ind`.

    Example:
        >>> import torch
        >>> found = difference_interval(torch.arange(9.0), torch.arange(6.0))
        >>> found.value, found.low < 0 < found.high, found.n
        (1.5, True, 15)
    """
    first, second = (values.detach().cpu().double().numpy() for values in (one, other))
    n, fewest = first.size + second.size, min(first.size, second.size)
    if not fewest:
        raise ScoreError(f"{first.size} and {second.size} numbers to compare; give at least one in each list.")
    value = float(first.mean() - second.mean())
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return _without(value, confidence, n, "unscored")
    if 2 * fewest < FEWEST:
        return _without(value, confidence, n, "few")
    if not (first.var() + second.var()):
        return Interval(value=value, low=value, high=value, confidence=confidence, n=n, why="equal")
    ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return Interval(value=value, low=float(ends.low), high=float(ends.high), confidence=confidence, n=n)


def ratio_interval(
    numerator: Float[Tensor, " item"],
    denominator: Float[Tensor, " item"],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """sum(numerator) / sum(denominator) with its interval (bootstrap-t) over items.

    Args:
        numerator: one number an item, such as a document's correct tokens under steering.
        denominator: one number an item, such as its correct tokens without steering.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples, which draw both numbers of an item together; 0 gives no interval.
        seed: the same seed gives the same interval.

    Returns:
        The ratio and its interval, which is not below 0 where no numerator is.

    Raises:
        ScoreError: no items, a negative denominator, or denominators with a sum of 0.
    """
    above, below = (values.detach().cpu().double().numpy() for values in (numerator, denominator))
    if not below.size or below.min() < 0 or below.sum() == 0:
        raise ScoreError(
            f"{below.size} items for the interval of a ratio; give at least one, and denominators >= 0 with a sum "
            "above 0."
        )
    return _bootstrap_t(above, below, confidence, resamples, seed)


def rate_interval(matches: Bool[Tensor, "item ..."] | Float[Tensor, "item ..."], confidence: float = 0.95) -> Interval:
    """The share of answers that match, with its interval over items (Agresti-Coull).

    Args:
        matches: of each answer whether it matches (1 or 0; NaN where it has no score): one an item, or one an item and
            option order.
        confidence: between 0 and 1.

    Returns:
        The share and its interval. Two orders of an item count as one item where their answers are the same, and as
        two where they are independent, by the design effect of the sample.

    Raises:
        ScoreError: no items.
    """
    answers = matches.detach().cpu().double()
    by_item = reduce(answers, "item ... -> item", "mean").numpy()
    n, rate = by_item.size, float(by_item.mean()) if by_item.size else math.nan
    if not n:
        raise ScoreError("no answers for the interval of a rate; give at least one item.")
    if not np.isfinite(by_item).all():
        return _without(rate, confidence, n, "unscored")
    most, effective = answers.numel(), float(n)
    if n > 1 and 0 < rate < 1:
        variance = float(by_item.var(ddof=1)) / n
        effective = min(max(rate * (1 - rate) / variance, n), most) if variance else float(most)
    low, high = _agresti_coull(rate, float(effective), confidence)
    return Interval(value=rate, low=low, high=high, confidence=confidence, n=n)


def share_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A share of independent items, with its interval (Agresti-Coull).

    Args:
        successes: the number of items counted.
        n: the number of all items.
        confidence: between 0 and 1.

    Returns:
        successes / n with its interval.

    Raises:
        ScoreError: n < 1, or successes not between 0 and n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ScoreError(f"{successes} of {n} is not a share; give 0 <= successes <= n and n >= 1.")
    low, high = _agresti_coull(successes / n, float(n), confidence)
    return Interval(value=successes / n, low=low, high=high, confidence=confidence, n=n)


def two_level_interval(
    values: Float[Tensor, " item"], refits: Float[Tensor, "refit item"], pairs: int, confidence: float = 0.95
) -> Interval:
    """The mean over items of what a *method* reaches, with an interval over training pairs and items.

    Args:
        values: one number an item, under the vector of all training pairs.
        refits: the same numbers under vectors of bootstrap resamples of the training pairs.
        pairs: the number of training pairs.
        confidence: between 0 and 1.

    Returns:
        The mean of `values`; the variance of the mean over refits and that of the mean over items are added, and t has
        the degrees of freedom of Satterthwaite. It generalises to vectors of other pairs, read on other items.

    Raises:
        ScoreError: no items, fewer than two pairs or refits, or refits of other items.
    """
    own, again = (given.detach().cpu().double().numpy() for given in (values, refits))
    n = own.size
    if not n or again.shape[1:] != own.shape or min(len(again), pairs) < 2:
        raise ScoreError(
            f"{len(again)} refits of {pairs} pairs, of shape {again.shape}, for {n} items; give at least two pairs and "
            "refits, and the same items to all."
        )
    mean = float(own.mean())
    if not (np.isfinite(own).all() and np.isfinite(again).all()):
        return _without(mean, confidence, n, "unscored")
    if min(n, len(again), pairs) < FEWEST:
        return _without(mean, confidence, n, "few")
    parts = np.array([again.mean(axis=1).var(ddof=1), own.var(ddof=1) / n])
    if not parts.sum():
        return Interval(value=mean, low=mean, high=mean, confidence=confidence, n=n, why="equal")
    freedom = parts.sum() ** 2 / (parts**2 / [min(len(again), pairs) - 1, n - 1]).sum()
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom) * math.sqrt(parts.sum()))
    return Interval(value=mean, low=mean - reach, high=mean + reach, confidence=confidence, n=n)


def percentile_interval(
    value: float, resampled: Float[np.ndarray, " resample"], n: int, confidence: float = 0.95
) -> Interval:
    """The percentile interval of any statistic, for what has no standard error of its own.

    Args:
        value: of all items.
        resampled: of each bootstrap resample; NaN where a resample has none. One may be infinite.
        n: the number of items that were resampled; of several sets of items, the smallest number.
        confidence: between 0 and 1.

    Returns:
        The interval, with tails as wide as t's of n - 1 degrees of freedom. It holds the value.
    """
    known = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not known.size:
        return _without(value, confidence, n, "unscored" if resampled.size else "skipped")
    if n < FEWEST:
        return _without(value, confidence, n, "few")
    tail = _tail(n, confidence, math.sqrt(n / (n - 1)))
    low, high = (float(end) for end in np.quantile(known, [tail, 1 - tail], method="inverted_cdf"))
    return Interval(value=value, low=min(low, value), high=max(high, value), confidence=confidence, n=n)


def _bootstrap_t(x: np.ndarray, y: np.ndarray, confidence: float, resamples: int, seed: int) -> Interval:
    """The bootstrap-t interval of sum(x) / sum(y); of a mean, y is 1."""
    n = x.size
    ratio = float(x.sum() / y.sum())
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return _without(ratio, confidence, n, "unscored")
    if not resamples:
        return _without(ratio, confidence, n, "skipped")
    rest = x - ratio * y
    if np.allclose(rest, 0, rtol=0, atol=1e-12 * np.abs(x).max()):
        return Interval(value=ratio, low=ratio, high=ratio, confidence=confidence, n=n, why="equal")
    if n < FEWEST:
        return _without(ratio, confidence, n, "few")
    error = math.sqrt((rest**2).sum() * n / (n - 1)) / y.sum()
    moments = np.stack([rest, y, rest**2, rest * y, y**2], axis=1)
    tail = _tail(n, confidence)
    drawn = np.concatenate([_pivots(weights @ moments, n, error) for weights in _blocks(n, resamples, seed)])
    q_low, q_high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    low, high = float(ratio - q_high * error), float(ratio - q_low * error)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _without(ratio, confidence, n, "tied")
    low = max(low, 0.0) if x.min() >= 0 else low
    return Interval(value=ratio, low=min(low, ratio), high=max(high, ratio), confidence=confidence, n=n)


def _pivots(sums: np.ndarray, n: int, error: float) -> np.ndarray:
    """(r* - r) / s* of each resample, from its sums of rest, y, rest^2, rest y, y^2; infinite where s* is 0."""
    rest, y, square, cross, below = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = rest / y
        spread = np.sqrt(np.maximum(square - 2 * shift * cross + shift**2 * below, 0) * n / (n - 1)) / y
        found = np.where(spread > ROUNDING * error, shift / spread, np.copysign(np.inf, shift))
    return np.where(y > 0, found, np.inf)


def _agresti_coull(rate: float, n: float, confidence: float) -> tuple[float, float]:
    """The bounds of a rate of n independent answers; n need not be whole."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = (rate * n + z**2 / 2) / (n + z**2)
    reach = z * math.sqrt(middle * (1 - middle) / (n + z**2))
    return min(max(middle - reach, 0.0), rate), max(min(middle + reach, 1.0), rate)


def _tail(n: int, confidence: float, wider: float = 1.0) -> float:
    """The share of resamples beyond either bound: that of the normal distribution beyond t of n - 1 degrees."""
    return float(stats.norm.cdf(-wider * stats.t.ppf((1 + confidence) / 2, n - 1)))


def _without(value: float, confidence: float, n: int, why: str) -> Interval:
    """An estimate that has no interval."""
    return Interval(value=value, low=math.nan, high=math.nan, confidence=confidence, n=n, why=why)


def _blocks(n: int, resamples: int, seed: int) -> list[np.ndarray]:
    """How often each item is drawn in each resample, in blocks of rows."""
    rows = max(1, AT_ONCE // n)
    starts = range(0, resamples, rows)
    return [_weights(n, min(rows, resamples - start), seed, start) for start in starts]


@lru_cache(maxsize=4)
def _weights(n: int, rows: int, seed: int, start: int) -> np.ndarray:
    """One block of resamples; tables draw the same one for every row."""
    drawn = np.random.default_rng([seed, start]).integers(n, size=(rows, n))
    places = drawn + n * np.arange(rows)[:, None]
    weights = np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(float)
    weights.setflags(write=False)
    return weights
