"""Decoding of a batch, token by token: the logits of the next token of each row. Choosing tokens is the caller's.

    cached     prompts left-padded, once; then one column of new tokens a pass, continuing the key-value cache
    uncached   every sequence in full, right-padded, in each pass

A row that has ended continues as padding: it is masked, so that no hook edits it. Both ways have the same absolute
positions; models without a key-value cache of tokens, or whose recurrent state takes padding in, are decoded uncached.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.model.fast_forward import FastForward, may_fast_forward
from lens_steer.model.forward import new_cache, pad
from lens_steer.model.logits import Logits, logits_after, pass_logits
from lens_steer.model.prefix import why_not_decoded
from lens_steer.model.protocol import SteerableModel


class DecodingState:
    """The sequences of one batch and their key-value cache.

    `ends` is the place of each row's last real token in the chunk that was forwarded last.

    Args:
        model: a loaded model.
        rows: the prompts' tokens.
        cached: use the key-value cache, where the model has one.
        of: the caller's own numbers of the rows, for errors; 0, 1, ... where absent.

    Raises:
        DataError: no rows, an empty row, or a row longer than the model's context.
    """

    def __init__(
        self,
        model: SteerableModel,
        rows: Sequence[Sequence[int]],
        cached: bool = True,
        of: Sequence[int] | None = None,
    ) -> None:
        self._model = model
        self._cache = new_cache(model) if cached and not why_not_decoded(model) else None
        self._rows, self._of = [list(row) for row in rows], list(range(len(rows)) if of is None else of)
        self._tokens, self._mask = pad(model, rows, side="left")
        self._fast = FastForward(model) if self._cache is not None and may_fast_forward(model) else None
        self.ends = torch.full((len(self._rows),), -1, device="cpu")

    def read(self) -> Float[Tensor, "batch d_vocab"]:
        """Forwards what has not been forwarded yet.

        Returns:
            The logits of each row's next token, float32, on the model's device.

        Raises:
            LogitError: they are NaN or infinite.
        """
        if self._cache is None:
            self.ends = torch.tensor([len(row) - 1 for row in self._rows], device="cpu")
            return logits_after(self._model, self._rows, of=self._of).whole().float()
        if self._fast is None:
            wanted = torch.zeros_like(self._tokens, dtype=torch.bool)
            wanted[:, -1] = True
            return pass_logits(self._model, self._tokens, self._mask, wanted, self._cache, of=self._of).whole().float()
        with torch.no_grad():
            logits = self._fast.logits(self._tokens, self._mask, self._cache)[:, -1]
        return (
            Logits(self._model, logits, torch.tensor(self._of, device="cpu"), self._mask.sum(dim=1) - 1).whole().float()
        )

    def append(self, tokens: Int[Tensor, " batch"], alive: Bool[Tensor, " batch"]) -> None:
        """Appends one token to every row that has not ended.

        Args:
            tokens: one a row; those of ended rows are ignored.
            alive: which rows have not ended.
        """
        if self._cache is None:
            for row, token, goes_on in zip(self._rows, tokens.tolist(), alive.tolist(), strict=True):
                row.extend([token] if goes_on else [])
            return
        device = self._mask.device
        self._tokens = tokens.to(device)[:, None]
        self._mask = torch.cat([self._mask, alive.to(device, self._mask.dtype)[:, None]], dim=1)
