"""The smallest strength at which a collapse rule applies, with its interval.

    margin(s) > 0  <=>  collapsed at strength s        strengths of one sign, growing in size from 0
    onset          =    s_i + (s_j - s_i) m_i / (m_i - m_j)     s_j: first collapsed strength, s_i: the one before it

The margin m is interpolated linearly between s_i and s_j. The onset is infinite (censored) where no strength of the
grid is collapsed, and 0 where strength 0 is. Intervals resample items (`statistics.percentile_interval`), the same
items at every strength; a bound is infinite where it lies beyond the grid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import Interval, percentile_interval


@dataclass(frozen=True, kw_only=True)
class Threshold(Interval):
    """The smallest absolute strength that is collapsed, with its interval; infinite where it lies beyond the grid."""

    @property
    def censored(self) -> bool:
        """Whether no strength of the grid is collapsed."""
        return math.isinf(self.value)


def onset(strengths: Sequence[float | int], margins: Sequence[float]) -> float:
    """The absolute strength at which the margin first exceeds 0.

    Args:
        strengths: of one sign, 0 first, growing in size.
        margins: the rule's margin at each strength; above 0 is collapsed.

    Returns:
        The interpolated absolute strength; infinite where no margin is above 0.

    Raises:
        ScoreError: the strengths do not start at 0 and grow in size, the number of margins differs, or one is NaN.
    """
    sizes = [abs(float(strength)) for strength in strengths]
    growing = all(a < b for a, b in pairwise(sizes))
    one_sign = min(strengths, default=1) >= 0 or max(strengths) <= 0
    readable = len(margins) == len(sizes) and not any(map(math.isnan, margins))
    if not sizes or sizes[0] != 0 or not growing or not one_sign or not readable:
        raise ScoreError(
            f"strengths {list(strengths)} with {len(margins)} margins; give strengths of one sign that start at 0 and "
            "grow in size, and one margin for each, none of them NaN."
        )
    first = next((i for i, margin in enumerate(margins) if margin > 0), None)
    if first is None:
        return math.inf
    if first == 0 or math.isinf(margins[first]):
        return sizes[first]
    before, after = margins[first - 1], margins[first]
    return sizes[first - 1] + (sizes[first] - sizes[first - 1]) * before / (before - after)


def collapse_threshold(
    strengths: Sequence[float | int],
    margins: Callable[[Sequence[int]], Sequence[float]],
    n_items: int,
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> Threshold:
    """The strength at which collapse begins, with a bootstrap interval over items.

    Args:
        strengths: of one sign, 0 first, growing in size.
        margins: function of item indices that returns the margin of those items at each strength, such as
            `Collapse.margin`.
        n_items: the number of items.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples.
        seed: the same seed gives the same interval.

    Returns:
        The onset over all items, with the quantiles of the resamples' onsets as interval; without one where there are
        fewer than 8 items.

    Raises:
        ScoreError: as `onset`; or fewer than two items.
    """
    if n_items < 2:
        raise ScoreError(f"{n_items} items for a bootstrap interval; it needs at least two.")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n_items, size=(resamples, n_items))
    onsets = [onset(strengths, margins(items.tolist())) for items in drawn]
    value = onset(strengths, margins(range(n_items)))
    return Threshold(**asdict(percentile_interval(value, np.array(onsets), n_items, confidence)))
