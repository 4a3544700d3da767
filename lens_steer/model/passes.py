"""Tokens and plain forward passes, so that no other module speaks to TransformerLens about them.

Batches are right-padded and always carry an attention mask; on causal models padded and unpadded logits agree. BOS is
put in front exactly once, and tokenizers' own special tokens are never added. This module knows neither sites nor
steering.
"""

import inspect
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import DataError, ModelFolderError
from lens_steer.model.protocol import SteerableModel


def tokenize(model: SteerableModel, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, with BOS in front exactly once where the model wants one.

    Args:
        model: a loaded model with a tokenizer.
        texts: any texts; one that already begins with BOS keeps just that one.

    Returns:
        Token ids of each text, unpadded. BOS is added where the tokenizer has one and TransformerLens'
        `cfg.default_prepend_bos` does not say otherwise (as it does for Qwen).

    Raises:
        ModelFolderError: the model has no tokenizer.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise ModelFolderError("this model has no tokenizer; load it from a folder with one, or give token lists.")
    bos = tokenizer.bos_token_id if getattr(model.cfg, "default_prepend_bos", True) else None
    rows = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [row if bos is None or row[:1] == [bos] else [bos, *row] for row in rows]


def pad(
    model: SteerableModel, rows: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Token rows as one right-padded batch.

    Args:
        model: the model they are for.
        rows: token ids, BOS included.

    Returns:
        Tokens and attention mask (1 = a real token), on the model's device.

    Raises:
        DataError: no rows, an empty row, or a row longer than the model's context.
    """
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise DataError("a batch needs at least one sequence of at least one token; leave empty texts out.")
    context = getattr(model.cfg, "n_ctx", None)
    if context and max(lengths) > context:
        raise DataError(f"a sequence has {max(lengths)} tokens; the model's context is {context}. Shorten the text.")
    filler = getattr(getattr(model, "tokenizer", None), "pad_token_id", None) or 0
    width, device = max(lengths), _device(model)
    tokens = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths], device=device)
    return tokens, mask


def forward(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    keep: Int[Tensor, " k"] | None = None,
) -> Float[Tensor, "batch k d_vocab"]:
    """One forward pass without gradients.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask.
        keep: the chunk positions whose logits are wanted (all where absent); the others are not computed where the
            architecture can leave them out.

    Returns:
        Logits at the kept positions, in the model's dtype.
    """
    with torch.no_grad():
        if keep is None:
            return model(tokens, attention_mask=mask)
        if "logits_to_keep" in inspect.signature(model.original_model.forward).parameters:
            return model(tokens, attention_mask=mask, logits_to_keep=keep)
        return model(tokens, attention_mask=mask)[:, keep]


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
    tokens, mask = pad(model, rows)
    ends, place = torch.unique(mask.sum(dim=1) - 1, return_inverse=True)
    logits = forward(model, tokens, mask, keep=ends)
    return logits[torch.arange(len(rows), device=logits.device), place.to(logits.device)].float().cpu()


def _device(model: SteerableModel) -> torch.device:
    return next(model.original_model.parameters()).device
