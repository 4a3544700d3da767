"""Whitened directions: the mean difference corrected for the covariance, and the vectors of the LEACE eraser.

    whitened_mean_difference   raw = S^-1 delta        S: within-class covariance, delta: mean of pos - mean of neg
    leace                      r(x) = x - a b (x - E x)     the least-squares concept eraser of z (1 on pos, 0 on neg)
                               a = W^+ u,  b = u^T W,  u = W S_xz / ||W S_xz||,  W = (S_xx^1/2)^+
    v = u (delta . u)          scaled and signed by the class means, see `scale`

LEACE erases a binary concept by a rank-one map with two vectors. a (`proj_left`) is the direction that is removed;
since S_xz = p (1 - p) delta, it is the mean difference. b (`proj_right`) = S_xx^-1 delta is the direction that is read.
The default is b, because a equals `mean_difference`. Without shrinkage, b, `whitened_mean_difference` and LDA are the
same direction (adding a multiple of delta delta^T to S only scales S^-1 delta); they differ in the shrinkage. To erase
with both vectors, use the corresponding steering operator.

Shrinkage: concept-erasure's optimal linear one, towards a multiple of the identity (Bodnar et al. 2014, arXiv
1308.2608). Source: Belrose et al. 2023 (arXiv 2306.03819). Memory is one width x width matrix in float64; fitting time
grows with the cube of the width. A direction that detects the behaviour well need not steer well.
"""

from typing import TYPE_CHECKING, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.torch_state import initial_torch
from lens_steer.errors import MethodError
from lens_steer.extraction.methods.checks import NOTHING, check_counts, check_rows
from lens_steer.extraction.methods.fitter import Fit
from lens_steer.extraction.methods.scale import scaled_to_means

if TYPE_CHECKING:
    from concept_erasure import LeaceFitter


def whitened_mean_difference(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], shrinkage: float | None = None
) -> Float[Tensor, " d_model"]:
    """The mean difference, whitened by the covariance within the classes.

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.
        shrinkage: share of the identity (times the mean variance) in the covariance, from 0 to 1; None takes the
            optimal share, 1 gives the mean difference.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: a share outside [0, 1], a class with fewer than two rows, rows that are not finite, classes that do
            not vary within, or a covariance that is singular because it is not shrunk.
    """
    fitter = WhitenedMeanDifference(shrinkage)
    fitter.update(pos, neg)
    return fitter.fit().direction


def leace(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    vector: Literal["proj_right", "proj_left"] = "proj_right",
    shrinkage: bool = True,
) -> Float[Tensor, " d_model"]:
    """The direction from which LEACE reads the behaviour, or the one that it removes.

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.
        vector: "proj_right" for the direction read, S_xx^-1 delta; "proj_left" for the direction removed, delta.
        shrinkage: shrink the covariance; without it a covariance of fewer rows than coordinates is pseudo-inverted.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: an unknown vector, a class with fewer than two rows, rows that are not finite, or classes that
            LEACE cannot distinguish.

    Source:
        Belrose et al. 2023, arXiv 2306.03819, by the concept-erasure package.
    """
    fitter = Leace(vector, shrinkage)
    fitter.update(pos, neg)
    return fitter.fit().direction


class WhitenedMeanDifference:
    """Streaming `whitened_mean_difference`: memory is one matrix, independent of the number of rows."""

    def __init__(self, shrinkage: float | None = None) -> None:
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise MethodError(
                f"whitened_mean_difference was given shrinkage {shrinkage}; expected a share from 0 to 1, or None "
                "for the optimal one."
            )
        self._shrinkage = shrinkage
        self._counts = [0, 0]
        self._means = [torch.zeros((), dtype=torch.float64, device="cpu") for _ in range(2)]
        self._scatter = torch.zeros((), dtype=torch.float64, device="cpu")

    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,  # noqa: ARG002
    ) -> None:
        """Adds positive and negative activations; either may have no rows."""
        check_rows("whitened_mean_difference", pos, neg)
        for side, rows in enumerate((pos, neg)):
            if len(rows):
                self._grow(side, rows.detach().cpu().double())

    def fit(self) -> Fit:
        """The whitened difference of the means of all activations added.

        Returns:
            The direction and its notes: `sign_flipped`, `cosine_with_mean_difference`.

        Raises:
            MethodError: as `whitened_mean_difference`.
        """
        check_counts("whitened_mean_difference", *self._counts, minimum=2)
        n, (pos_mean, neg_mean) = sum(self._counts), self._means
        covariance = self._scatter / n
        if float(covariance.trace()) <= NOTHING**2 * float(pos_mean @ pos_mean + neg_mean @ neg_mean):
            raise MethodError(
                "whitened_mean_difference was given classes without variation, so the covariance is zero; use "
                "'mean_difference'."
            )
        factor, failed = torch.linalg.cholesky_ex(self._shrunk(covariance, n))
        entries = factor.diagonal()
        if int(failed) or float(entries.min()) <= 1e-7 * float(entries.max()):
            raise MethodError(
                f"whitened_mean_difference: the covariance of {n} rows in {len(covariance)} coordinates is singular at "
                f"shrinkage {self._shrinkage}; leave shrinkage at None, or give more rows."
            )
        raw = torch.cholesky_solve((pos_mean - neg_mean)[:, None], factor).squeeze(-1)
        return scaled_to_means("whitened_mean_difference", raw, pos_mean, neg_mean)

    def _grow(self, side: int, rows: Float[Tensor, "n d_model"]) -> None:
        """Adds rows to one class: its count and mean, and the scatter around the mean (pairwise update)."""
        before, mean = self._counts[side], rows.mean(dim=0)
        total, shift = before + len(rows), mean - self._means[side]
        centred = rows - mean
        self._scatter = self._scatter + centred.T @ centred + shift.outer(shift) * (before * len(rows) / total)
        self._means[side] = self._means[side] + shift * (len(rows) / total)
        self._counts[side] = total

    def _shrunk(self, covariance: Tensor, n: int) -> Tensor:
        """The covariance, shrunk towards a multiple of the identity."""
        if self._shrinkage is None:
            from concept_erasure import optimal_linear_shrinkage

            return optimal_linear_shrinkage(covariance, n)
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device="cpu")
        return (1 - self._shrinkage) * covariance + self._shrinkage * covariance.diagonal().mean() * identity


class Leace:
    """Streaming `leace`, by concept-erasure's streaming fitter: memory is one matrix."""

    def __init__(self, vector: str = "proj_right", shrinkage: bool = True) -> None:
        if vector not in ("proj_right", "proj_left"):
            raise MethodError(f"leace was given vector {vector!r}; expected 'proj_right' or 'proj_left'.")
        self._vector, self._shrinkage = vector, shrinkage
        self._n_positive = 0
        self._n_negative = 0
        self._fitter: LeaceFitter | None = None

    @initial_torch()
    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,  # noqa: ARG002
    ) -> None:
        """Adds positive and negative activations; either may have no rows."""
        check_rows("leace", pos, neg)
        rows = torch.cat([pos, neg]).detach().cpu().double()
        if not len(rows):
            return
        if self._fitter is None:
            from concept_erasure import LeaceFitter

            # The trace constraint would mix an orthogonal projection in: no longer LEACE, and no longer of rank one.
            self._fitter = LeaceFitter(
                rows.shape[1], 1, constrain_cov_trace=False, dtype=torch.float64, shrinkage=self._shrinkage
            )
        self._fitter.update(rows, torch.cat([rows.new_ones(len(pos)), rows.new_zeros(len(neg))]))
        self._n_positive += len(pos)
        self._n_negative += len(neg)

    @initial_torch()
    def fit(self) -> Fit:
        """The vector of the eraser of all activations added.

        Returns:
            The direction and its notes: `vector`, `sign_flipped`, `cosine_with_mean_difference`.

        Raises:
            MethodError: as `leace`.
        """
        check_counts("leace", self._n_positive, self._n_negative, minimum=2)
        fitter = cast("LeaceFitter", self._fitter)  # made with the first row
        eraser, n = fitter.eraser, self._n_positive + self._n_negative
        raw = eraser.proj_right[0] if self._vector == "proj_right" else eraser.proj_left[:, 0]
        share = self._n_positive / n
        delta = fitter.sigma_xz_[:, 0] / (n * share * (1 - share))
        pos_mean = fitter.mean_x + (1 - share) * delta
        return scaled_to_means("leace", raw, pos_mean, pos_mean - delta, {"vector": self._vector})
