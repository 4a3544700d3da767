"""Padded batches of tokens and unsteered forward passes.

Batches are right-padded unless asked otherwise and always have an attention mask; on causal models padded and unpadded
logits agree. A pass that is run for its hooks alone computes no logits, and a hook may end it by raising `StopForward`.
Logits for measures are those of `lens_steer.model.logits`.
"""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import ArgumentError, DataError
from lens_steer.model.finite_masks import finite_masks
from lens_steer.model.protocol import SteerableModel


class StopForward(Exception):
    """Raised by a hook to end a pass of `run_hooks` early, when no later layer is needed."""


def pad(
    model: SteerableModel, rows: Sequence[Sequence[int]], side: Literal["right", "left"] = "right"
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Token rows as one padded batch.

    Args:
        model: the model they are for.
        rows: token ids, BOS included.
        side: where the padding goes.

    Returns:
        Tokens and attention mask (1 = a real token), on the model's device.

    Raises:
        ArgumentError: the model is in training mode, or autocast is on.
        DataError: no rows, an empty row, or a row longer than the model's context.
    """
    if model.original_model.training:
        raise ArgumentError(
            "the model is in training mode, in which dropout makes every number random; call model.eval() first."
        )
    device = _device(model)
    if torch.is_autocast_enabled(device.type):
        raise ArgumentError(
            f"torch.autocast is on for {device.type}: a part of a pass would be in another dtype than the model, and "
            "its numbers would depend on how a batch is padded. End it, and load the model in the dtype that is "
            "wanted: load_model(name, dtype='bfloat16')."
        )
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise DataError("a batch needs at least one sequence of at least one token; leave empty texts out.")
    context = context_length(model)
    if context is not None and max(lengths) > context:
        raise DataError(f"a sequence has {max(lengths)} tokens; the model's context is {context}. Shorten the text.")
    filler = getattr(model.tokenizer, "pad_token_id", None) or 0
    width = max(lengths)
    tokens, mask = (
        torch.full((len(rows), width), filler, device="cpu"),
        torch.zeros(len(rows), width, dtype=torch.long, device="cpu"),
    )
    for index, row in enumerate(rows):
        span = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        tokens[index, span], mask[index, span] = torch.tensor(row, device="cpu"), 1
    return tokens.to(device), mask.to(device)


def forward(
    model: SteerableModel, tokens: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_vocab"]:
    """All logits of one forward pass without gradients, unchecked; measures read theirs by `lens_steer.model.logits`.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask.

    Returns:
        Logits of every token, in the model's dtype.
    """
    with torch.no_grad():
        return run_pass(model, tokens, mask)


def run_hooks(
    model: SteerableModel,
    tokens: Int[Tensor, "batch new"],
    mask: Int[Tensor, "batch pos"],
    cache: Any = None,
) -> None:
    """One forward pass without gradients for what its hooks see; a hook that raises `StopForward` ends it there.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask; over the cached tokens too, where there are any.
        cache: a key-value cache from `lens_steer.model.prefix`, which the pass continues and extends.
    """
    extra: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
    if takes(model, "logits_to_keep"):
        extra["logits_to_keep"] = torch.zeros(1, dtype=torch.long, device=tokens.device)
    with torch.no_grad(), suppress(StopForward):
        run_pass(model, tokens, mask, extra)


def run_pass(
    model: SteerableModel,
    tokens: Int[Tensor, "batch new"],
    mask: Int[Tensor, "batch pos"],
    further: Mapping[str, Any] | None = None,
) -> Float[Tensor, "n k d_vocab"]:
    """One forward pass as the bridge makes it; every pass over padded batches is made here, or by `FastForward`.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask; over the cached tokens too, where there are any.
        further: arguments of the Hugging Face module, by name.

    Returns:
        Logits in the model's dtype; of every token and sequence, unless these, or what is hooked in, keep fewer.
    """
    with finite_masks(model):
        return model(tokens, attention_mask=mask, **(further or {}))


def new_cache(model: SteerableModel) -> Any:
    """An empty key-value cache for a model, of the kinds of layers that its configuration names."""
    from transformers import DynamicCache

    inner: Any = model.original_model
    return DynamicCache(config=inner.config)


def context_length(model: SteerableModel) -> int | None:
    """The most tokens that one sequence may have; None where the model names no limit."""
    return getattr(model.cfg, "n_ctx", None) or None


def vocabulary_size(model: SteerableModel) -> int:
    """How many token ids the model takes."""
    inner: Any = model.original_model
    return int(inner.get_input_embeddings().weight.shape[0])


def takes(model: SteerableModel, argument: str) -> bool:
    """Whether the Hugging Face module's forward has an argument of this name."""
    return argument in inspect.signature(model.original_model.forward).parameters


def _device(model: SteerableModel) -> torch.device:
    return next(model.original_model.parameters()).device
