"""Steerability: the slope of an item's logit difference over the strength.

    s_i = sum_k (c_k - c)(m_ik - m_i) / sum_k (c_k - c)^2    slope of the logit difference m over strength c
    steerability of a set = mean_i s_i                       = the slope of the mean curve (least squares is linear)
    anti-steerable share  = 1 - mean_i 1[s_i > 0]            s_i = 0 counts as anti-steerable

Source: Tan et al. 2024 (arXiv 2407.12404). A slope does not show where the curve bends or collapses; fit it on
strengths that have not collapsed. Units: natural-log units per unit of strength, so slopes are comparable only within
one strength scale. The formula is written out because SciPy's regressions fit one item at a time.
"""

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError


def steerability(
    differences: Float[Tensor, "item strength"], strengths: Float[Tensor, " strength"]
) -> Float[Tensor, " item"]:
    """The slope of each item's logit difference over the strength.

    Args:
        differences: logit difference of each item (its mean over both option orders) at each strength.
        strengths: the strength grid, at least two different values.

    Returns:
        One slope per item, float64, in natural-log units per unit of strength.

    Raises:
        ScoreError: no items, fewer than two different strengths, or a value that is not finite.

    Source:
        Tan et al. 2024, arXiv 2407.12404.
    """
    if differences.shape[0] == 0:
        raise ScoreError("no items; steerability needs at least one.")
    if strengths.unique().numel() < 2:
        raise ScoreError(f"strengths {strengths.tolist()}: a slope needs at least two different values.")
    if not (differences.isfinite().all() and strengths.isfinite().all()):
        raise ScoreError("a logit difference or a strength is not finite; leave collapsed strengths out of the slope.")
    grid = strengths.double() - strengths.double().mean()
    return (differences.double() @ grid) / (grid @ grid)


def dataset_steerability(slopes: Float[Tensor, " item"]) -> float:
    """The mean slope of a set of items.

    Args:
        slopes: one slope per item, from `steerability`.

    Returns:
        The mean, in the units of the slopes.

    Raises:
        ScoreError: there are no items, or a slope is not finite.
    """
    return float(_some(slopes).double().mean())


def anti_steerable_share(slopes: Float[Tensor, " item"]) -> float:
    """The share of items whose slope is not positive.

    Args:
        slopes: one slope per item, from `steerability`.

    Returns:
        1 - share of slopes above 0; a slope of exactly 0 counts as anti-steerable.

    Raises:
        ScoreError: there are no items, or a slope is not finite.

    Source:
        Tan et al. 2024, arXiv 2407.12404.
    """
    return float(1 - (_some(slopes) > 0).double().mean())


def _some(slopes: Float[Tensor, " item"]) -> Tensor:
    """The slopes; raises where there are none, or one is not finite."""
    if slopes.numel() == 0:
        raise ScoreError("no slopes; give at least one item.")
    if not bool(slopes.isfinite().all()):
        raise ScoreError(f"{int((~slopes.isfinite()).sum())} of {slopes.numel()} slopes are NaN or infinite.")
    return slopes
