"""Angles between directions and between sets of directions, with their values under chance.

    cosine null          (1 + cos) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2)     v, w independent, isotropic in d dimensions
    null within data     cos(g (X - mean), h (Y - mean)),   g, h ~ N(0, I)  v, w with the covariance of the rows X, Y
    corrected cosine     c = mean_s (v1 . w2 + v2 . w1) / 2  /  sqrt( mean_s v1 . v2  mean_s w1 . w2 )
                         s: splits of the data; v1, v2: the directions of the two halves
    effective rank       exp( - sum p_i ln p_i ),   p_i = sigma_i / sum sigma      sigma: singular values
    principal angles     arccos of the singular values of Q_A^T Q_B               Q: orthonormal bases of the two spans

The isotropic null equals that of norm-matched random directions, because a cosine does not depend on length; it is
exact and needs no sampling. Activations vary in far fewer directions than d, so directions made from them have larger
chance cosines than isotropic ones; the null within data accounts for this.

Noise in v and w shrinks their cosine. Different halves have independent noise, so the corrected cosine estimates the
noiseless one: Spearman's (1904) correction for attenuation with cross-validated products (Walther et al. 2016,
NeuroImage 137). It can lie outside [-1, 1] and is NaN where a direction does not replicate across halves. Effective
rank: Roy & Vetterli 2007.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from scipy.linalg import subspace_angles
from torch import Tensor

from lens_steer.errors import ScoreError


def cosine_band(width: int, confidence: float = 0.95) -> tuple[float, float]:
    """The central interval of the cosine of two random directions.

    Args:
        width: number of dimensions, at least 2.
        confidence: the share of random pairs inside the interval.

    Returns:
        The lower and the upper bound, symmetric about 0.

    Raises:
        ScoreError: fewer than two dimensions, or a confidence that is not between 0 and 1.
    """
    if width < 2 or not 0 < confidence < 1:
        raise ScoreError(f"{width} dimensions at confidence {confidence}; give width >= 2 and 0 < confidence < 1.")
    half = (width - 1) / 2
    high = 2 * float(stats.beta.ppf((1 + confidence) / 2, half, half)) - 1
    return -high, high


def cosine_p(cosine: float, width: int) -> float:
    """The probability that two random directions have a cosine at least this far from 0; NaN of NaN."""
    half = (width - 1) / 2
    return float(np.minimum(1.0, 2 * stats.beta.sf((1 + min(abs(cosine), 1.0)) / 2, half, half)))


def unrelated_directions(
    rows: Float[Tensor, "n width"], draws: int = 1000, seed: int = 0
) -> Float[Tensor, "resample width"]:
    """Random unit directions with the covariance of the given rows: random mixtures of the centred rows.

    Args:
        rows: activations, or the pair differences that a vector was made from.
        draws: number of directions.
        seed: the same seed gives the same directions; different seeds give independent ones.

    Returns:
        One direction per draw, float32.

    Raises:
        ScoreError: fewer than two rows, or rows that are all equal or not finite.
    """
    if len(rows) < 2 or not bool(rows.isfinite().all()) or bool((rows == rows[0]).all()):
        raise ScoreError(f"rows of shape {tuple(rows.shape)}; give two or more, finite and not all equal.")
    spread = rows.detach().cpu().float() - rows.mean(dim=0).cpu()
    mixed = (
        torch.randn(draws, len(rows), generator=torch.Generator().manual_seed(seed), dtype=torch.float32, device="cpu")
        @ spread
    )
    return mixed / mixed.norm(dim=1, keepdim=True)


def corrected_cosine(first: Float[Tensor, "resample 2 width"], second: Float[Tensor, "resample 2 width"]) -> float:
    """The cosine of two directions, corrected for noise; see the module's formula.

    Args:
        first: the directions of the two halves of the data, for each split.
        second: the same for the other direction; with the same splits where both are made from the same data.

    Returns:
        An estimate of the cosine of the noiseless directions; NaN where one of them does not replicate.

    Raises:
        ScoreError: the shapes differ.

    Source:
        Spearman 1904; Walther et al. 2016, NeuroImage 137.
    """
    if first.shape != second.shape or first.shape[1] != 2:
        raise ScoreError(
            f"halves of shape {tuple(first.shape)} and {tuple(second.shape)}; expected (splits, 2, width) for both."
        )
    v, w = first.double(), second.double()
    size = _product(v[:, 0], v[:, 1]) * _product(w[:, 0], w[:, 1])
    if not (size > 0 and _product(v[:, 0], v[:, 1]) > 0):
        return math.nan
    return (_product(v[:, 0], w[:, 1]) + _product(v[:, 1], w[:, 0])) / 2 / math.sqrt(size)


def reliability(halves: Float[Tensor, "resample 2 width"]) -> float:
    """The squared cosine of a direction with the noiseless one: 2 c / (1 + c), c the mean cosine of its halves.

    Args:
        halves: the directions of the two halves of the data, for each split.

    Returns:
        1 for a direction without noise; 0 or less for one that does not replicate.

    Source:
        Spearman 1910 and Brown 1910, the prophecy formula.
    """
    v = halves.double()
    cosine = float(torch.cosine_similarity(v[:, 0], v[:, 1], dim=1).mean())
    return -math.inf if cosine <= -1 else 2 * cosine / (1 + cosine)


def effective_rank(rows: Float[Tensor, "n width"]) -> float:
    """The effective rank of a set of rows: from 1 (all parallel) to n (orthogonal and equally long).

    Args:
        rows: directions of any length, at least one not zero.

    Returns:
        The exponential of the entropy of the singular values.

    Raises:
        ScoreError: there are no rows, or they are zero or not finite.

    Source:
        Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    data = rows.detach().cpu().double()
    if not data.numel() or not bool(data.isfinite().all()) or not bool(data.any()):
        raise ScoreError(
            f"rows of shape {tuple(data.shape)}, are empty, all zero or not finite; give finite directions."
        )
    return math.exp(stats.entropy(torch.linalg.svdvals(data).numpy()))


def principal_angles(first: Float[Tensor, "n_pos width"], second: Float[Tensor, "n_neg width"]) -> Float[Tensor, " k"]:
    """The angles between the spans of two sets of directions.

    Args:
        first: directions, one per row, linearly independent.
        second: the other set, likewise.

    Returns:
        min(n_pos, n_neg) angles in degrees, smallest first: 0 is a shared direction, 90 an orthogonal one.

    Raises:
        ScoreError: a set is empty, has more directions than dimensions, or is linearly dependent.

    Source:
        scipy.linalg.subspace_angles (Knyazev & Argentati 2002).
    """
    sides = [rows.detach().cpu().double() for rows in (first, second)]
    for rows in sides:
        if not len(rows) or len(rows) > rows.shape[1] or int(torch.linalg.matrix_rank(rows)) < len(rows):
            raise ScoreError(
                f"{len(rows)} directions of {rows.shape[1]} dimensions; principal angles need at least one direction, "
                "all linearly independent. Leave the dependent ones out."
            )
    found = np.degrees(subspace_angles(*(rows.numpy().T for rows in sides)))
    return torch.from_numpy(found[::-1].copy())


def _product(one: Tensor, two: Tensor) -> float:
    """The mean over splits of the inner products of rows."""
    return float((one * two).sum(dim=1).mean())
