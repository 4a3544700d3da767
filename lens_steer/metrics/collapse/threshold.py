"""The strength at which a rule begins to say collapsed, with its interval.

    margin(s) > 0  <=>  collapsed at strength s        strengths run from 0 outwards, one sign at a time
    onset          =    s_i + (s_j - s_i) m_i / (m_i - m_j)     of the first collapsed s_j and s_i just before it

between which the margin m is taken to be linear. An onset is infinite (censored) where no strength of the grid is
collapsed, and 0 where strength 0 is. Intervals resample items (percentile bootstrap; Efron 1979), the same items at
every strength; a bound may be infinite, which says that the grid ends before it. Own code, because each bound
is the onset of a resample; SciPy's interval interpolates between two, of which one may be infinite.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lens_steer.errors import ScoreError


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The smallest collapsed strength in size, with its interval; infinite where the grid ends before it."""

    value: float
    low: float
    high: float
    confidence: float

    @property
    def censored(self) -> bool:
        """Whether no strength of the grid is collapsed."""
        return math.isinf(self.value)


def onset(strengths: Sequence[float | int], margins: Sequence[float]) -> float:
    """The size of the strength at which a margin first passes 0.

    Args:
        strengths: of one sign, 0 first, growing in size.
        margins: the rule's margin at each; above 0 is collapsed.

    Returns:
        The interpolated size; infinite where no margin is above 0.

    Raises:
        ScoreError: the strengths do not begin at 0 and grow outwards, there are not as many margins, or one is NaN.
    """
    sizes = [abs(float(strength)) for strength in strengths]
    growing = all(a < b for a, b in pairwise(sizes))
    one_sign = min(strengths, default=1) >= 0 or max(strengths) <= 0
    readable = len(margins) == len(sizes) and not any(map(math.isnan, margins))
    if not sizes or sizes[0] != 0 or not growing or not one_sign or not readable:
        raise ScoreError(
            f"strengths {list(strengths)} with {len(margins)} margins; give strengths of one sign from 0 outwards, "
            "and a margin for each, none of them NaN."
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
    """The strength at which collapse sets in, with a bootstrap interval over items.

    Args:
        strengths: of one sign, 0 first, growing in size.
        margins: the margin at each strength of the items of these indices, such as `answer_margin` of them.
        n_items: how many items there are.
        confidence: between 0 and 1.
        resamples: how many times items are drawn.
        seed: the same seed gives the same interval.

    Returns:
        The onset of all items, and the quantiles of the onsets of the resamples.

    Raises:
        ScoreError: as `onset`; or fewer than two items.
    """
    if n_items < 2:
        raise ScoreError(f"{n_items} items for a bootstrap interval; it needs at least two.")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n_items, size=(resamples, n_items))
    onsets = [onset(strengths, margins(items.tolist())) for items in drawn]
    tail = (1 - confidence) / 2
    low, high = np.quantile(onsets, [tail, 1 - tail], method="inverted_cdf")
    value = onset(strengths, margins(range(n_items)))
    return Threshold(value=value, low=float(low), high=float(high), confidence=confidence)
