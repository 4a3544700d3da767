"""Two-dimensional views of activations: principal components, or linear discriminants of classes.

    pca     the first two principal components of all rows                          (classes are not used)
    lda     the two directions with the largest ratio of variance between classes to variance within, fitted on some
            of the rows: PCA to at most 50 components, then  S_b w = lambda S_w w      S_b: covariance of the class
            means, S_w: Ledoit-Wolf covariance of the rows about their class mean

With more dimensions than rows, discriminants separate *any* classes of the rows they were fitted on, even shuffled
ones; only the held-out rows are evidence. Two classes have one discriminant; the second axis is then the first
principal component of the residual. PCA and shrinkage are scikit-learn's; its LinearDiscriminantAnalysis is not used,
because it shrinks S_b + S_w and S_w by different amounts and then finds several discriminants for two classes. Source:
Fisher 1936; Ledoit & Wolf 2004.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor, from_numpy

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError

COMPONENTS = 50


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """Coordinates of rows on two axes, and each axis' share of the total (PCA) or between-class variance (LDA)."""

    coordinates: Float[Tensor, "n 2"]
    shares: tuple[float, float]


def pca_plane(rows: Float[Tensor, "n width"]) -> Plane:
    """The first two principal components of rows.

    Args:
        rows: at least three activations.

    Returns:
        Their coordinates relative to the mean, in the units of the rows.

    Raises:
        ScoreError: fewer than three rows, or one that is not finite.
    """
    from sklearn.decomposition import PCA

    data = _data(rows)
    fit = PCA(n_components=2, svd_solver="full").fit(data)
    first, second = fit.explained_variance_ratio_
    return Plane(coordinates=from_numpy(fit.transform(data)), shares=(float(first), float(second)))


def lda_plane(rows: Float[Tensor, "n width"], classes: Sequence[str], fitted: Bool[Tensor, " n"]) -> Plane:
    """The first two linear discriminants of classes.

    Args:
        rows: activations.
        classes: the class of each row; two or more classes.
        fitted: which rows the axes are fitted on; the others are held out.

    Returns:
        The coordinates of all rows, in units of the within-class standard deviation. With two classes the second axis
        is the first principal component of the residual, and its share is 0.

    Raises:
        ScoreError: a class with fewer than two rows to fit on, only one class, or a row that is not finite.
    """
    from sklearn.decomposition import PCA

    data, names, chosen = _data(rows), np.asarray(classes), fitted.numpy()
    counts = {name: int((chosen & (names == name)).sum()) for name in dict.fromkeys(classes)}
    if len(names) != len(data) or len(counts) < 2 or min(counts.values()) < 2:
        raise ScoreError(
            f"rows to fit discriminants on, by class: {counts}; give at least two classes with two rows each."
        )
    pca = PCA(n_components=min(COMPONENTS, int(chosen.sum()) - 1, data.shape[1]), svd_solver="full").fit(data[chosen])
    reduced = pca.transform(data)
    values, axes = _discriminants(reduced[chosen], names[chosen])
    placed, shares = reduced @ axes[:, :2], values[:2] / values.sum()
    if len(counts) == 2:
        axis = axes[:, :1] / np.linalg.norm(axes[:, :1])
        rest = reduced - (reduced @ axis) @ axis.T
        placed[:, 1:] = PCA(n_components=1, svd_solver="full").fit(rest[chosen]).transform(rest)
    return Plane(coordinates=from_numpy(placed), shares=(float(shares[0]), float(shares[1])))


def _discriminants(rows: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and the discriminants as columns, with unit within-class variance."""
    from scipy.linalg import eigh
    from sklearn.covariance import LedoitWolf

    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    means = np.stack([rows[place == index].mean(axis=0) for index in range(len(counts))])
    within = LedoitWolf(assume_centered=True).fit(rows - means[place]).covariance_
    about = means - rows.mean(axis=0)
    values, axes = eigh((about * counts[:, None]).T @ about / len(rows), within)
    return np.maximum(values[::-1], 0), axes[:, ::-1]


def _data(rows: Tensor) -> np.ndarray:
    """Rows as a float64 array; raises unless there are at least three finite rows."""
    data = rows.detach().cpu().double().numpy()
    if min(len(data), data.shape[1] + 1) < 3 or not np.isfinite(data).all():
        raise ScoreError(
            f"rows of shape {data.shape}; a plane needs at least three rows of two dimensions or more, all finite."
        )
    return data
