"""Batches of sequences of like length.

Sequences are sorted by length and cut into batches, so that padding is small; each batch says which sequences it
holds, so that results can be put back into their order.
"""

from collections.abc import Sequence
from numbers import Integral

from lens_steer.errors import DataError


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
