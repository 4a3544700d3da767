"""Where one forward pass stands in its sequences: the absolute position of every token of the chunk that hooks will
see.

    with a mask     absolute = cumulative sum of the mask - 1      (over cached and new tokens; padding is not real)
    without one     absolute = cached length + 0, 1, 2, ...        (every token is real)

It is read from the arguments of the Hugging Face module under the bridge, which is what `forward`, `run_with_cache`,
`generate` and `hf_generate` all call.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.errors import PositionError, SteeringError
from lens_steer.hooks.positions import Positions

Lengths = int | Sequence[int] | None
"""Tokens of each row, or one number for all rows."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The tokens of one forward pass, in absolute positions; everything but the `tokens` themselves is on the CPU.

    `tokens` are the ids as the model got them, None where it got embeddings; `cached` counts the tokens before the
    chunk; `unsafe_start` and `unsafe_end` say that rows begin or end with what looks like padding although no mask was
    given.
    """

    absolute: Int[Tensor, "batch pos"]
    valid: Bool[Tensor, "batch pos"]
    total_lengths: Int[Tensor, " batch"]
    cached: int
    tokens: Tensor | None = None
    unsafe_start: bool = False
    unsafe_end: bool = False
    masks: dict[Positions, Tensor] = field(default_factory=dict)

    def mask(
        self,
        positions: Positions,
        prompt_lengths: Int[Tensor, " length"] | None,
        given_lengths: Int[Tensor, " length"] | None = None,
    ) -> Bool[Tensor, "batch pos"]:
        """The tokens of this chunk that a rule selects, worked out once for each rule.

        Args:
            positions: the rule.
            prompt_lengths: tokens of each row's prompt, or one number for all rows.
            given_lengths: tokens of each row that the model does not write itself; the prompt's where absent.

        Returns:
            True where the token is selected.

        Raises:
            PositionError: the rule cannot be resolved on this chunk.
        """
        if positions not in self.masks:
            self._refuse_guesses(positions)
            prompts = given = None
            if positions.needs_prompt_lengths:
                prompts, given = self._of_each_row(prompt_lengths), self._of_each_row(given_lengths)
            tokens = self.tokens.cpu() if self.tokens is not None and positions.needs_tokens else None
            self.masks[positions] = positions.resolve(
                self.absolute, self.valid, prompts, self.total_lengths, given_lengths=given, tokens=tokens
            )
        return self.masks[positions]

    def continues(self, earlier: "Chunk") -> bool:
        """Whether the chunk holds the rows of an earlier one with more tokens behind them."""
        old, new = earlier._rows(), self._rows()
        return (
            len(old) == len(new)
            and old != new
            and all(row[: len(begun)] == begun for begun, row in zip(old, new, strict=True))
        )

    def _rows(self) -> list[list[int]]:
        """The real tokens of each row; no rows where the ids are not known."""
        if self.tokens is None:
            return []
        return [row[real].tolist() for row, real in zip(self.tokens.cpu(), self.valid, strict=True)]

    def _of_each_row(self, lengths: Tensor | None) -> Tensor | None:
        """One length for each row."""
        batch = self.absolute.shape[0]
        if lengths is not None and lengths.numel() not in (1, batch):
            raise PositionError(
                f"prompt_lengths has {lengths.numel()} entries and the forward pass {batch} rows; give one length a "
                "row (rows that a beam or several samples repeat count too), or one for all."
            )
        return None if lengths is None else lengths.expand(batch)

    def _refuse_guesses(self, positions: Positions) -> None:
        """Refuses rules whose answer would be a guess on this chunk."""
        if positions.needs_total_lengths and self.cached:
            raise PositionError(
                f"position rule {str(positions)!r} was used on a forward pass that continues {self.cached} cached "
                "tokens: while generating, the last token moves. Use 'last_prompt', 'after_prompt' (with "
                "prompt_lengths) or 'all'."
            )
        wrong = self.unsafe_start and positions.needs_places
        if wrong or (self.unsafe_end and positions.needs_total_lengths):
            raise PositionError(
                f"position rule {str(positions)!r}: rows of the batch {'begin' if wrong else 'end'} with padding, but "
                "the forward pass was given no attention_mask, so real tokens cannot be told from padding. Pass one "
                "(lens_steer.model.pad makes one); TransformerLens itself passes none for right-padded lists of texts."
            )


def read_chunk(args: tuple[Any, ...], kwargs: Mapping[str, Any], tokenizer: Any) -> Chunk:
    """Reads a forward pass from the arguments of the Hugging Face module.

    Args:
        args: positional arguments; the first, where there is one, holds the token ids.
        kwargs: keyword arguments; `input_ids`, `inputs_embeds`, `attention_mask` and `past_key_values` are read.
        tokenizer: the model's tokenizer or None; used to notice padding without a mask.

    Returns:
        The chunk.

    Raises:
        SteeringError: there are no tokens to be seen.
        PositionError: the attention mask does not cover the cached and new tokens, or is not (batch, tokens).
    """
    tokens = args[0] if args else kwargs.get("input_ids")
    tokens = kwargs.get("inputs_embeds") if tokens is None else tokens
    if not isinstance(tokens, Tensor):
        raise SteeringError("the forward pass has neither input_ids nor inputs_embeds; positions cannot be told.")
    ids = None if tokens.is_floating_point() else tokens
    batch, width = tokens.shape[:2]
    cached = _cached_length(kwargs.get("past_key_values"))
    mask = kwargs.get("attention_mask")
    if mask is None:
        absolute = torch.arange(cached, cached + width, device="cpu").expand(batch, width)
        start, end = _looks_padded(tokens, tokenizer) if not cached else (False, False)
        return Chunk(
            absolute=absolute,
            valid=torch.ones(batch, width, dtype=torch.bool, device="cpu"),
            total_lengths=torch.full((batch,), cached + width, device="cpu"),
            cached=cached,
            tokens=ids,
            unsafe_start=start,
            unsafe_end=end,
        )
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.shape[1] < cached + width:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise PositionError(
            f"attention_mask {shape} does not say which of the {cached} cached and {width} new tokens are real; "
            f"give one of shape ({batch}, {cached + width})."
        )
    real = mask[:, : cached + width].detach().cpu().bool().expand(batch, cached + width)
    return Chunk(
        absolute=(real.long().cumsum(dim=1) - 1)[:, cached:],
        valid=real[:, cached:],
        total_lengths=real.sum(dim=1),
        cached=cached,
        tokens=ids,
    )


def lengths_of(given: Lengths) -> Int[Tensor, " length"] | None:
    """Lengths as a tensor.

    Args:
        given: one number for all rows, or one a row.

    Returns:
        One or more lengths; None where none are given.

    Raises:
        PositionError: there are none of them, or one is no whole number of 1 or more.
    """
    if given is None:
        return None
    lengths = list(given) if isinstance(given, Iterable) else [given]
    whole = all(isinstance(length, Integral) or _is_whole(length) for length in lengths)
    if not lengths or not whole or min(int(length) for length in lengths) < 1:
        raise PositionError(f"prompt_lengths {given!r}; give at least one length, each a whole number of 1 or more.")
    return torch.tensor([int(length) for length in lengths], device="cpu")


def _is_whole(length: Any) -> bool:
    """Whether a length is an entry of a tensor of whole numbers."""
    return isinstance(length, Tensor) and length.numel() == 1 and not length.is_floating_point()


def _cached_length(past: Any) -> int:
    """How many tokens the key-value cache holds."""
    if past is None:
        return 0
    if hasattr(past, "get_seq_length"):
        return int(past.get_seq_length())
    raise SteeringError(f"key-value cache of type {type(past).__name__}; give one that has get_seq_length().")


def _looks_padded(tokens: Tensor, tokenizer: Any) -> tuple[bool, bool]:
    """Whether rows of a batch begin, or end, with the padding token."""
    pad, bos = getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "bos_token_id", None)
    if pad is None or tokens.ndim != 2 or tokens.shape[0] < 2:
        return False, False
    return bool((tokens[:, 0] == pad).any()) and pad != bos, bool((tokens[:, -1] == pad).any())
