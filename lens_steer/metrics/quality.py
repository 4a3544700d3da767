"""Quality of a steering direction, computed from activations alone, before steering.

    split-half cosine        mean over random halves of cos(method(half 1), method(half 2))
    directional agreement    D = mean_i cos(d_i, v),   d_i = pos_i - neg_i;   left out: v_-i = mean of the other d_j
    cosine by size           cos(method(n random rows), method(all rows)),   mean and 5 / 95 % over repeats
    separability             kappa(a) = 2 (a - mid) . v / ||v||^2     mid: midpoint of the two class means, which have
                             kappa = +-1 where v is the mean difference
                             d' = (mean kappa+ - mean kappa-) / sqrt((var+ + var-) / 2)    variances over n
                             overlap = sum of min(hist+, hist-) times bin width, 50 edges, densities; AUROC
    energy share             sum of the k largest v_j^2 / ||v||^2

Source: Braun et al. 2025 (arXiv 2505.22637) for agreement and separability. Massive activations are confined to a few
dimensions: a direction with most of its energy in two of them reflects the token that was read more than the
behaviour. All of these are optimistic on the training rows: give separability held-out rows; agreement is leave-one-out
by default. They are screening metrics and do not show that a direction steers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError

EDGES = 50

Direction = Callable[[Tensor, Tensor], Tensor]
"""An extraction method: (positive activations, negative activations) -> direction."""


@dataclass(frozen=True, kw_only=True)
class CosineAtSize:
    """Cosine of directions from `size` rows per class with that from all rows: mean, 5 % and 95 % over `repeats`."""

    size: int
    mean: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Separability:
    """Separation of two classes along a direction: d', shared area of the histograms, area under the ROC curve."""

    d_prime: float
    overlap: float
    auroc: float


@shown()
@dataclass(frozen=True, kw_only=True)
class EnergyShares:
    """Share of the squared norm in the k largest dimensions, by k, and which dimensions they are, largest first."""

    shares: Mapping[int, float]
    dimensions: tuple[int, ...]


def split_half_cosine(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    method: Direction,
    splits: int = 100,
    seed: int = 0,
    paired: bool = False,
) -> float:
    """The mean cosine of the directions of two random halves of the data.

    Args:
        pos: positive activations.
        neg: negative activations.
        method: makes a direction from both classes.
        splits: number of random halvings.
        seed: the same seed gives the same halves.
        paired: row i of both classes is a pair and goes into the same half; otherwise each class is halved
            independently. The last row of an odd number is left out. Halving paired data independently biases the
            cosine below 0, because the two rows of a prompt often fall into different halves.

    Returns:
        The mean cosine: near 1 for a direction that the data determine, near 0 for one that they do not.

    Raises:
        ScoreError: a class with fewer than two rows, no splits, unequal classes where paired, or a half whose
            direction is zero or not finite.
    """
    if splits < 1:
        raise ScoreError(f"{splits} splits; a split-half cosine needs at least one.")
    _check_sides(pos, neg, 2, paired)
    generator, half = torch.Generator().manual_seed(seed), (len(pos) // 2, len(neg) // 2)
    found = []
    for _ in range(splits):
        up, down = _shuffled(len(pos), len(neg), generator, paired)
        one = method(pos[up[: half[0]]], neg[down[: half[1]]])
        two = method(pos[up[half[0] : 2 * half[0]]], neg[down[half[1] : 2 * half[1]]])
        found.append(_cosine(one, two))
    return float(np.mean(found))


def directional_agreement(
    differences: Float[Tensor, "n d_model"],
    direction: Float[Tensor, " d_model"] | None = None,
    leave_one_out: bool = True,
) -> float:
    """The mean cosine of the pair differences with a direction.

    Args:
        differences: pos_i - neg_i, one pair per row.
        direction: the direction v, from other pairs or another method; where None, the mean of these differences.
        leave_one_out: compare each pair with the mean difference of the other pairs. The mean of all pairs contains
            the pair itself, so that pure noise gives about 1 / sqrt(n) instead of 0. Ignored where a direction is
            given.

    Returns:
        The mean cosine, from -1 to 1.

    Raises:
        ScoreError: fewer than two pairs (one with a direction), or a difference or direction that is zero or not
            finite.

    Source:
        Braun et al. 2025, arXiv 2505.22637 (there with the mean of all pairs).
    """
    rows = differences.detach().cpu().double()
    if len(rows) < (2 if direction is None else 1):
        raise ScoreError(f"{len(rows)} pairs; agreement needs at least two pairs, or one with a given direction.")
    if direction is not None:
        against = direction.detach().cpu().double().expand_as(rows)
    elif leave_one_out:
        against = (rows.sum(dim=0) - rows) / (len(rows) - 1)
    else:
        against = rows.mean(dim=0).expand_as(rows)
    return float(np.mean([_cosine(row, v) for row, v in zip(rows, against, strict=True)]))


def cosine_by_size(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    method: Direction,
    sizes: Sequence[int],
    repeats: int = 100,
    seed: int = 0,
    paired: bool = False,
) -> tuple[CosineAtSize, ...]:
    """How the direction depends on the number of training rows.

    Args:
        pos: positive activations.
        neg: negative activations.
        method: makes a direction from both classes.
        sizes: rows drawn from each class, at random, without replacement.
        repeats: random draws for each size.
        seed: the same seed gives the same draws.
        paired: row i of both classes is a pair; the same rows are drawn from both.

    Returns:
        One entry per size; `pandas.DataFrame` accepts the tuple. A draw is a subset of all rows, so the cosine of a
        large size is near 1 for any data.

    Raises:
        ScoreError: a size below 1 or above the smaller class, no repeats, or a direction that is zero or not finite.
    """
    _check_sides(pos, neg, 1, paired)
    for size in sizes:
        if not 1 <= size <= min(len(pos), len(neg)) or repeats < 1:
            raise ScoreError(
                f"size {size} with {repeats} repeats, of {len(pos)} positive and {len(neg)} negative rows; give sizes "
                "from 1 to the rows of the smaller class, and at least one repeat."
            )
    generator, whole = torch.Generator().manual_seed(seed), method(pos, neg)
    found = []
    for size in sizes:
        orders = [_shuffled(len(pos), len(neg), generator, paired) for _ in range(repeats)]
        cosines = [_cosine(method(pos[up[:size]], neg[down[:size]]), whole) for up, down in orders]
        low, high = np.quantile(cosines, [0.05, 0.95])
        found.append(
            CosineAtSize(size=size, mean=float(np.mean(cosines)), low=float(low), high=float(high), repeats=repeats)
        )
    return tuple(found)


def separability(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], direction: Float[Tensor, " d_model"]
) -> Separability:
    """The separation of the two classes along a direction.

    Args:
        pos: positive activations, preferably from pairs that the direction was not made from.
        neg: negative activations; the number of rows may differ.
        direction: of any length, from the negative to the positive class.

    Returns:
        d' (0: no difference, negative: wrong sign), the overlap of the two histograms (1: identical, 0: disjoint) and
        the AUROC (0.5: chance).

    Raises:
        ScoreError: a class with fewer than two rows, a direction that is zero or not finite, or projections that do not
            vary.

    Source:
        Braun et al. 2025, arXiv 2505.22637.
    """
    from sklearn.metrics import roc_auc_score

    _check_sides(pos, neg, 2)
    v = direction.detach().cpu().double()
    if not bool(v.isfinite().all()) or not float(v.norm()) > 0:
        raise ScoreError("the direction is zero or not finite; give a direction to project on.")
    up, down = pos.detach().cpu().double(), neg.detach().cpu().double()
    middle = (up.mean(dim=0) + down.mean(dim=0)) / 2
    readings = [(2 * (side - middle) @ v / (v @ v)).numpy() for side in (up, down)]
    both = np.concatenate(readings)
    spread = float(np.sqrt((readings[0].var() + readings[1].var()) / 2))
    if not np.isfinite(both).all() or not spread > 0:
        raise ScoreError("projections on the direction do not vary within a class, or are not finite; give other rows.")
    edges = np.linspace(both.min(), both.max(), EDGES)
    counts = [np.histogram(side, bins=edges, density=True)[0] for side in readings]
    return Separability(
        d_prime=float(readings[0].mean() - readings[1].mean()) / spread,
        overlap=float((np.minimum(*counts) * np.diff(edges)).sum()),
        auroc=float(roc_auc_score(np.repeat([1, 0], [len(up), len(down)]), both)),
    )


def energy_shares(direction: Float[Tensor, " d_model"], k: Sequence[int] = (1, 2, 10)) -> EnergyShares:
    """The share of a direction's squared norm in its largest dimensions.

    Args:
        direction: of any length.
        k: the numbers of dimensions to report.

    Returns:
        The share for the k largest dimensions, for each k, and the indices of the max(k) largest. An isotropic
        direction of d dimensions has about 2 ln(d) / d in its largest.

    Raises:
        ScoreError: a k below 1 or above the width, no k, or a direction that is zero or not finite.
    """
    v = direction.detach().cpu().double()
    if not k or min(k) < 1 or max(k) > len(v):
        raise ScoreError(f"k = {tuple(k)} of {len(v)} dimensions; give numbers from 1 to {len(v)}.")
    if not bool(v.isfinite().all()) or not float(v.norm()) > 0:
        raise ScoreError("the direction is zero or not finite; its energy shares are undefined.")
    energy = (v / v.norm()).square()
    order = energy.sort(descending=True, stable=True).indices
    return EnergyShares(
        shares=MappingProxyType({n: float(energy[order[:n]].sum()) for n in k}),
        dimensions=tuple(order[: max(k)].tolist()),
    )


def _check_sides(pos: Tensor, neg: Tensor, minimum: int, paired: bool = False) -> None:
    """Raises where a class has too few rows, or paired classes differ in length."""
    if min(len(pos), len(neg)) < minimum or (paired and len(pos) != len(neg)):
        kind = "pairs" if paired else "rows of each class"
        raise ScoreError(f"{len(pos)} positive and {len(neg)} negative rows; expected at least {minimum} {kind}.")


def _shuffled(n_pos: int, n_neg: int, generator: torch.Generator, paired: bool) -> tuple[Tensor, Tensor]:
    """A random order of the positive and negative rows; the same one where they are paired."""
    up = torch.randperm(n_pos, generator=generator, device="cpu")
    return up, up if paired else torch.randperm(n_neg, generator=generator, device="cpu")


def _cosine(v: Tensor, w: Tensor) -> float:
    """The cosine of two directions, neither of which is zero."""
    one, two = v.double(), w.double()
    size = float(one.norm() * two.norm())
    if not 0 < size < float("inf"):
        raise ScoreError("a direction or a difference is zero or not finite, and has no cosine with another.")
    return float(((one @ two) / size).clamp(-1, 1))
