"""Input checks of all methods: number of rows, matching shapes, finite values, variation. Messages name the method."""

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError

NOTHING = 1e-12
"""Relative differences below this count as rounding; the resolution of float32 is 6e-8."""


def check_rows(method: str, pos: Tensor, neg: Tensor, paired: bool = False) -> None:
    """Checks widths, pairing and finiteness of the rows.

    Args:
        method: the method's name, for the message.
        pos: positive activations.
        neg: negative activations.
        paired: row i of both is a pair.

    Raises:
        MethodError: the widths differ, the numbers of rows differ where paired, or a value is not finite.
    """
    if pos.shape[1] != neg.shape[1]:
        raise MethodError(
            f"{method} was given positive activations of width {pos.shape[1]} and negative ones of width "
            f"{neg.shape[1]}; read both sides at the same site."
        )
    if paired and len(pos) != len(neg):
        raise MethodError(
            f"{method} works on pairs and was given {len(pos)} positive and {len(neg)} negative activations at once; "
            "give row i of both sides from pair i, or choose a method for unpaired sides, such as 'mean_difference'."
        )
    broken = int((~pos.isfinite()).any(dim=1).sum()) + int((~neg.isfinite()).any(dim=1).sum())
    if broken:
        raise MethodError(
            f"{method} was given {broken} activations with NaN or infinite entries; look for an overflow in the "
            "model (float16?) before making a direction of them."
        )


def check_counts(method: str, n_pos: int, n_neg: int, minimum: int = 1) -> None:
    """Checks the number of rows.

    Args:
        method: the method's name, for the message.
        n_pos: number of positive rows.
        n_neg: number of negative rows.
        minimum: the least number of rows of each class.

    Raises:
        MethodError: a class has fewer.
    """
    if min(n_pos, n_neg) < minimum:
        raise MethodError(
            f"{method} was given {n_pos} positive and {n_neg} negative activations; it needs at least "
            f"{minimum} of each."
        )


def both_sides(
    method: str, pos: Tensor, neg: Tensor, minimum: int = 1, paired: bool = False
) -> tuple[Float[Tensor, "n_pos d_model"], Float[Tensor, "n_neg d_model"]]:
    """The positive and negative rows, checked, in float64 on the CPU.

    Args:
        method: the method's name, for the message.
        pos: positive activations.
        neg: negative activations.
        minimum: the least number of rows of each class.
        paired: row i of both is a pair.

    Returns:
        (pos, neg).

    Raises:
        MethodError: as `check_counts` and `check_rows`.
    """
    check_counts(method, len(pos), len(neg), minimum)
    check_rows(method, pos, neg, paired)
    return pos.detach().cpu().double(), neg.detach().cpu().double()


def check_variation(method: str, centred: Tensor, rows: Tensor) -> None:
    """Checks that rows vary.

    Args:
        method: the method's name, for the message.
        centred: the rows minus their mean (or class means).
        rows: the rows themselves, for the scale of rounding errors.

    Raises:
        MethodError: the rows are equal up to rounding.
    """
    if float(centred.norm()) <= NOTHING * float(rows.norm()):
        raise MethodError(
            f"{method} was given {len(rows)} rows that are all alike and needs rows that vary; read at a position "
            "where the texts already differ, or use 'mean_difference'."
        )
