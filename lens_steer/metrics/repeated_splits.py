"""Tests of a gain that was measured on several random splits of the same items.

    t           mean / sqrt(s^2 / S)                              S splits, taken to be independent
    corrected   mean / sqrt((1 / S + n_test / n_rest) s^2)        splits share items, so that their gains go together
    sign flips  `significance.sign_flip_p` of the S gains

p of both t tests is one-sided (the gain is above 0), of sign flips two-sided; the interval is the corrected one. The
correction is a rule of thumb: it takes the correlation of two gains to be the share of the items that are tested.

Source: Nadeau & Bengio 2003, "Inference for the generalization error", section 3 (corrected resampled t). SciPy has no
such test; Cui & Chen 2025 (arXiv 2509.22739) use the first one alone.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.significance import sign_flip_p


@dataclass(frozen=True, kw_only=True)
class SplitTest:
    """The mean gain over `n` splits with its corrected interval and three p-values; NaN where there is none."""

    value: float
    low: float
    high: float
    n: int
    p_t: float
    p_corrected: float
    p_flips: float

    def columns(self, name: str) -> dict[str, float]:
        """The cells of a table: the mean as `name`, its interval, and the p-values."""
        ends = {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}
        return ends | {"p_t": self.p_t, "p_corrected": self.p_corrected, "p_flips": self.p_flips}


def splits_test(
    gains: Float[Tensor, " split"], n_test: float | int, n_rest: float | int, confidence: float = 0.95
) -> SplitTest:
    """Is the mean gain over random splits above 0?

    Args:
        gains: one a split, such as accuracy with and without a vector.
        n_test: items that are tested in a split.
        n_rest: items that made and chose the vector.
        confidence: of the interval.

    Returns:
        The tests. Gains that are all 0 give p = 1; other gains that are all equal have no t test.

    Raises:
        ScoreError: no gains, one that is not finite, or no items on either side.

    Example:
        >>> import torch
        >>> found = splits_test(torch.tensor([0.2, 0.3, 0.25, 0.15]), n_test=20, n_rest=80)
        >>> round(found.p_t, 4), round(found.p_corrected, 4), found.p_flips
        (0.003, 0.008, 0.125)
    """
    values = gains.detach().cpu().double()
    n = len(values)
    if not n or not bool(values.isfinite().all()) or min(n_test, n_rest) <= 0:
        raise ScoreError(
            f"{n} gains on {n_test} test items and {n_rest} others; give at least one finite gain, and items for both."
        )
    mean, flips = float(values.mean()), sign_flip_p(values)
    spread = float(values.std()) if n > 1 else math.nan
    if spread == 0 or math.isnan(spread):
        p, end = (1.0, 0.0) if not bool(values.any()) else (math.nan, mean if spread == 0 else math.nan)
        return SplitTest(value=mean, low=end, high=end, n=n, p_t=p, p_corrected=p, p_flips=flips)
    error = spread * math.sqrt(1 / n + n_test / n_rest)
    reach = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    p_t, p_corrected = (float(stats.t.sf(mean / e, n - 1)) for e in (spread / math.sqrt(n), error))
    return SplitTest(
        value=mean, low=mean - reach, high=mean + reach, n=n, p_t=p_t, p_corrected=p_corrected, p_flips=flips
    )
