"""Derivatives of one block's own maps on the Hugging Face side, by central differences.

    ( m(x + e u) - m(x - e u) ) / 2e  =  n(u) W / sigma(x + e u)             m: a linear map behind a norm

with u orthogonal to x (centred under a LayerNorm), so that the scale is the same on both sides, and any step is exact.
The sequence is a single token, so that attention gives that token's values and nothing else. Whether a norm is there at
all, and its epsilon, is seen at 2x.
"""

from collections.abc import Callable
from typing import Any

import torch
from reference import Reference
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lens_steer.hooks.sites import Site

TOKEN, STEP = 5, 0.5
_MLP = ("mlp", "ffn", "feed_forward", "fc1")


class Derivatives:
    """The maps of one block; `streams` is what its attention and its MLP read, before a norm."""

    def __init__(self, reference: Reference, layer: int) -> None:
        self.reference, self.layer = reference, layer
        self.block: Any = self.reference.blocks[layer]
        config = reference.model.config
        shared = getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None)
        self.groups = 1 if getattr(config, "multi_query", False) else int(shared or reference.n_heads)
        self._outer = Site("resid_pre", layer)
        between = Site("resid_mid", layer)
        self._inner = between if self.reference.spots(between) else self._outer
        self.streams = [self.reference.raw(place, [TOKEN]).reshape(1, -1) for place in (self._outer, self._inner)]

    def along(self, u: Tensor, r: Tensor) -> dict[str, Tensor]:
        """Of u: the length of all q and k, what each head writes and its part along r, and the length of the MLP's."""
        architecture, modules = self.reference.architecture, dict(self.block.named_modules())
        linear = {name: module for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}
        found: dict[str, Tensor] = {}
        if architecture.heads in modules:
            prefix = architecture.heads.rpartition(".")[0] + "."
            names = [name for name in linear if name.startswith(prefix) and name != architecture.heads]
            steps = self._steps(self._outer, u, [*names, architecture.heads])
            z = steps.pop(architecture.heads).reshape(self.reference.n_heads, -1)
            values = next((steps[name] for name in names if name.rpartition(".")[2] == "v_proj"), None)
            if values is not None:
                by_group = values.reshape(self.groups, -1)
                z = by_group.repeat_interleave(self.reference.n_heads // self.groups, dim=0)
            by_group = z[:: self.reference.n_heads // self.groups]
            whole = torch.stack([step.pow(2).sum() for step in steps.values()]).sum()
            found["query, key"] = (whole - by_group.pow(2).sum()).sqrt()[None]
            carried = self._written(z)
            found |= {"ov": carried.norm(dim=1), "toward": carried @ r / r.norm()}
        names = [name for name, m in linear.items() if name.split(".")[0] in _MLP and _width(m) == len(u)]
        if names:
            steps = self._steps(self._inner, u, names)
            found["mlp"] = torch.cat(list(steps.values())).norm()[None]
        return found

    def _written(self, z: Tensor) -> Tensor:
        """What each head's values add to the stream: through the output matrix, and the gain of a norm behind it."""
        architecture = self.reference.architecture
        matrix = self.block.get_submodule(architecture.heads)
        with torch.no_grad():
            by_head = torch.block_diag(*z)
            out = matrix(by_head) - matrix(torch.zeros_like(by_head))
            if "norm" in architecture.attn:
                norm: Callable[[Tensor], Tensor] = self.block.get_submodule(architecture.attn)
                out = (norm(1e3 * out) - norm(-1e3 * out)) / 2 * self.reference.sigma(out)[:, None]
        return out * self.reference.scale(Site("attn_out", self.layer))

    def _steps(self, place: Site, u: Tensor, names: list[str]) -> dict[str, Tensor]:
        """The derivative of each module's output (of the heads' module, of its input), times the norm's scale."""
        near, far = self._differences(place, u, names, 1.0), self._differences(place, u, names, 2.0)
        ratio, scale = (near[names[0]].norm() / far[names[0]].norm()) ** 2, torch.ones(())
        if ratio > 1.5:  # there is a norm: ratio = (far mean square + epsilon) / (near mean square + epsilon)
            stream = self.streams[0 if place == self._outer else 1]
            squares = [self.reference.sigma(times * stream + STEP * u)[0] ** 2 for times in (1, 2)]
            scale = (squares[0] + (squares[1] - ratio * squares[0]) / (ratio - 1)).sqrt()
        return {name: step * scale for name, step in near.items()}

    def _differences(self, place: Site, u: Tensor, names: list[str], times: float) -> dict[str, Tensor]:
        plus, minus = (self._seen(place, lambda x, s=sign: times * x + s * STEP * u, names) for sign in (1, -1))
        return {name: (plus[name] - minus[name]) / (2 * STEP) for name in names}

    def _seen(self, place: Site, change: Callable[[Tensor], Tensor], names: list[str]) -> dict[str, Tensor]:
        """What modules of the block give, or the heads' module takes, while its input is changed."""
        seen, handles = dict[str, Tensor](), []
        for name in names:

            def keep(_module: Any, args: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                seen[name] = (args[0] if name == self.reference.architecture.heads else output).reshape(-1)

            handles.append(self.block.get_submodule(name).register_forward_hook(keep))
        try:
            with self.reference.changed(place, self.reference.spots(place)[:1], change):
                self.reference.logits([TOKEN])
        finally:
            for handle in handles:
                handle.remove()
        return seen


def _width(module: Any) -> int:
    """How wide the input of a linear map is."""
    return int(module.weight.shape[0] if isinstance(module, Conv1D) else module.weight.shape[1])
