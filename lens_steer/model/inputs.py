"""What a block reads of the residual stream: the input maps of its heads and its MLP, with the norm before them.

    head h      q = n(x) W_Q[h],   k = n(x) W_K[h],   v = n(x) W_V[h]          n(x) = gain * c(x) / sigma
    MLP         n(x) [W_in, W_gate]                                            c(x) = x - mean(x) under a LayerNorm

The maps here are of x sigma: the gain and the centring are folded in, the scale is left out, biases too. Heads that
share keys and values each get their group's. Rotary positions turn q and k without changing their length; a norm on q
or k is left out. Maps are taken from where TransformerLens names them; that a model uses them so is proved by
`lens_steer.analysis.attribution.maps`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import AttributionError
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.readout import norm_gain


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class BlockInputs:
    """The input maps of one block, float32 on the CPU, and whether a norm stands before each kind of them.

    A block without attention (a state-space layer) has no heads, and `mlp` is None where it is no single MLP (experts).
    """

    queries: Float[Tensor, "head d_model d_head"]
    keys: Float[Tensor, "head d_model d_head"]
    values: Float[Tensor, "head d_model d_head"]
    mlp: Float[Tensor, "d_model d_in"] | None
    heads_normed: bool
    mlp_normed: bool


def block_inputs(model: SteerableModel, layer: int) -> BlockInputs:
    """The input maps of one block.

    Args:
        model: a loaded model.
        layer: which one, from 0.

    Returns:
        The maps, norms folded in.

    Raises:
        AttributionError: attention's maps cannot be told apart by head.
    """
    block: Any = model.blocks[layer]
    first = getattr(block, "ln1", None)
    second = getattr(block, "ln2", first)
    attention, whole = getattr(block, "attn", None), getattr(block, "mlp", None)
    queries, keys, values = (_by_head(model, layer, attention, name, first) for name in ("W_Q", "W_K", "W_V"))
    parts = [getattr(whole, name, None) for name in ("W_in", "W_gate")]
    found = [part.detach().float().cpu() for part in parts if isinstance(part, Tensor) and part.ndim == 2]
    mlp = _folded(model, second, torch.cat(found, dim=1)) if found else None
    return BlockInputs(
        queries=queries,
        keys=keys,
        values=values,
        mlp=mlp,
        heads_normed=first is not None,
        mlp_normed=second is not None,
    )


def _by_head(
    model: SteerableModel, layer: int, attention: Any, name: str, norm: Any
) -> Float[Tensor, "head d_model d_head"]:
    """One of attention's maps, a head each; none where there is no attention."""
    heads, shape = int(model.cfg.n_heads), (int(model.cfg.d_model), int(model.cfg.d_head))
    if attention is None:
        return torch.zeros(0, *shape, dtype=torch.float32, device="cpu")
    try:
        weight = getattr(attention, name, None)
    except (NotImplementedError, ValueError):  # TransformerLens: latent attention, heads of several widths
        weight = None
    if not isinstance(weight, Tensor) or weight.shape[1:] != shape or heads % len(weight):
        found = tuple(weight.shape) if isinstance(weight, Tensor) else "none (latent attention, or heads of two widths)"
        raise AttributionError(
            f"layer {layer}: attention's {name}, cut into heads, should be (heads, {shape[0]}, {shape[1]}); found "
            f"{found}. What its heads read cannot be told from the weights; use patch_back."
        )
    folded = _folded(model, norm, weight.detach().float().cpu())
    return repeat(folded, "head d_model d_head -> (head shared) d_model d_head", shared=heads // len(weight))


def _folded(model: SteerableModel, norm: Any, weight: Tensor) -> Tensor:
    """A map (..., d_model, out) behind a norm as a map of the norm's input; as it is where there is no norm."""
    if norm is None:
        return weight
    scaled = norm_gain(model, norm).cpu()[:, None] * weight
    return scaled if model.cfg.uses_rms_norm else scaled - scaled.mean(dim=-2, keepdim=True)
