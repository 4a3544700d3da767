"""Distance of an activation from the distribution of unsteered activations.

    off(h) = sqrt( (h - mu)^T Sigma^-1 (h - mu) / d )          mu, Sigma: of reference tokens, Ledoit-Wolf shrinkage

The Mahalanobis distance divided by the square root of the width: about 1 for a sample of the reference if that were
Gaussian. Activations are not Gaussian, so compare with the distance of the unsteered activations of the same tokens
rather than with 1. Source: Ledoit & Wolf 2004 (sklearn's `LedoitWolf`); Lee et al. 2018 (arXiv 1807.03888) for the
distance as a measure of out-of-distribution activations.
"""

from dataclasses import dataclass

import numpy as np
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationStatistics:
    """Gaussian reference of one site: mean and inverse covariance of the reference activations, float64."""

    mean: np.ndarray
    precision: np.ndarray
    n: int

    def distance(self, activations: Float[Tensor, "n width"]) -> np.ndarray:
        """The distance of each row; see the module's formula."""
        off = activations.double().numpy() - self.mean
        return np.sqrt(einsum(off, self.precision, off, "n d, d e, n e -> n").clip(min=0) / off.shape[1])


def fit_manifold(activations: Float[Tensor, "n width"]) -> ActivationStatistics:
    """Fits mean and covariance.

    Args:
        activations: of reference tokens.

    Returns:
        The fitted reference.

    Raises:
        ScoreError: fewer than ten tokens, or activations that are all equal.
    """
    from sklearn.covariance import LedoitWolf

    data = activations.double().numpy()
    if len(data) < 10 or not data.std(axis=0).any():
        raise ScoreError(
            f"{len(data)} reference tokens, or all of them equal: no covariance can be fitted; give texts of at "
            "least ten tokens, better of many times the width."
        )
    fitted = LedoitWolf(store_precision=True).fit(data)
    return ActivationStatistics(mean=np.asarray(fitted.location_), precision=np.asarray(fitted.precision_), n=len(data))
