"""What every method looks like from outside: a fitter that is fed activations and gives a direction.

A fitter is the mutable half of a method; the direction it gives is a plain tensor. It knows neither models nor sites:
one fitter is made for each site. `pos` and `neg` need not have the same number of rows.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Fitter(Protocol):
    """Collects activations of both sides and turns them into a direction."""

    def update(self, pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> None:
        """Takes in activations of both sides; either may have no rows."""
        ...

    def fit(self) -> Float[Tensor, " d_model"]:
        """The direction of everything taken in so far, float32 on the CPU."""
        ...
