"""One layer of a key-value cache from which any number of passes start: the past is stored once for all of them.

    keys[row]  =  past of sequence (row mod batch)  ++  what the running pass adds

Each pass overwrites what the last one added, so that the past is copied once for each row and layer, whatever the
number of passes, and not at all for layers that are never run. Imported only where a cache is made, since it needs
transformers.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class Branch(DynamicLayer):
    """The past of one layer, for up to `copies` rows a sequence; `new` is the most tokens that a pass adds."""

    def __init__(
        self, keys: Float[Tensor, "batch head pos d_head"], values: Float[Tensor, "batch head pos width"], copies: int
    ) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._copies = copies
        self._rows: tuple[Tensor, Tensor] | None = None

    def _update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Puts a pass's keys and values behind the past of its rows.

        Args:
            key_states: (rows, head, new, d_head), the rows of all sequences, then those rows again, and so on.
            value_states: likewise; whatever else a model says is of no use, as to transformers' own layers.

        Returns:
            Keys and values of past and new tokens, valid until the next pass.
        """
        if self._rows is None:
            self._rows = tuple(
                torch.cat([past, past.new_empty(*past.shape[:2], new.shape[2], past.shape[3])], dim=2).repeat(
                    self._copies, 1, 1, 1
                )
                for past, new in ((self.keys, key_states), (self.values, value_states))
            )  # pyright: ignore[reportAttributeAccessIssue]
        found = tuple(rows[: len(key_states)] for rows in self._rows)
        for rows, new in zip(found, (key_states, value_states), strict=True):
            rows[:, :, -new.shape[2] :] = new
        return found

    update = _update
