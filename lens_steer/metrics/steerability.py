"""Steerability: the slope of an item's logit difference over the strength, and how well a line describes its curve.

    propensity curve      m_i(c) = score(matching option) - score(other) of item i at strength c
    s_i = sum_k (c_k - c)(m_ik - m_i) / sum_k (c_k - c)^2    slope; 0 where the curve is flat to rounding
    steerability of a set = mean_i s_i                       = the slope of the mean curve (least squares is linear)
    anti-steerable share  = mean_i 1[s_i < 0]                flat items are neither steerable nor anti-steerable
    flat                    max_k m_ik - min_k m_ik <= tolerance
    MSE_i, R2_i           = RSS_i / K,  1 - RSS_i / TSS_i    of the fitted line; R2 is NaN of a flat curve
    monotone                m_i never falls by more than the tolerance from one strength to the next
    bimodality            = (g^2 + 1) / (k + 3 (n - 1)^2 / ((n - 2)(n - 3)))    5/9 for a uniform distribution
                            g: sample skewness, k: sample excess kurtosis, both bias-corrected

Source: Tan et al. 2024 (arXiv 2407.12404), who count s_i = 0 as anti-steerable; a curve that steering does not reach
has a slope of +-1e-9 by rounding, and is called flat here. Bimodality coefficient: Pfister et al. 2013, Frontiers in
Psychology 4, 700. A slope does not show where the curve bends or collapses; fit it on strengths that have not
collapsed. Units: natural-log units per unit of strength, so slopes are comparable only within one strength scale. The
formula is written out because SciPy's regressions fit one item at a time.
"""

import math
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import Interval, share_interval

ROUNDING = 1e-5
"""The range in natural-log units that rounding gives a curve in float32."""


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class CurveFits:
    """The line fitted to each item's curve; R2 and the rank correlation with strength are NaN where it is flat."""

    slope: Float[Tensor, " item"]
    r2: Float[Tensor, " item"]
    mse: Float[Tensor, " item"]
    spearman: Float[Tensor, " item"]
    monotone: Bool[Tensor, " item"]
    flat: Bool[Tensor, " item"]

    def to_frame(self) -> pd.DataFrame:
        """One row an item: slope, r2, mse, spearman, monotone, flat."""
        return pd.DataFrame({name: values.numpy() for name, values in vars(self).items()})


def steerability(
    differences: Float[Tensor, "item strength"], strengths: Float[Tensor, " strength"], tolerance: float = ROUNDING
) -> Float[Tensor, " item"]:
    """The slope of each item's logit difference over the strength.

    Args:
        differences: logit difference of each item (its mean over both option orders) at each strength.
        strengths: the strength grid, at least two different values.
        tolerance: the range up to which a curve is flat, natural-log units; larger in half precision.

    Returns:
        One slope per item, float64, in natural-log units per unit of strength; exactly 0 where the curve is flat.

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
    return torch.where(flat_curves(differences, tolerance), 0.0, (differences.double() @ grid) / (grid @ grid))


def flat_curves(differences: Float[Tensor, "item strength"], tolerance: float = ROUNDING) -> Bool[Tensor, " item"]:
    """Whether steering leaves an item's logit difference as it is, to rounding.

    Args:
        differences: logit difference of each item at each strength.
        tolerance: the range up to which a curve is flat, natural-log units.

    Returns:
        One value per item.
    """
    return differences.amax(dim=1) - differences.amin(dim=1) <= tolerance


def fit_curves(
    differences: Float[Tensor, "item strength"], strengths: Float[Tensor, " strength"], tolerance: float = ROUNDING
) -> CurveFits:
    """The slope of each item's curve, and how well the line describes it.

    Args:
        differences: logit difference of each item at each strength.
        strengths: the strength grid in rising order, at least two different values.
        tolerance: the range up to which a curve is flat, natural-log units.

    Returns:
        Slope, R2, mean squared residual, rank correlation, and whether the curve is monotone or flat.

    Raises:
        ScoreError: as `steerability`, or strengths that do not rise.

    Example:
        >>> grid = torch.tensor([-1.0, 0.0, 1.0])
        >>> fits = fit_curves(torch.tensor([[-2.0, 0.0, 2.0], [0.7, 0.7, 0.7]]), grid)
        >>> fits.slope.tolist(), fits.flat.tolist()
        ([2.0, 0.0], [False, True])
    """
    if not bool((strengths.diff() > 0).all()):
        raise ScoreError(f"strengths {strengths.tolist()}; give them in rising order, each once.")
    slope, flat = steerability(differences, strengths, tolerance), flat_curves(differences, tolerance)
    curves, grid = differences.double(), strengths.double() - strengths.double().mean()
    centred = curves - curves.mean(dim=1, keepdim=True)
    residual = (centred - slope[:, None] * grid).square()
    ranks = [math.nan if still else _rank_correlation(row, grid) for row, still in zip(curves, flat, strict=True)]
    return CurveFits(
        slope=slope,
        r2=torch.where(flat, math.nan, 1 - residual.sum(dim=1) / centred.square().sum(dim=1)),
        mse=residual.mean(dim=1),
        spearman=torch.tensor(ranks, dtype=torch.float64, device="cpu"),
        monotone=(curves.diff(dim=1) >= -tolerance).all(dim=1),
        flat=flat,
    )


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
    """The share of items that steering moves the wrong way.

    Args:
        slopes: one slope per item, from `steerability`.

    Returns:
        The share of slopes below 0; flat items, whose slope is 0, count as items but not as anti-steerable.

    Raises:
        ScoreError: there are no items, or a slope is not finite.

    Source:
        Tan et al. 2024, arXiv 2407.12404; there 1 - share of slopes above 0, so that flat items count.
    """
    return float((_some(slopes) < 0).double().mean())


def anti_steerable_interval(slopes: Float[Tensor, " item"], confidence: float = 0.95) -> Interval:
    """The anti-steerable share with its interval.

    Args:
        slopes: one slope per item, from `steerability`.
        confidence: between 0 and 1.

    Returns:
        The share of slopes below 0 with its Agresti-Coull interval.

    Raises:
        ScoreError: there are no items, or a slope is not finite.
    """
    return share_interval(int((_some(slopes) < 0).sum()), len(slopes), confidence)


def bimodality_coefficient(slopes: Float[Tensor, " item"]) -> float:
    """How far the slopes fall into two groups: above 5/9, the value of a uniform distribution, suggests two modes.

    Args:
        slopes: one slope per item.

    Returns:
        Between 0 and 1; NaN for fewer than four items, or slopes that are all equal.

    Raises:
        ScoreError: there are no items, or a slope is not finite.

    Source:
        Pfister et al. 2013, "Good things peak in pairs: a note on the bimodality coefficient".
    """
    values = _some(slopes).double().numpy()
    n = len(values)
    if n < 4 or values.max() == values.min():
        return math.nan
    skewness, kurtosis = stats.skew(values, bias=False), stats.kurtosis(values, bias=False)
    return float((skewness**2 + 1) / (kurtosis + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def _rank_correlation(curve: Tensor, grid: Tensor) -> float:
    """Spearman's correlation of one curve with the strength."""
    return float(stats.spearmanr(curve.numpy(), grid.numpy())[0])  # type: ignore[arg-type]


def _some(slopes: Float[Tensor, " item"]) -> Tensor:
    """The slopes; raises where there are none, or one is not finite."""
    if slopes.numel() == 0:
        raise ScoreError("no slopes; give at least one item.")
    if not bool(slopes.isfinite().all()):
        raise ScoreError(f"{int((~slopes.isfinite()).sum())} of {slopes.numel()} slopes are NaN or infinite.")
    return slopes
