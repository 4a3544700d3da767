"""Low-rank adapters of a model's linear maps: added, scaled and taken away again, with the weights left alone.

    W x   ->   W x + strength * scaling * B A x            A (rank, in), B (out, rank); B = 0 when it is new

Source: Hu et al. 2021 (LoRA, arXiv 2106.09685), through `peft`. An adapter is kept beside the model: its layers stand
in the model only while `adapted` is open, and afterwards the model's own modules are back in their places, bit for bit.
Adapted are the linear maps inside the blocks, in whatever a bridge wraps them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lens_steer._util.shown import shown
from lens_steer.errors import ArgumentError
from lens_steer.model.protocol import SteerableModel

_NAME = "default"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """The adapted layers by their place in the model's module, and each layer's own scaling."""

    layers: Mapping[str, Any] = field(repr=False)
    scaling: float

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """A and B of every layer."""
        return tuple(p for layer in self.layers.values() for name, p in layer.named_parameters() if "lora_" in name)


def new_adapter(model: SteerableModel, rank: int = 8, scaling: float = 2.0, seed: int = 0) -> Adapter:
    """An adapter that does nothing yet.

    Args:
        model: a loaded model, which is left as it is.
        rank: of every layer.
        scaling: what B A is multiplied by at strength 1.
        seed: of A; the same seed gives the same adapter.

    Returns:
        The adapter.

    Raises:
        ArgumentError: the package `peft` is missing, the rank is below 1, or the model has no linear maps in blocks.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise ArgumentError("an adapter needs the package peft: pip install 'lens-steer[peft]'.") from error
    inner: Any = model.original_model
    blocks: Any = getattr(model, "blocks", ())
    inside = {id(module) for block in blocks for module in block.modules()}
    names = [name for name, found in inner.named_modules() if isinstance(found, nn.Linear) and id(found) in inside]
    if rank < 1 or not names:
        raise ArgumentError(f"an adapter of rank {rank} on {len(names)} linear maps; give a rank of 1 or more, and a "
                            "model whose blocks have linear maps.")  # fmt: skip
    wanted = [parameter.requires_grad for parameter in inner.parameters()]
    own = list(inner.parameters())
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        inject_adapter_in_model(config, inner)
    layers = {name: found for name, found in inner.named_modules() if isinstance(found, LoraLayer)}
    _place(model, {name: layer.base_layer for name, layer in layers.items()})
    vars(inner).pop("peft_config", None)
    for parameter, gradient in zip(own, wanted, strict=True):
        parameter.requires_grad_(gradient)
    return Adapter(layers=layers, scaling=scaling)


@contextmanager
def adapted(model: SteerableModel, adapter: Adapter, strength: float = 1.0) -> Iterator[None]:
    """Lets an adapter act on every forward pass while the context is open.

    Args:
        model: the model that it was made for.
        adapter: from `new_adapter`, trained or not.
        strength: what the adapter's part is multiplied by; 0 leaves the model as it is.

    Returns:
        A context manager; when it ends, the model's own modules are back.
    """
    before = {name: model.original_model.get_submodule(name) for name in adapter.layers}
    for layer in adapter.layers.values():
        layer.scaling[_NAME] = strength * adapter.scaling
    try:
        if strength:
            _place(model, adapter.layers)
        yield
    finally:
        _place(model, before)


def _place(model: SteerableModel, modules: Mapping[str, Any]) -> None:
    """Puts modules in their places."""
    for name, module in modules.items():
        parent, _, leaf = name.rpartition(".")
        model.original_model.get_submodule(parent)._modules[leaf] = module
