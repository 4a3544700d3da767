"""The interface of methods: a `Fitter` takes batches of activations and returns a `Fit`.

A fitter is mutable; its `Fit` is frozen: a direction and the method's notes. There is one fitter per site (for a joint
method, one for all sites concatenated). `pos` and `neg` may have different numbers of rows, except for paired methods.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.extraction.methods.checks import check_rows

Option = float | int | str | None
"""The value of a method's option: a number, a boolean, a text, or None."""


@shown()
@dataclass(frozen=True, kw_only=True)
class Fit:
    """A direction, float32 on the CPU, with the method's notes, such as the explained share of variance."""

    direction: Float[Tensor, " d_model"]
    notes: Mapping[str, float | str] = field(default_factory=lambda: MappingProxyType({}))


@runtime_checkable
class Fitter(Protocol):
    """Collects positive and negative activations and turns them into a direction."""

    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,
    ) -> None:
        """Adds positive and negative activations; either may have no rows.

        Args:
            pos: positive activations.
            neg: negative activations; for a paired method row i belongs to row i of `pos`.
            groups: the group of each pair, for a grouped method; any other method ignores it.
        """
        ...

    def fit(self) -> Fit:
        """The direction of all activations added so far."""
        ...


class Collected:
    """The fitter of a method that needs all rows at once: it keeps float32 copies and calls the method on all of them.

    The result does not depend on how the rows are divided into updates.
    """

    def __init__(self, name: str, fit: Callable[[Tensor, Tensor], Fit | Tensor], paired: bool = False) -> None:
        self._name, self._fit, self._paired = name, fit, paired
        self._pos: list[Tensor] = []
        self._neg: list[Tensor] = []

    def update(
        self,
        pos: Float[Tensor, "n_pos d_model"],
        neg: Float[Tensor, "n_neg d_model"],
        groups: Int[Tensor, " n_pos"] | None = None,  # noqa: ARG002
    ) -> None:
        """Keeps the positive and negative rows, as the protocol says."""
        check_rows(self._name, pos, neg, self._paired)
        self._pos.append(pos.detach().to("cpu", torch.float32, copy=True))
        self._neg.append(neg.detach().to("cpu", torch.float32, copy=True))

    def fit(self) -> Fit:
        """The method's fit of all rows.

        Returns:
            The direction and its notes.

        Raises:
            MethodError: a class has too few rows, or the method finds no direction in them.
        """
        empty = torch.zeros(0, 0, dtype=torch.float32, device="cpu")
        found = self._fit(torch.cat(self._pos or [empty]), torch.cat(self._neg or [empty]))
        return found if isinstance(found, Fit) else Fit(direction=found)


def collected(name: str, fit: Callable[..., Fit | Tensor], paired: bool = False) -> Callable[..., Fitter]:
    """A factory of `Collected` fitters for one method.

    Args:
        name: the method's name, for messages.
        fit: function of all positive and negative rows that returns a fit, or a direction without notes; takes the
            method's options by keyword.
        paired: row i of both classes is a pair.

    Returns:
        A function of the method's options that returns an empty fitter.
    """

    def _make(**options: Option) -> Collected:
        return Collected(name, partial(fit, **options), paired)

    return _make
