"""Differences of class centres: means, balanced means, medians, trimmed means, or a single pair.

    mean_difference           v = 1/n_pos sum_i pos_i  -  1/n_neg sum_j neg_j
    balanced_mean_difference  v = 1/G sum_g [ mean of d_i over the pairs of group g ],   d_i = pos_i - neg_i
    median_difference         v_k = median_i pos_ik - median_j neg_jk
    trimmed_mean_difference   v_k = the same with trimmed means
    single_pair               v = pos_1 - neg_1

Sign: points from the negative to the positive side. Scale: that of the activations, so strength 1 moves the centre of
one class onto the other. Sources: Rimsky et al. 2024 (arXiv 2312.06681); Marks & Tegmark 2023 (arXiv 2310.06824);
Turner et al. 2023 (arXiv 2308.10248) for the single pair. A mean difference includes every other difference of the
classes (a letter, a length): balance the data, or use groups. Medians and trimmed means are robust to the few tokens
with massive activations. A zero difference is returned without error. Sums are float64.
"""

from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.checks import both_sides, check_counts, check_rows
from lens_steer.extraction.methods.fitter import Fit


def mean_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]
) -> Float[Tensor, " d_model"]:
    """The mean of the positive activations minus the mean of the negative ones.

    Args:
        pos: positive activations, in the site's own units.
        neg: negative activations; the number of rows may differ.

    Returns:
        The direction, float32 on the CPU, in the units of the activations.

    Raises:
        MethodError: a class has no rows, or rows that are not finite.

    Source:
        Rimsky et al. 2024, arXiv 2312.06681.
    """
    fitter = MeanDifference()
    fitter.update(pos, neg)
    return fitter.fit().direction


def balanced_mean_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], groups: Int[Tensor, " n_pos"]
) -> Float[Tensor, " d_model"]:
    """The mean over groups of each group's mean difference, so that groups of unequal size have equal weight.

    With the letter of the matching option as group, this is 1/2 [E(d | match = A) + E(d | match = B)], in which the
    letter cancels even if the letters are not balanced in the data.

    Args:
        pos: positive activations.
        neg: negative activations; row i is paired with row i of `pos`.
        groups: the group of each pair.

    Returns:
        The direction, float32 on the CPU, in the units of the activations.

    Raises:
        MethodError: no pairs, classes that are not paired, or rows that are not finite.
    """
    fitter = BalancedMeanDifference()
    fitter.update(pos, neg, groups)
    return fitter.fit().direction


def median_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]
) -> Float[Tensor, " d_model"]:
    """The median of the positive activations minus that of the negative ones, coordinate by coordinate.

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.

    Returns:
        The direction, float32 on the CPU; an even number of rows has the mean of the middle two as its median.

    Raises:
        MethodError: a class has no rows, or rows that are not finite.
    """
    up, down = both_sides("median_difference", pos, neg)
    centres = [np.median(side.numpy(), axis=0) for side in (up, down)]
    return torch.from_numpy(centres[0] - centres[1]).float()


def trimmed_mean_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], share: float = 0.1
) -> Float[Tensor, " d_model"]:
    """The difference of two trimmed means, coordinate by coordinate (`scipy.stats.trim_mean`).

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.
        share: of the rows, left out at each end; rounded down to whole rows.

    Returns:
        The direction, float32 on the CPU; with share 0 the mean difference.

    Raises:
        MethodError: a share outside [0, 0.5), a class without rows, or rows that are not finite.
    """
    if not 0 <= share < 0.5:
        raise MethodError(f"trimmed_mean_difference was given share {share}; expected 0 <= share < 0.5 at each end.")
    up, down = both_sides("trimmed_mean_difference", pos, neg)
    centres = [stats.trim_mean(side.numpy(), share, axis=0) for side in (up, down)]
    return torch.from_numpy(centres[0] - centres[1]).float()


def single_pair(pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> Float[Tensor, " d_model"]:
    """The difference of exactly one pair, as in activation addition.

    Args:
        pos: the activation of the positive text, one row.
        neg: the activation of the negative text, one row.

    Returns:
        The direction, float32 on the CPU, in the units of the activations.

    Raises:
        MethodError: there is not exactly one row on each class, or it is not finite.

    Source:
        Turner et al. 2023, arXiv 2308.10248.
    """
    up, down = both_sides("single_pair", pos, neg, paired=True)
    if len(up) > 1:
        raise MethodError(
            f"single_pair was given {len(up)} pairs; it takes exactly one pair, read at one token. "
            "For more use 'mean_difference'."
        )
    return (up[0] - down[0]).float()


class MeanDifference:
    """Streaming `mean_difference`: memory is two sums, independent of the number of rows."""

    def __init__(self) -> None:
        self.n_positive = 0
        self.n_negative = 0
        self._positive = torch.zeros((), dtype=torch.float64, device="cpu")
        self._negative = torch.zeros((), dtype=torch.float64, device="cpu")

    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,  # noqa: ARG002
    ) -> None:
        """Adds positive and negative activations; either may have no rows."""
        check_rows("mean_difference", pos, neg)
        self._positive = self._positive + _sum(pos)
        self._negative = self._negative + _sum(neg)
        self.n_positive += pos.shape[0]
        self.n_negative += neg.shape[0]

    def merge(self, other: "MeanDifference") -> None:
        """Adds the sums of another fitter (of another batch, device or process)."""
        self._positive = self._positive + other._positive
        self._negative = self._negative + other._negative
        self.n_positive += other.n_positive
        self.n_negative += other.n_negative

    def fit(self) -> Fit:
        """The difference of the means of all activations added.

        Returns:
            The direction, float32 on the CPU; no notes.

        Raises:
            MethodError: a class has no rows.
        """
        check_counts("mean_difference", self.n_positive, self.n_negative)
        return Fit(direction=(self._positive / self.n_positive - self._negative / self.n_negative).float())


class BalancedMeanDifference:
    """Streaming `balanced_mean_difference`: memory is one sum per group."""

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}

    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,
    ) -> None:
        """Adds pairs of activations, each with its group."""
        check_rows("balanced_mean_difference", pos, neg, paired=True)
        if groups is None:
            raise MethodError(
                "balanced_mean_difference was given pairs without their groups; say which group each pair belongs to "
                "(the letter of its matching option, say), or use 'mean_difference'."
            )
        kept = groups.to(pos.device)
        differences = pos.detach().to(torch.float64) - neg.detach().to(torch.float64)
        for group in kept.unique().tolist():
            mine = differences[kept == group]
            self._sums[group] = self._sums.get(group, 0) + _sum(mine)
            self._counts[group] = self._counts.get(group, 0) + len(mine)

    def fit(self) -> Fit:
        """The mean over groups of the mean differences.

        Returns:
            The direction, float32 on the CPU; the notes count the pairs of each group.

        Raises:
            MethodError: there are no pairs.
        """
        check_counts("balanced_mean_difference", sum(self._counts.values()), sum(self._counts.values()))
        groups = sorted(self._sums)
        means = torch.stack([self._sums[group] / self._counts[group] for group in groups])
        notes = {f"pairs_of_group_{group}": float(self._counts[group]) for group in groups}
        return Fit(direction=means.mean(dim=0).float(), notes=MappingProxyType(notes))


def _sum(rows: Float[Tensor, "n d_model"]) -> Float[Tensor, " d_model"]:
    """The sum of rows in float64, on the CPU."""
    return rows.detach().to(torch.float64).sum(dim=0).cpu()
