"""Agreement between the interference of behaviours predicted from vector geometry and the measured one.

    measured_ij   mean over items of behaviour j of the change in logit difference when behaviour i is steered     nats
    predicted_ij  A_ij measured_jj      A_ij = <v_i, v_j> / ||v_j||^2: projected strength on j of strength 1 of i
    agreement     Pearson and Spearman correlation of the two over i != j
    without geometry    the same with A_ij = 1: the effect of a behaviour's own vector, whatever is steered
    p             share of the relabellings of behaviours in A, the true one among them, that agree as well

The interval (`statistics.percentile_interval`) resamples the items of each behaviour and recomputes prediction and
measurement. It generalises to other items, not to other behaviours: n behaviours give only n (n - 1) pairs, which share
vectors. A correlation is NaN where prediction or measurement is constant; such resamples are left out.
"""

import math
from dataclasses import replace
from itertools import chain, permutations
from typing import Any

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import Interval, percentile_interval

STATISTICS = ("pearson", "spearman")
MOST_EXACT, RELABELLINGS = 7, 5039
"""Of more behaviours than these, that many relabellings are drawn beside the true one."""


def predicted_interference(
    projected: Float[Tensor, "behaviour behaviour"], measured: Float[Tensor, "behaviour behaviour"]
) -> Float[Tensor, "behaviour behaviour"]:
    """The change of each behaviour predicted from the geometry and the measured effect of its own vector.

    Args:
        projected: projected strength on behaviour j (column) of strength 1 of the vector of i (row).
        measured: change of behaviour j (column) when i (row) is steered, nats.

    Returns:
        A_ij measured_jj, nats.
    """
    return projected.double() * measured.double().diagonal()


def agreement(
    projected: Float[Tensor, "behaviour behaviour"],
    changes: Float[Tensor, "behaviour behaviour item"],
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> dict[str, Interval]:
    """How well the geometry predicts the measured interference.

    Args:
        projected: as for `predicted_interference`.
        changes: change of each item of behaviour j (second axis) when i (first axis) is steered, nats.
        confidence: between 0 and 1.
        resamples: the number of bootstrap resamples.
        seed: the same seed gives the same interval.

    Returns:
        `pearson` and `spearman`, over pairs of different behaviours; `n` counts pairs. No interval of fewer than 8
        items.

    Raises:
        ScoreError: fewer than three behaviours, fewer than two items, shapes that do not match, or a number that is not
            finite.
    """
    n = len(projected)
    if n < 3 or changes.shape[:2] != (n, n) or projected.shape != (n, n) or changes.shape[2] < 2:
        raise ScoreError(
            f"projected strengths of shape {tuple(projected.shape)} and changes of shape {tuple(changes.shape)}; "
            "agreement needs (n, n) and (n, n, items), with n >= 3 behaviours and at least two items."
        )
    if not bool(projected.isfinite().all() and changes.isfinite().all()):
        raise ScoreError("a projected strength or a change is NaN or infinite; agreement needs finite ones.")
    rng, items = np.random.default_rng(seed), changes.shape[2]
    whole = _correlations(projected, _mean(changes))
    drawn = []
    for _ in range(resamples):
        chosen = torch.from_numpy(rng.integers(items, size=(n, items))).expand(n, n, items)
        drawn.append(_correlations(projected, _mean(changes.gather(2, chosen))))
    return {
        name: replace(percentile_interval(value, np.array(resampled), items, confidence), n=n * (n - 1))
        for name, value, resampled in zip(STATISTICS, whole, np.reshape(drawn, (-1, 2)).T, strict=True)
    }


def agreement_without_geometry(measured: Float[Tensor, "behaviour behaviour"]) -> dict[str, float]:
    """The agreement of a prediction that knows only the effect of each behaviour's own vector.

    Args:
        measured: as for `predicted_interference`.

    Returns:
        `pearson` and `spearman`: what `agreement` owes to columns that differ in their own effect.
    """
    return dict(zip(STATISTICS, _correlations(torch.ones_like(measured), measured), strict=True))


def permutation_p(
    projected: Float[Tensor, "behaviour behaviour"], measured: Float[Tensor, "behaviour behaviour"], seed: int = 0
) -> dict[str, float]:
    """Whether the geometry predicts better than that of the same vectors with their names exchanged.

    Behaviours are exchanged in the rows and columns of `projected` together, and keep their own effects, so that pairs
    which share a vector are not taken for independent ones.

    Args:
        projected: as for `predicted_interference`.
        measured: as for `predicted_interference`.
        seed: of the permutations where there are more than 5040 (8 behaviours); below, all are counted.

    Returns:
        `pearson` and `spearman`: one-sided p, at least 1 / the number of permutations; NaN without a correlation.
    """
    n, rng = len(projected), np.random.default_rng(seed)
    drawn = permutations(range(n)) if n <= MOST_EXACT else (rng.permutation(n).tolist() for _ in range(RELABELLINGS))
    true = _correlations(projected, measured)
    orders = chain([range(n)], drawn) if n > MOST_EXACT else drawn
    found = np.array([_correlations(projected[list(order)][:, list(order)], measured) for order in orders])
    as_well = (found >= np.array(true) - 1e-12).sum(axis=0) / (~np.isnan(found)).sum(axis=0).clip(min=1)
    return {name: math.nan if math.isnan(t) else float(p) for name, t, p in zip(STATISTICS, true, as_well, strict=True)}


def _mean(changes: Float[Tensor, "behaviour other item"]) -> Float[Tensor, "behaviour other"]:
    """The mean over the items of each pair of behaviours."""
    return reduce(changes.double(), "behaviour other item -> behaviour other", "mean")


def _correlations(projected: Tensor, measured: Tensor) -> tuple[float, float]:
    """Pearson's and Spearman's correlation over pairs of different behaviours."""
    apart = ~torch.eye(len(projected), dtype=torch.bool, device="cpu")
    x, y = (matrix[apart].numpy() for matrix in (predicted_interference(projected, measured), measured))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan
    linear: Any = stats.pearsonr(x, y)
    ranked: Any = stats.spearmanr(x, y)
    return float(linear.statistic), float(ranked.statistic)
