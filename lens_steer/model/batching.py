"""Batches of sequences of like length, and what is done where one does not fit into memory.

Sequences are sorted by length and cut into batches, so that padding is small; each batch says which sequences it
holds, so that results can be put back into their order. A batch for which memory does not suffice is run in halves,
and these in halves again; numbers of batches of another size differ in their last bits.
"""

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TypeVar

import torch

from lens_steer.errors import BatchWarning, DataError

T = TypeVar("T")
R = TypeVar("R")


def length_buckets(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cuts sequences into batches of like length.

    Args:
        lengths: the length of each sequence, in tokens.
        batch_size: the most sequences in one batch.

    Returns:
        For each batch, the indices of its sequences; every index stands in exactly one batch.

    Raises:
        DataError: the batch size is no whole number of 1 or more.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise DataError(f"batch_size is {batch_size}; give 1 or more.")
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def within_memory(work: Callable[[Sequence[T]], R], batch: Sequence[T]) -> list[R]:
    """Runs a batch, or its halves where memory does not suffice, with a `BatchWarning`.

    Args:
        work: what is done with a batch; it may be begun again for a part of it.
        batch: its entries.

    Returns:
        What `work` gives for each part, in the order of the entries; mostly one.

    Raises:
        torch.OutOfMemoryError, RuntimeError, MemoryError: one entry alone does not fit.
    """
    try:
        return [work(batch)]
    except (RuntimeError, MemoryError) as error:
        if len(batch) < 2 or not is_out_of_memory(error):
            raise
    # outside of the handler: the error holds what the pass had allocated
    warn_halved(len(batch))
    middle = len(batch) // 2
    return within_memory(work, batch[:middle]) + within_memory(work, batch[middle:])


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: on an accelerator, or in torch's or Python's own allocator."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def warn_halved(size: int) -> None:
    """Says that a batch is run in halves."""
    warnings.warn(
        f"memory does not suffice for a batch of {size}, which is run in halves; a smaller batch_size saves trying.",
        BatchWarning,
        stacklevel=3,
    )
