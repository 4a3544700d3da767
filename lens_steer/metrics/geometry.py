"""Angles between directions and between sets of them, each with what chance would give.

    cosine null          (1 + cos) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2)     v, w independent, isotropic in d dimensions
    null within data     cos(g (X - mean), h (Y - mean)),   g, h ~ N(0, I)  v, w with the covariance of the rows X, Y
    corrected cosine     c = mean_s (v1 . w2 + v2 . w1) / 2  /  sqrt( mean_s v1 . v2  mean_s w1 . w2 )
                         s: splits of the data; v1, v2: the direction of either half
    effective rank       exp( - sum p_i ln p_i ),   p_i = sigma_i / sum sigma      sigma: singular values
    principal angles     arccos of the singular values of Q_A^T Q_B               Q: orthonormal bases of the two spans

The length of a random direction does not matter to a cosine, so the isotropic null is that of norm-matched random
directions, exact and without sampling. Activations lie in far fewer directions than there are dimensions: directions
made of them meet each other by chance more often than isotropic ones, which the null within data shows.

Noise in v and w makes their cosine smaller than that of what they estimate. Products of different halves have no noise
in common, so the corrected cosine estimates the noiseless one; it is Spearman's (1904) correction for attenuation
with cross-validated products (Walther et al. 2016, NeuroImage 137). It may leave [-1, 1], and is NaN where a direction
does not repeat from half to half. Effective rank: Roy & Vetterli 2007.
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
    """Between which values the cosine of two random directions lies.

    Args:
        width: dimensions, at least 2.
        confidence: the share of random pairs within the band.

    Returns:
        The lower and the upper bound, symmetric about 0.

    Raises:
        ScoreError: fewer than two dimensions, or a confidence that is not between 0 and 1.
    """
    if width < 2 or not 0 < confidence < 1:
        raise ScoreError(f"{width} dimensions at confidence {confidence}; give 2 or more, and one between 0 and 1.")
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
    """Random unit directions that have the covariance of some rows: mixtures of the rows about their mean.

    Args:
        rows: activations, or the differences of the pairs that a vector was made of.
        draws: directions.
        seed: the same seed gives the same directions; two seeds give unrelated ones.

    Returns:
        One direction a draw, float32.

    Raises:
        ScoreError: fewer than two rows, or rows that are all zero or not finite.
    """
    if len(rows) < 2 or not bool(rows.isfinite().all()) or bool((rows == rows[0]).all()):
        raise ScoreError(f"rows of shape {tuple(rows.shape)}; give two or more, finite and not all alike.")
    spread = rows.detach().cpu().float() - rows.mean(dim=0).cpu()
    mixed = torch.randn(draws, len(rows), generator=torch.Generator().manual_seed(seed)) @ spread
    return mixed / mixed.norm(dim=1, keepdim=True)


def corrected_cosine(first: Float[Tensor, "resample 2 width"], second: Float[Tensor, "resample 2 width"]) -> float:
    """The cosine of what two noisy directions estimate; see the module's formula.

    Args:
        first: a direction's two halves, one pair for each split of its data.
        second: the other direction's halves; of the same splits, where it is made of the same data.

    Returns:
        About the cosine of the noiseless directions; NaN where one of them does not repeat.

    Raises:
        ScoreError: unlike numbers of splits or widths.

    Source:
        Spearman 1904; Walther et al. 2016, NeuroImage 137.
    """
    if first.shape != second.shape or first.shape[1] != 2:
        raise ScoreError(
            f"halves of shape {tuple(first.shape)} and {tuple(second.shape)}; expected (splits, 2, width) of both."
        )
    v, w = first.double(), second.double()
    size = _product(v[:, 0], v[:, 1]) * _product(w[:, 0], w[:, 1])
    if not (size > 0 and _product(v[:, 0], v[:, 1]) > 0):
        return math.nan
    return (_product(v[:, 0], w[:, 1]) + _product(v[:, 1], w[:, 0])) / 2 / math.sqrt(size)


def reliability(halves: Float[Tensor, "resample 2 width"]) -> float:
    """The squared cosine of a direction with what it estimates: 2 c / (1 + c), c the cosine of its halves.

    Args:
        halves: the direction's two halves, one pair for each split.

    Returns:
        1 for a direction without noise; 0 or less for one that does not repeat.

    Source:
        Spearman 1910 and Brown 1910, the prophecy formula.
    """
    v = halves.double()
    cosine = float(torch.cosine_similarity(v[:, 0], v[:, 1], dim=1).mean())
    return -math.inf if cosine <= -1 else 2 * cosine / (1 + cosine)


def effective_rank(rows: Float[Tensor, "n width"]) -> float:
    """How many directions a set of rows fills: from 1 (all parallel) to n (orthogonal and alike in length).

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
        raise ScoreError(f"rows of shape {tuple(data.shape)}, zero or not finite; they have no rank.")
    return math.exp(stats.entropy(torch.linalg.svdvals(data).numpy()))


def principal_angles(first: Float[Tensor, "n_pos width"], second: Float[Tensor, "n_neg width"]) -> Float[Tensor, " k"]:
    """The angles between the spans of two sets of directions.

    Args:
        first: directions, one a row, linearly independent.
        second: the others.

    Returns:
        Degrees, smallest first, as many as the smaller set has: 0 is a shared direction, 90 an orthogonal one.

    Raises:
        ScoreError: a set is empty, has more directions than dimensions, or is linearly dependent.

    Source:
        scipy.linalg.subspace_angles (Knyazev & Argentati 2002).
    """
    sides = [rows.detach().cpu().double() for rows in (first, second)]
    for rows in sides:
        if not len(rows) or len(rows) > rows.shape[1] or int(torch.linalg.matrix_rank(rows)) < len(rows):
            raise ScoreError(
                f"{len(rows)} directions of {rows.shape[1]} dimensions; principal angles need at least one, and none "
                "that is a sum of others. Leave the dependent ones out."
            )
    found = np.degrees(subspace_angles(*(rows.numpy().T for rows in sides)))
    return torch.from_numpy(found[::-1].copy())


def _product(one: Tensor, two: Tensor) -> float:
    """The mean over splits of the products of rows."""
    return float((one * two).sum(dim=1).mean())
