"""Agreement of two vocabulary readings, such as the logit lens and the measured change in logits of one vector.

    Spearman     rank correlation over the whole vocabulary (ties share their mean rank)
    overlap      | top_k(first) & top_k(second) | / k,   at the upper or the lower end

The two are complementary: readings can agree over the vocabulary and differ in their top tokens, or the reverse.
Unrelated readings need not give 0, because tokens that no direction changes are in the middle of every ranking; compare
with a random direction.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError


def rank_correlation(first: Float[Tensor, " d_vocab"], second: Float[Tensor, " d_vocab"]) -> float:
    """Spearman's rank correlation of two readings.

    Args:
        first: one value per token.
        second: the other reading of the same tokens.

    Returns:
        From -1 to 1; NaN where a reading is constant.

    Raises:
        ScoreError: fewer than three tokens, readings of different length, or a value that is not finite.

    Source:
        Spearman 1904, "The proof and measurement of association between two things".
    """
    one, two = _both(first, second)
    if one.size < 3:
        raise ScoreError(f"{one.size} tokens; a rank correlation needs at least three.")
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    found: Any = stats.spearmanr(one, two)
    return float(np.clip(found.statistic, -1, 1))


def overlap(first: Float[Tensor, " d_vocab"], second: Float[Tensor, " d_vocab"], k: int, largest: bool = True) -> float:
    """The share of top-k (or bottom-k) tokens that two readings have in common.

    Args:
        first: one value per token.
        second: the other reading of the same tokens.
        k: the number of tokens.
        largest: compare the k largest values; otherwise the k smallest.

    Returns:
        From 0 to 1; two independent readings have k / d_vocab on average.

    Raises:
        ScoreError: k is below 1 or above the vocabulary, readings of different length, or a value that is not finite.
    """
    one, two = _both(first, second)
    if not 1 <= k <= one.size:
        raise ScoreError(f"k is {k}; give 1 to {one.size}, the size of the vocabulary.")
    ends = [set(np.argsort(-values if largest else values, kind="stable")[:k]) for values in (one, two)]
    return len(ends[0] & ends[1]) / k


def _both(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The two readings as arrays."""
    one, two = (values.detach().cpu().double().numpy() for values in (first, second))
    if one.shape != two.shape or not np.isfinite([one, two]).all():
        raise ScoreError(f"readings of {one.size} and {two.size} tokens; give two of the same tokens, all finite.")
    return one, two
