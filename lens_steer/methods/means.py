"""The difference of two means.

    v = 1/n_pos sum_i pos_i  -  1/n_neg sum_j neg_j

Sign: points from the negative to the positive side. Scale: that of the activations, so strength 1 moves the mean of
one side onto the other. Source: Rimsky et al. 2024 (arXiv 2312.06681); Marks & Tegmark 2023 (arXiv 2310.06824). It
fails where the sides differ in something else besides the behaviour (a letter, a length): balance that in the data.
Sums are float64.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError


def mean_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]
) -> Float[Tensor, " d_model"]:
    """The mean of the positive activations minus the mean of the negative ones.

    Args:
        pos: activations of the positive side, in the site's own units.
        neg: activations of the negative side; the number of rows may differ.

    Returns:
        The direction, float32 on the CPU, in the units of the activations.

    Raises:
        MethodError: a side has no rows.

    Source:
        Rimsky et al. 2024, arXiv 2312.06681.
    """
    fitter = MeanDifference()
    fitter.update(pos, neg)
    return fitter.fit()


class MeanDifference:
    """`mean_difference` over a stream: memory is two sums, whatever the number of rows."""

    def __init__(self) -> None:
        self.n_positive = 0
        self.n_negative = 0
        self._positive: Tensor | None = None
        self._negative: Tensor | None = None

    def update(self, pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> None:
        """Takes in activations of both sides; either may have no rows.

        Args:
            pos: activations of the positive side.
            neg: activations of the negative side.
        """
        self._positive = _grow(self._positive, pos)
        self._negative = _grow(self._negative, neg)
        self.n_positive += pos.shape[0]
        self.n_negative += neg.shape[0]

    def merge(self, other: "MeanDifference") -> None:
        """Takes in everything another fitter has taken in (of another batch, device or process)."""
        if other._positive is not None and other._negative is not None:
            self._positive = _grow(self._positive, other._positive[None])
            self._negative = _grow(self._negative, other._negative[None])
            self.n_positive += other.n_positive
            self.n_negative += other.n_negative

    def fit(self) -> Float[Tensor, " d_model"]:
        """The difference of the means of everything taken in.

        Returns:
            The direction, float32 on the CPU.

        Raises:
            MethodError: a side has no rows.
        """
        if self._positive is None or self._negative is None or not self.n_positive or not self.n_negative:
            raise MethodError(
                f"mean_difference was given {self.n_positive} positive and {self.n_negative} negative activations; "
                "it needs at least one of each."
            )
        return (self._positive / self.n_positive - self._negative / self.n_negative).float()


def _grow(total: Tensor | None, rows: Float[Tensor, "n d_model"]) -> Tensor:
    """A running float64 sum, on the CPU."""
    added = rows.detach().to(torch.float64).sum(dim=0).cpu()
    return added if total is None else total + added
