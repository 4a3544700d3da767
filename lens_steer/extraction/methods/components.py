"""Principal components: of the pair differences, or of all activations of both classes.

    pca_of_differences   u = argmax_{||u|| = 1} sum_i (d_i . u)^2         d_i = pos_i - neg_i
              centred:   the same with d_i - mean d
    pca_of_pool          u = argmax_{||u|| = 1} sum_r ((r - mean r) . u)^2     r: the positive and negative rows
    v = u (delta . u)    scaled and signed by the class means, see `scale`

Differences are not centred by default, because centring removes their mean, which is the common direction of the pairs.
The result equals the component of differences with random signs (Zou et al. 2023, representation engineering, arXiv
2310.01405) and repeng's `pca_center`; `centred=True` is repeng's `pca_diff`. repeng determines the sign by the majority
of pairs, this package by the means. `explained` in the notes is the component's share of the sum above; a component
with a small share, or close to that of the next one, is not well determined.

The component is a float64 eigenvector of the smaller of the two Gram matrices (rows or coordinates). All rows are kept,
because there are usually fewer rows than dimensions. scikit-learn's PCA is not used because it always subtracts the
mean.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.extraction.methods.checks import both_sides, check_variation
from lens_steer.extraction.methods.fitter import Fit
from lens_steer.extraction.methods.scale import scaled_to_means


def pca_of_differences(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], centred: bool = False
) -> Float[Tensor, " d_model"]:
    """The first principal component of the pairs' differences.

    Args:
        pos: positive activations.
        neg: negative activations; row i is paired with row i of `pos`.
        centred: subtract the mean difference first.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: fewer than two pairs, classes that are not paired, differences that do not vary, or means that do
            not differ along the component.

    Source:
        Zou et al. 2023, arXiv 2310.01405.
    """
    return fit_pca_of_differences(pos, neg, centred).direction


def fit_pca_of_differences(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], centred: bool = False
) -> Fit:
    """`pca_of_differences` with its notes: `explained`, `sign_flipped`, `cosine_with_mean_difference`."""
    up, down = both_sides("pca_of_differences", pos, neg, minimum=2, paired=True)
    differences = up - down
    rows = differences - differences.mean(dim=0) if centred else differences
    check_variation("pca_of_differences", rows, up)
    unit, explained = first_component(rows)
    return scaled_to_means("pca_of_differences", unit, up.mean(dim=0), down.mean(dim=0), {"explained": explained})


def pca_of_pool(pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> Float[Tensor, " d_model"]:
    """The first principal component of all activations of both classes.

    The classes determine only its sign and length, so it finds the behaviour only if that is the main variation.

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: a class with fewer than two rows, rows that do not vary, or means that do not differ along the
            component.
    """
    return fit_pca_of_pool(pos, neg).direction


def fit_pca_of_pool(pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> Fit:
    """`pca_of_pool` with its notes: `explained`, `sign_flipped`, `cosine_with_mean_difference`."""
    up, down = both_sides("pca_of_pool", pos, neg, minimum=2)
    pool = torch.cat([up, down])
    rows = pool - pool.mean(dim=0)
    check_variation("pca_of_pool", rows, pool)
    unit, explained = first_component(rows)
    return scaled_to_means("pca_of_pool", unit, up.mean(dim=0), down.mean(dim=0), {"explained": explained})


def first_component(rows: Float[Tensor, "n d_model"]) -> tuple[Float[Tensor, " d_model"], float]:
    """The first right singular vector of the rows, without centring.

    Args:
        rows: float64, not all zero.

    Returns:
        The unit direction, with its largest absolute entry positive, and its share of the sum of squares.
    """
    tall = rows.shape[0] > rows.shape[1]
    values, vectors = torch.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    component = vectors[:, -1] if tall else rows.T @ vectors[:, -1]
    unit = component / component.norm()
    return unit * largest_sign(unit), float(values[-1] / values.sum())


def largest_sign(entries: Float[Tensor, " n"]) -> float:
    """The sign of the entry with the largest absolute value; the first one among ties up to rounding."""
    sizes = entries.abs()
    first = int((sizes >= sizes.max() * (1 - 1e-9)).nonzero()[0])
    return 1.0 if float(entries[first]) >= 0 else -1.0
