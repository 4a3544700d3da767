"""Two axes on which to look at activations: those of most variance, or those that part classes best.

    pca     the first two principal components of all rows                          (no class is used)
    lda     the two directions of most variance between classes over that within, fitted on some of the rows:
            PCA to at most 50 components, then linear discriminants with Ledoit-Wolf shrinkage

With more dimensions than rows, discriminants part *any* classes of the rows that they were fitted on, shuffled ones
too. So a part of the rows is held out, and only those say anything. Two classes have one discriminant; the second axis
is then the first principal component of what it leaves. Both come from scikit-learn. This module knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor, from_numpy

from lens_steer.errors import ScoreError

COMPONENTS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """Coordinates of rows on two axes, and each axis' share: of all variance (PCA), of that between classes (LDA)."""

    coordinates: Float[Tensor, "n 2"]
    shares: tuple[float, float]


def pca_plane(rows: Float[Tensor, "n width"]) -> Plane:
    """The first two principal components of rows.

    Args:
        rows: activations, one a row; at least three.

    Returns:
        Their coordinates about the mean, in the units of the rows.

    Raises:
        ScoreError: fewer than three rows, or one that is not finite.
    """
    from sklearn.decomposition import PCA

    data = _data(rows)
    fit = PCA(n_components=2, svd_solver="full").fit(data)
    first, second = fit.explained_variance_ratio_
    return Plane(coordinates=from_numpy(fit.transform(data)), shares=(float(first), float(second)))


def lda_plane(rows: Float[Tensor, "n width"], classes: Sequence[str], fitted: Bool[Tensor, " n"]) -> Plane:
    """The two linear discriminants of some classes.

    Args:
        rows: activations, one a row.
        classes: the class of each row; two or more.
        fitted: on which rows the axes are fitted; the others are held out.

    Returns:
        The coordinates of all rows, in units of the spread within a class. With two classes the second axis is the
        first principal component of the rest, and its share is 0.

    Raises:
        ScoreError: fewer than two rows of a class to fit on, one class, or a row that is not finite.
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    data, names, chosen = _data(rows), np.asarray(classes), fitted.numpy()
    counts = {name: int((chosen & (names == name)).sum()) for name in dict.fromkeys(classes)}
    if len(names) != len(data) or len(counts) < 2 or min(counts.values()) < 2:
        raise ScoreError(f"rows to fit discriminants on, by class: {counts}; give two classes with two rows each.")
    pca = PCA(n_components=min(COMPONENTS, int(chosen.sum()) - 1, data.shape[1]), svd_solver="full").fit(data[chosen])
    reduced = pca.transform(data)
    axes = min(2, len(counts) - 1)
    fit = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=axes)
    fit.fit(reduced[chosen], names[chosen])
    placed = fit.transform(reduced)
    shares = [float(share) for share in fit.explained_variance_ratio_[:axes]]
    if axes == 1:
        axis = fit.scalings_[:, :1] / np.linalg.norm(fit.scalings_[:, :1])
        rest = reduced - (reduced @ axis) @ axis.T
        placed = np.hstack([placed, PCA(n_components=1, svd_solver="full").fit(rest[chosen]).transform(rest)])
        shares.append(0.0)
    return Plane(coordinates=from_numpy(placed), shares=(shares[0], shares[1]))


def _data(rows: Tensor) -> np.ndarray:
    """Rows as an array of at least three finite ones."""
    data = rows.detach().cpu().double().numpy()
    if len(data) < 3 or not np.isfinite(data).all():
        raise ScoreError(f"rows of shape {data.shape}; a plane needs three or more, all finite.")
    return data
