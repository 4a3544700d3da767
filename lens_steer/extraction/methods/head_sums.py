"""Function vectors: the mean outputs of the heads that carry an in-context task, summed.

    AIE_lh = mean over prompts of [ P(answer | shuffled prompt, head (l, h) := its mean) - P(answer | shuffled prompt) ]
    A      = the k heads of largest AIE
    v      = sum_{(l, h) in A} W_O^(lh) zbar_lh         zbar: mean over clean prompts of the head's value, last token

Source: Todd et al. 2023 (arXiv 2310.15213). k is 10 for GPT-J, 20 for Llama-2-7b, and (number of heads) / 51.2 for
other models. v is in the units of the residual stream. `lens_steer.extraction.function_vector` runs the patched
prompts. A head with a large AIE need not be specific to the task.
"""

import math
from collections.abc import Sequence

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError

HEADS_OF_GPT_J = 10
HEADS_FOR_ONE = 51.2


def average_indirect_effects(
    patched: Float[Tensor, "n layer head"], base: Float[Tensor, " n"]
) -> Float[Tensor, "layer head"]:
    """The average increase in answer probability when each head is set to its mean.

    Args:
        patched: probability of the answer with that head replaced, for each prompt.
        base: probability of the answer on the same prompts without replacement.

    Returns:
        The mean over prompts of the difference, float64.

    Raises:
        MethodError: no prompts, or a probability that is not finite.

    Source:
        Todd et al. 2023, arXiv 2310.15213.
    """
    if not len(base) or not bool(patched.isfinite().all() and base.isfinite().all()):
        raise MethodError(
            f"average_indirect_effects was given {len(base)} prompts, or probabilities that are not finite; "
            "it needs at least one prompt and finite probabilities."
        )
    return (patched.double() - base.double()[:, None, None]).mean(dim=0)


def default_head_count(n_layers: int, n_heads: int, model: str = "") -> int:
    """The default number of heads to sum.

    Args:
        n_layers: layers of the model.
        n_heads: heads of one layer.
        model: its name, to recognise GPT-J.

    Returns:
        10 for GPT-J, else ceil(n_layers n_heads / 51.2), which is 20 for Llama-2-7b.

    Source:
        Todd et al. 2023, arXiv 2310.15213, and its code.
    """
    return HEADS_OF_GPT_J if "gpt-j" in model.lower() else math.ceil(n_layers * n_heads / HEADS_FOR_ONE)


def top_heads(effects: Float[Tensor, "layer head"], k: int) -> tuple[tuple[int, int], ...]:
    """The heads of largest effect.

    Args:
        effects: from `average_indirect_effects`.
        k: how many.

    Returns:
        (layer, head), the largest first; of equal effects the earlier head first.

    Raises:
        MethodError: k is not between 1 and the number of heads, or an effect is not finite.
    """
    if not 1 <= k <= effects.numel() or not bool(effects.isfinite().all()):
        raise MethodError(
            f"top_heads was asked for {k} of {effects.numel()} heads; give k between 1 and that, and finite effects."
        )
    order = effects.flatten().sort(descending=True, stable=True).indices[:k].tolist()
    return tuple(divmod(index, effects.shape[1]) for index in order)


def head_sum(
    means: Float[Tensor, "layer head d_head"],
    output: Float[Tensor, "layer head d_head d_model"],
    heads: Sequence[tuple[int, int]],
) -> Float[Tensor, " d_model"]:
    """The function vector: the mean outputs of some heads, summed.

    Args:
        means: each head's mean value before the output projection.
        output: each head's part of the output projection, W_O.
        heads: (layer, head) of those that are summed.

    Returns:
        The direction, float32 on the CPU, in the units of the residual stream.

    Raises:
        MethodError: no heads, a head twice, or one that the model does not have.

    Source:
        Todd et al. 2023, arXiv 2310.15213.
    """
    n_layers, n_heads = means.shape[:2]
    if not heads or len(set(heads)) < len(heads):
        raise MethodError(
            f"head_sum was given {len(heads)} heads, {len(set(heads))} of them different; name each once."
        )
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise MethodError(
                f"head_sum was given head {head} of layer {layer}; the model has {n_layers} layers of {n_heads} heads."
            )
    values, maps = (torch.stack([entry[index].cpu().double() for index in heads]) for entry in (means, output))
    return einsum(values, maps, "head d_head, head d_head d_model -> d_model").float()
