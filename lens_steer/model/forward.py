"""Padded batches of tokens and unsteered forward passes.

Batches are right-padded unless asked otherwise and always have an attention mask; on causal models padded and unpadded
logits agree. A pass that is run for its hooks alone computes no logits, and a hook may end it by raising `StopForward`.
"""

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import ArgumentError, DataError
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
        ArgumentError: the model is in training mode.
        DataError: no rows, an empty row, or a row longer than the model's context.
    """
    if model.original_model.training:
        raise ArgumentError(
            "the model is in training mode, in which dropout makes every number random; call model.eval() first."
        )
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise DataError("a batch needs at least one sequence of at least one token; leave empty texts out.")
    context = context_length(model)
    if context is not None and max(lengths) > context:
        raise DataError(f"a sequence has {max(lengths)} tokens; the model's context is {context}. Shorten the text.")
    filler = getattr(model.tokenizer, "pad_token_id", None) or 0
    width, device = max(lengths), _device(model)
    tokens, mask = torch.full((len(rows), width), filler), torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        span = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        tokens[index, span], mask[index, span] = torch.tensor(row), 1
    return tokens.to(device), mask.to(device)


def forward(
    model: SteerableModel,
    tokens: Int[Tensor, "batch new"],
    mask: Int[Tensor, "batch pos"],
    keep: Int[Tensor, " k"] | None = None,
    cache: Any = None,
) -> Float[Tensor, "batch k d_vocab"]:
    """One forward pass without gradients.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask; over the cached tokens too, where there are any.
        keep: the chunk positions whose logits are wanted (all where absent); the others are not computed where the
            architecture can leave them out.
        cache: a key-value cache from `lens_steer.model.prefix`, which the pass continues.

    Returns:
        Logits at the kept positions, in the model's dtype.
    """
    extra: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
    with torch.no_grad():
        if keep is None:
            return model(tokens, attention_mask=mask, **extra)
        if takes(model, "logits_to_keep"):
            return model(tokens, attention_mask=mask, logits_to_keep=keep, **extra)
        return model(tokens, attention_mask=mask, **extra)[:, keep]


def last_logits(
    model: SteerableModel, tokens: Int[Tensor, "batch new"], mask: Int[Tensor, "batch pos"], cache: Any = None
) -> Float[Tensor, "batch d_vocab"]:
    """The logits of the token after each row of a right-padded batch, in one forward pass without gradients.

    Args:
        model: a loaded model.
        tokens: the rows, from `pad`.
        mask: their attention mask; over the cached tokens too, where there are any.
        cache: a key-value cache that the pass continues.

    Returns:
        One row a sequence, in the model's dtype, on its device.
    """
    ends, place = torch.unique(mask[:, -tokens.shape[1] :].sum(dim=1) - 1, return_inverse=True)
    logits = forward(model, tokens, mask, ends, cache)
    return logits[torch.arange(len(tokens), device=logits.device), place.to(logits.device)]


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
        model(tokens, attention_mask=mask, **extra)


def next_logits(model: SteerableModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, "batch d_vocab"]:
    """The logits of the token after each row.

    Args:
        model: a loaded model.
        rows: token ids of each sequence, BOS included, of any lengths; one forward pass.

    Returns:
        One row of float32 logits a sequence, on the CPU.

    Raises:
        DataError: no rows, an empty row, or a row longer than the model's context.
    """
    return last_logits(model, *pad(model, rows)).float().cpu()


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


def is_hooked(model: SteerableModel) -> bool:
    """Whether any hook is installed on the model now, so that it may not be the plain model.

    Args:
        model: a loaded model.

    Returns:
        True where a hook point has a forward hook, or the Hugging Face module has one of its own. The permanent hooks
        by which TransformerLens itself connects hook points (the MLPs of OPT) change nothing and do not count.
    """
    inner = model.original_model
    hooks = (hook for point in model.hook_points() for hook in point.fwd_hooks)
    return bool(inner._forward_pre_hooks or inner._forward_hooks) or not all(map(_is_connection, hooks))


def _is_connection(hook: Any) -> bool:
    """Whether a hook is a permanent one of TransformerLens' own."""
    origin = str(getattr(getattr(hook, "user_hook", None), "__module__", ""))
    return hook.is_permanent and origin.startswith("transformer_lens.")


def _device(model: SteerableModel) -> torch.device:
    return next(model.original_model.parameters()).device
