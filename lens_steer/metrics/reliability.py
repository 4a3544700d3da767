"""Reliability of steering: what explains the slopes of items beside the vector, and where they hold.

    EV_A            Var(s) - Var(residual of s ~ A)          A_i = 1 where the matching option has the first letter
    EV_Yes          EV_{A+Y} - EV_A                          Y_i = 1 where the matching option says Yes
    unexplained     Var(s) - EV_{A+Y}                        variances over n; least squares with an intercept
    debiased        order: mean over the option orders of an item;   text: s_i - (Y_i - 1/2) (mean_Y=1 s - mean_Y=0 s)
    relative        s_rel(A, B) = s(v_A, D_B) / |s(v_B, D_B)|         vector made in setting A, asked in setting B
    best layers     per item: l_i = argmax_l of one half of its curve, tested on the other half of the curve
                    single:   l = argmax_l of the mean over one half of the items, tested on the other half
    interval of a rank correlation r over n:   tanh(artanh r +- z sqrt((1 + r^2 / 2) / (n - 3)));  of |r| = 1: as of
                    1 - 6 / (n (n^2 - 1)), half a step below, so that a perfect order of a few is not called certain

Source: Tan et al. 2024 (arXiv 2407.12404) for explained variance and relative steerability (their code divides by
|s|); Bonett & Wright 2000, Psychometrika 65, 23-28, for the interval. The bias of the effect is not that of the
unsteered answers: rebalancing or calibrating the answers does not remove it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError
from lens_steer.metrics.ranking import rank_correlation
from lens_steer.metrics.statistics import Interval


@shown()
@dataclass(frozen=True, kw_only=True)
class ExplainedVariance:
    """Shares of the variance of slopes: by the letter, by Yes beyond the letter, and neither; they sum to 1.

    A factor that does not vary explains 0. All are NaN where the slopes are all equal.
    """

    letter: float
    yes: float
    unexplained: float
    variance: float


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class BestLayers:
    """What each item gains at the layer chosen for it, beside the single layer chosen for all; natural-log units.

    `own`, `single`: the effect of each item in the half that the layer was not chosen on. `oracle`: at the layer that
    is best in that half itself, which no choice can exceed. `sites`: the single layer of each half of the items.
    """

    own: Float[Tensor, " item"]
    single: Float[Tensor, " item"]
    oracle: Float[Tensor, " item"]
    sites: tuple[int, int]


def explained_variance(
    slopes: Float[Tensor, " row"], first: Bool[Tensor, " row"], yes: Bool[Tensor, " row"]
) -> ExplainedVariance:
    """The variance of slopes that the matching option's letter and its text explain.

    Args:
        slopes: one slope per question as it was asked: of an item in both orders, two rows.
        first: whether the matching option has the first letter.
        yes: whether the matching option says Yes.

    Returns:
        Shares of the variance.

    Raises:
        ScoreError: no rows, or a slope that is not finite.

    Source:
        Tan et al. 2024, arXiv 2407.12404.
    """
    s = slopes.detach().cpu().double().numpy()
    if not s.size or not np.isfinite(s).all():
        raise ScoreError(f"{s.size} slopes, or some that are not finite; explained variance needs at least one.")
    total = float(s.var())
    if s.max() == s.min():
        return ExplainedVariance(letter=math.nan, yes=math.nan, unexplained=math.nan, variance=total)
    columns = [np.ones_like(s), first.cpu().double().numpy(), yes.cpu().double().numpy()]
    by_letter, by_both = (total - _residual_variance(s, np.stack(columns[:k], axis=1)) for k in (2, 3))
    return ExplainedVariance(
        letter=by_letter / total,
        yes=(by_both - by_letter) / total,
        unexplained=1 - by_both / total,
        variance=total,
    )


def order_debiased(slopes: Float[Tensor, "item order"]) -> Float[Tensor, " item"]:
    """The slope of each item without what follows the order of its options.

    Args:
        slopes: one slope per item and option order.

    Returns:
        The mean over the orders, so that every option stood at every place.
    """
    return reduce(slopes.double(), "item order -> item", "mean")


def text_debiased(slopes: Float[Tensor, " item"], yes: Bool[Tensor, " item"]) -> Float[Tensor, " item"]:
    """The slope of each item without what follows the text of the matching option.

    Args:
        slopes: one slope per item, debiased by order.
        yes: whether the matching option has the first of two texts that all items share, such as Yes.

    Returns:
        The slopes, moved so that both groups have the same mean: their mean is that of both groups, weighed equally,
        where as many items match by Yes as by No.

    Raises:
        ScoreError: one of the groups is empty.
    """
    if bool(yes.all()) or not bool(yes.any()):
        raise ScoreError(f"{int(yes.sum())} of {len(yes)} items match by Yes; debiasing by text needs both groups.")
    values = slopes.double()
    gap = values[yes].mean() - values[~yes].mean()
    return values - (yes.double() - 0.5) * gap


def relative_steerability(slopes: Float[Tensor, "behaviour other"]) -> Float[Tensor, "behaviour other"]:
    """Steerability out of distribution, relative to that of a vector made in the setting that is asked in.

    Args:
        slopes: mean slope of the vector made in setting (row) on items asked in setting (column).

    Returns:
        Each entry over the absolute value of its column's diagonal; NaN where that is 0.

    Raises:
        ScoreError: not a square matrix.
    """
    if slopes.ndim != 2 or slopes.shape[0] != slopes.shape[1]:
        raise ScoreError(f"slopes of shape {tuple(slopes.shape)}; give one row and one column for each setting.")
    own = slopes.double().diagonal().abs()
    return torch.where(own > 0, slopes.double() / own, math.nan)


def best_layers(effects: Float[Tensor, "item site half"]) -> BestLayers:
    """The effect at each item's own best layer and at the best single layer, both chosen on other data.

    Args:
        effects: change of each item's logit difference at each layer, in two halves of its curve: from the lowest
            strength to 0, and from 0 to the highest.

    Returns:
        Effects on data that the layer was not chosen on, averaged over both ways to divide it. An item's own layer is
        chosen on one half of its curve; the single layer on the items of the other parity.

    Raises:
        ScoreError: fewer than four items, no layers, not two halves, or a value that is not finite.
    """
    if effects.shape[0] < 4 or effects.shape[1] < 1 or effects.shape[2] != 2 or not bool(effects.isfinite().all()):
        raise ScoreError(
            f"effects of shape {tuple(effects.shape)}, finite: {bool(effects.isfinite().all())}; give at least four "
            "items, a layer and both halves of the curve, all finite."
        )
    values, items = effects.double(), torch.arange(effects.shape[0], device="cpu")
    chosen = values.argmax(dim=1)
    own = (values[items, chosen[:, 0], 1] + values[items, chosen[:, 1], 0]) / 2
    means, odd = values.mean(dim=2), items % 2
    sites = tuple(int(means[odd != parity].mean(dim=0).argmax()) for parity in (0, 1))
    single = means[items, torch.tensor(sites, device="cpu")[odd]]
    return BestLayers(own=own, single=single, oracle=values.amax(dim=1).mean(dim=1), sites=(sites[0], sites[1]))


def rank_interval(first: Float[Tensor, " n"], second: Float[Tensor, " n"], confidence: float = 0.95) -> Interval:
    """Spearman's rank correlation over a few entries, such as behaviours, with its interval.

    Args:
        first: one value per entry.
        second: the other value of the same entries.
        confidence: between 0 and 1.

    Returns:
        The correlation, and bounds between -1 and 1; all NaN where a side is constant, the bounds also for fewer than
        five entries.

    Raises:
        ScoreError: fewer than three entries, sides of different length, or a value that is not finite.

    Source:
        Bonett & Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
    """
    found, n = rank_correlation(first, second), len(first)
    low = high = math.nan
    if n >= 5 and not math.isnan(found):
        most = 1 - 6 / (n * (n**2 - 1))
        inner = min(max(found, -most), most)
        half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + found**2 / 2) / (n - 3))
        bounds = [math.tanh(math.atanh(inner) + sign * half) for sign in (-1, 1)]
        low, high = min(bounds[0], found), max(bounds[1], found)
    return Interval(value=found, low=low, high=high, confidence=confidence, n=n)


def _residual_variance(values: np.ndarray, columns: np.ndarray) -> float:
    """The variance that least squares leaves."""
    fitted = columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return float((values - fitted).var())
