"""The parts that steering needs to look into: the output matrix of each attention head, and an MLP by itself.

    attn_out = sum over heads h of  z[h] W_O[h]  +  b_O                z[h]: (pos, d_head),  W_O[h]: (d_head, d_model)

Models that put a norm or a scale behind attention add something else than this to the stream;
`lens_steer.hooks.preflight` finds them.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.model.protocol import SteerableModel


def output_weights(model: SteerableModel, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """The output matrix of one layer's attention, cut into heads.

    Args:
        model: a loaded model.
        layer: which one, from 0.

    Returns:
        float32 on the CPU; what head h adds to the stream is `z[h] @ W_O[h]`.

    Raises:
        SiteError: this layer's attention has no such matrix.
    """
    blocks: Any = getattr(model, "blocks", None)
    try:
        weight = getattr(getattr(blocks[layer], "attn", None), "W_O", None) if blocks is not None else None
    except (NotImplementedError, ValueError):  # TransformerLens: latent attention, heads of several widths
        weight = None
    shape = (int(model.cfg.n_heads), int(model.cfg.d_head), int(model.cfg.d_model))
    if not isinstance(weight, Tensor) or weight.shape != shape:
        found = tuple(weight.shape) if isinstance(weight, Tensor) else "none"
        raise SiteError(
            f"layer {layer}: attention's output matrix, cut into heads, should be {shape}; found {found}. Heads of "
            "this architecture cannot be steered one by one; use attn_out."
        )
    return weight.detach().float().cpu()


def mlp_output(model: SteerableModel, layer: int, given: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
    """What one layer's MLP gives when it is run by itself, before a norm or a scale behind it.

    Args:
        model: a loaded model without hooks inside this MLP.
        layer: which one, from 0.
        given: what it reads, behind its norm.

    Returns:
        float32 on the CPU.

    Raises:
        SiteError: this layer's MLP cannot be run by itself.
    """
    mlp: Any = getattr(getattr(model, "blocks", {})[layer], "mlp", None)
    try:
        own = next(mlp.parameters())
        with torch.no_grad():
            found = mlp.original_component(given[None].to(own.device, own.dtype))
    except (AttributeError, TypeError, ValueError, RuntimeError, StopIteration) as error:
        raise SiteError(f"the MLP of layer {layer} cannot be run by itself ({error})") from error
    return (found if isinstance(found, Tensor) else found[0])[0].float().cpu()


def module_names(model: SteerableModel, layer: int) -> dict[str, str]:
    """Hugging Face's names of a block and of its attention and MLP, in the model without its head.

    Args:
        model: a loaded model.
        layer: which one, from 0.

    Returns:
        By part: the block as "", `attn` and `mlp`; a part is missing where what its module gives is not what it adds
        to the stream, because a norm or a scale stands behind it.
    """
    inner: Any = model.original_model
    blocks: Any = getattr(model, "blocks", ())
    names = {id(found): name for name, found in getattr(inner, "base_model", inner).named_modules()}
    parts = {"": blocks[layer]}
    for part in ("attn", "mlp"):
        module, hook = getattr(blocks[layer], part, None), model.hook_dict.get(f"blocks.{layer}.hook_{part}_out")
        if module is not None and hook is getattr(module, "hook_out", None):
            parts[part] = module
    found = {part: names[id(module)] for part, module in parts.items() if id(module) in names}
    return {part: name.replace("._original_component", "") for part, name in found.items()}
