"""The maps by which later blocks read and write the stream, each proved on the model at hand before it is used.

    q - q' = (n(x) / sigma - n(x') / sigma') W_Q,   and so k, v and the MLP's own input;      x, x': at two tokens
    z[h] at the first token  =  a v[h],  a > 0                          attention sees nothing else there
    attn_out - attn_out'     =  sum_h (z[h] - z'[h]) a W_O[h]           or, with a norm behind attention,
    attention - attention'   =  sum_h (z[h] - z'[h]) W_O[h]   and   attn_out = s gain * attention

The names of TransformerLens say where a norm or a matrix is, but an architecture may put it elsewhere (a norm behind
the sum), multiply what stands between, or gate it. One short pass of the model decides; what is not so is refused. A
norm behind attention is folded into W_O as its gain, its scale left out; a constant factor is folded in as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import AttributionError
from lens_steer.hooks import hooked
from lens_steer.hooks.terms import allowed_error, site_faults
from lens_steer.model import BlockInputs, SteerableModel, block_inputs, norm_gain, output_weights, pad, run_hooks

_TOKENS = [1, 2, 3, 4, 3, 2, 1, 4]
_HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "attn_out": "hook_attn_out",
    "W_Q": "attn.q.hook_out",
    "W_K": "attn.k.hook_out",
    "W_V": "attn.v.hook_out",
    "z": "attn.hook_z",
    "attention": "attn.hook_out",
    "W_in": "mlp.in.hook_out",
    "W_gate": "mlp.gate.hook_out",
}
_INSTEAD = "use patch_back, which measures instead of reading weights"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMaps:
    """A block's input maps, and the map from each head's values to the stream."""

    layer: int
    inputs: BlockInputs
    outputs: Float[Tensor, "head d_head d_model"]


def proved_maps(model: SteerableModel, layers: Sequence[int]) -> Iterator[BlockMaps]:
    """The maps of some blocks.

    Args:
        model: a loaded model.
        layers: which ones; between them, directions pass as they are.

    Returns:
        One entry a layer; heads are left out where it has none, the MLP where it is no single one that can be seen.

    Raises:
        AttributionError: a block does more than add to the stream, or does not use its weights as their names say.
    """
    for layer in layers:
        fault = next((f for kind in ("attn_out", "mlp_out") if (f := site_faults(model).get((kind, layer)))), None)
        if fault:
            raise AttributionError(
                f"layer {layer}: the stream behind it is not the stream before it and what its attention and its MLP "
                f"add ({fault}), so a direction is not read behind it as it was written; {_INSTEAD}."
            )
    seen = _seen(model, layers)
    for layer in layers:
        inputs, here = block_inputs(model, layer), {name: seen[at, name] for at, name in seen if at == layer}
        proof = _Proof(model, layer, inputs, here)
        outputs = proof.heads() if len(inputs.values) else inputs.values.transpose(1, 2)
        yield BlockMaps(layer=layer, inputs=proof.with_mlp(), outputs=outputs)


class _Proof:
    """One layer's maps beside what the model was seen to do there."""

    def __init__(self, model: SteerableModel, layer: int, inputs: BlockInputs, seen: Mapping[str, Tensor]) -> None:
        self.model, self.layer, self.inputs, self.seen = model, layer, inputs, seen

    def heads(self) -> Float[Tensor, "head d_head d_model"]:
        """Proves what heads read, and returns how they write it."""
        found = {"W_Q": self.inputs.queries, "W_K": self.inputs.keys, "W_V": self.inputs.values}
        stream = self._normed(self.seen["resid_pre"], self.inputs.heads_normed)
        for name, by_head in found.items():
            if name not in self.seen:
                raise AttributionError(f"layer {self.layer}: its {name} is not seen in a pass; {_INSTEAD}.")
            said = einsum(stream, by_head, "pos d_model, head d_model d_head -> pos head d_head")
            self._held(said, self._by_head(name), f"heads read the stream through its norm and {name}", bias=True)
        values, z, written = self._by_head("W_V")[0], self.seen["z"], output_weights(self.model, self.layer)
        claim = "a head gives the value of the first token, where it sees no other (a gate?)"
        self._held(_unit(values), _unit(z[0]), claim)
        said = einsum(z, written, "pos head d_head, head d_head d_model -> pos d_model")
        norm, out = getattr(self._block, "ln1_post", None), self.seen["attn_out"]
        if norm is None:
            moved, wanted = said - said[:1], out - out[:1]
            factor = float((moved * wanted).sum() / moved.pow(2).sum())
            factor = 1.0 if abs(factor - 1) <= allowed_error(self.model) else factor
            self._held(said * factor, out, "attention adds its heads through W_O", bias=True)
            return written * factor
        attention, gain = self.seen["attention"], norm_gain(self.model, norm).cpu()
        self._held(said, attention, "attention gives its heads through W_O", bias=True)
        self._held(_unit(attention * gain), _unit(out), "attention adds its output behind a norm without a bias")
        return written * gain

    def with_mlp(self) -> BlockInputs:
        """The inputs, with the MLP's proved, or without an MLP where it cannot be seen."""
        whole = self.inputs.mlp
        if whole is None or "W_in" not in self.seen:
            return BlockInputs(**{**vars(self.inputs), "mlp": None})
        names = ("W_in", "W_gate") if "W_gate" in self.seen else ("W_in",)
        between = "resid_pre" if getattr(self.model.cfg, "parallel_attn_mlp", False) else "resid_mid"
        said = self._normed(self.seen[between], self.inputs.mlp_normed) @ whole
        wanted = torch.cat([self.seen[name] for name in names], dim=1)
        self._held(said, wanted, "the MLP reads the stream through its norm and W_in", bias=True)
        return self.inputs

    @property
    def _block(self) -> Any:
        return self.model.blocks[self.layer]

    def _normed(self, stream: Float[Tensor, "pos d_model"], normed: bool) -> Float[Tensor, "pos d_model"]:
        """The stream over the norm's scale; gain and centring are in the maps."""
        if not normed:
            return stream
        centred = stream if self.model.cfg.uses_rms_norm else stream - stream.mean(dim=-1, keepdim=True)
        return stream / (centred.pow(2).mean(dim=-1, keepdim=True) + float(self.model.cfg.eps)).sqrt()

    def _by_head(self, name: str) -> Float[Tensor, "pos head d_head"]:
        """Queries, keys or values, as many as there are heads."""
        found = self.seen[name]
        shared = max(1, int(self.model.cfg.n_heads) // found.shape[1])
        return repeat(found, "pos group d_head -> pos (group shared) d_head", shared=shared)

    def _held(self, said: Tensor, found: Tensor, claim: str, bias: bool = False) -> None:
        """Refuses the layer where a claim is not what was seen; a bias is the same at every token and not looked at."""
        missed = said - found if said.shape == found.shape else None
        if missed is None:
            how = f"it is {tuple(found.shape[1:])}, where the weights give {tuple(said.shape[1:])}"
        else:
            error = float((missed - missed[:1] if bias else missed).norm() / found.norm())
            if error <= allowed_error(self.model):
                return
            how = f"it misses by {error:.2g} of its size"
        raise AttributionError(f"layer {self.layer}: that {claim}, does not hold on this model ({how}); {_INSTEAD}.")


def _seen(model: SteerableModel, layers: Sequence[int]) -> dict[tuple[int, str], Tensor]:
    """What one short pass shows at every place of the layers, float32 on the CPU, of one sequence."""
    seen: dict[tuple[int, str], Tensor] = {}

    def look(place: tuple[int, str]) -> Callable[[Tensor], None]:
        def run(activation: Tensor) -> None:
            seen[place] = activation[0].detach().float().cpu()

        return run

    places = {f"blocks.{layer}.{hook}": (layer, name) for layer in layers for name, hook in _HOOKS.items()}
    with hooked(model, {hook: look(place) for hook, place in places.items() if hook in model.hook_dict}):
        run_hooks(model, *pad(model, [_TOKENS]))
    return seen


def _unit(rows: Tensor) -> Tensor:
    """Rows over their lengths."""
    return rows / rows.norm(dim=-1, keepdim=True)
