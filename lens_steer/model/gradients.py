"""Forward passes that gradients flow through, with the weights left alone.

Everything else in lens_steer runs without gradients (`lens_steer.model.forward`). Here the gradient is wanted of what
is written into the stream, never of a weight: `frozen` takes the weights out of the graph and puts them back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import ArgumentError
from lens_steer.model.logits import pass_logits
from lens_steer.model.protocol import SteerableModel


@contextmanager
def frozen(model: SteerableModel) -> Iterator[None]:
    """Takes the weights out of every gradient while the context is open.

    Args:
        model: a loaded model.

    Returns:
        A context manager; when it ends, each weight's `requires_grad` is what it was.

    Raises:
        ArgumentError: the weights were made in inference mode, and no gradient passes them.
    """
    parameters = list(model.original_model.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        raise ArgumentError(
            "the model's weights were made inside torch.inference_mode(), and no gradient passes such tensors; load or "
            "make the model outside of it."
        )
    wanted = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, gradient in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(gradient)


def sequence_log_probs(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    prompt_lengths: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """log p(completion | prompt) of each row, in one forward pass with gradients.

    Args:
        model: a loaded model.
        tokens: a right-padded batch of prompts with their completions, from `pad`.
        mask: its attention mask.
        prompt_lengths: tokens of each row's prompt, BOS included.

    Returns:
        The sum over the completion's tokens, in natural-log units, float32, on the model's device.
    """
    place = torch.arange(1, tokens.shape[1], device=tokens.device)
    completion = (place >= prompt_lengths.to(tokens.device)[:, None]) & mask[:, 1:].bool()
    following, rows = tokens[:, 1:][completion], torch.arange(len(tokens), device=tokens.device)
    wanted = torch.nn.functional.pad(completion, (0, 1))
    with torch.enable_grad():
        logits = pass_logits(model, tokens, mask, wanted, gradient=True)
        found = logits.read(lambda chunk, part: _log_probs(chunk, following[part]))
        owner = rows[:, None].expand(completion.shape)[completion]
        return found.new_zeros(len(tokens)).index_add(0, owner.to(found.device), found)


def _log_probs(logits: Float[Tensor, "k d_vocab"], chosen: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The log-probability of one token a row."""
    return logits.log_softmax(dim=-1).gather(1, chosen.to(logits.device)[:, None])[:, 0]
