"""Attention masks of padded batches in double precision, by numbers that float32 has.

A masked score is the least number of the mask's dtype. Most architectures take the softmax in float32 whatever the
model runs in, and there the least number of float64 is minus infinity. A padding token that sees nothing but masked
tokens (at the beginning of a row, or beyond a sliding window) then has a softmax of NaN, which reaches the real tokens
of its row as 0 * NaN:

    softmax(-1.8e308, -1.8e308)  ->  softmax(-inf, -inf) = NaN         softmax(-3.4e38, -3.4e38) = 1/2, 1/2

The weights of every other token are the same numbers with either mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lens_steer.model.protocol import SteerableModel


@contextmanager
def finite_masks(model: SteerableModel) -> Iterator[None]:
    """Passes inside have masks whose numbers float32 has.

    Args:
        model: whose passes they are; nothing is done unless it runs in float64.

    Returns:
        A context manager; afterwards transformers makes its masks as before.
    """
    if next(model.original_model.parameters()).dtype != torch.float64:
        yield
        return
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    own, least = MASKS["eager"], torch.finfo(torch.float32).min

    def _mask(*args: Any, **settings: Any) -> Any:
        mask = own(*args, **settings)
        return None if mask is None else mask.clamp_min(least)

    MASKS["eager"] = _mask
    try:
        yield
    finally:
        del MASKS["eager"]  # the mapping's own entry, over the one that all mappings share
        if MASKS["eager"] is not own:
            MASKS["eager"] = own
