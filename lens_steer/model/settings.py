"""What decides the numbers of a forward pass beside its tokens: the weights to the last bit, and every setting.

    weights     parameters and buffers (those that are not saved too): device type, dtype, shape, bytes
    modules     class, mode and attributes of every module: norms' epsilons, scalings, windows, adapters
    configs     those of transformers with the implementation of attention, and that of the bridge
    torch       default dtype, autocast, precision of matrix products, allowed attention kernels

Names and paths do not count. Neither do the number of threads and the make of a device, which change only the rounding.
"""

import hashlib
import json
from collections.abc import Callable, MutableMapping
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lens_steer.errors import StorageError
from lens_steer.model.content import content, of_library, tensor_content
from lens_steer.model.plain import home, modules
from lens_steer.model.protocol import SteerableModel

T = TypeVar("T")
_NAMES = {"_name_or_path", "name_or_path", "transformers_version", "model_name", "tokenizer_name", "device", "n_params"}
_OF_TORCH = set(vars(nn.Module())) | {"forward"}
_OF_HOOKS = {"ctx", "fwd_hooks", "bwd_hooks", "context_level"}
_MOVING = ("dynamic", "longrope")  # kinds of rotary embedding that write their frequencies anew in each pass


def weights_content(model: SteerableModel) -> dict[str, Any]:
    """Every parameter and buffer of a model.

    Args:
        model: a loaded model.

    Returns:
        By name: the type of device, dtype, shape and a hash of the bytes; a tenth of a second for 135 million
        parameters.

    Raises:
        StorageError: weights are not in memory.
    """
    return {name: [tensor.device.type, *tensor_content(tensor)] for name, tensor in named_weights(model)}


def named_weights(model: SteerableModel) -> list[tuple[str, Tensor]]:
    """Every parameter and buffer of a model by name, each once, but buffers that a pass writes anew."""
    inner: Any = model.original_model
    moving = [module for _, module in modules(model) if vars(module).get("rope_type") in _MOVING]
    left_out = {id(buffer) for module in moving for buffer in module.buffers(recurse=False)}
    return [pair for pair in chain(inner.named_parameters(), inner.named_buffers()) if id(pair[1]) not in left_out]


def forward_settings(model: SteerableModel) -> dict[str, Any]:
    """Every setting of a forward pass.

    Args:
        model: a loaded model.

    Returns:
        JSON's types.

    Raises:
        StorageError: an object of the user's own is among them that cannot be told by its content.
    """
    found = list(modules(model))
    known = {id(module): "module" for _, module in found} | {id(model): "model"}
    configs = {id(config): config for _, module in found if (config := vars(module).get("config")) is not None}
    configs |= {id(config): config for config in (model.cfg, model.original_model.config)}
    classes = dict.fromkeys(type(module) for _, module in found)
    return {
        "modules": [[name, *_module(module, known)] for name, module in found],
        "classes": [_class(kind, known) for kind in classes],
        "configs": sorted((_config(config, known) for config in configs.values()), key=repr),
        "torch": _torch(next(model.original_model.parameters()).device.type),
    }


def by_settings(
    memory: MutableMapping[Any, tuple[str, T]], model: SteerableModel, find: Callable[[], T | None]
) -> T | None:
    """A fact of a model, found once and again whenever a setting has changed.

    Args:
        memory: what has been found of each model, and under which settings.
        model: a loaded model.
        find: finds it; None is not remembered.

    Returns:
        The fact; found anew each time where the settings cannot be told by their content.
    """
    try:
        now = hashlib.sha256(json.dumps(forward_settings(model), sort_keys=True).encode()).hexdigest()
    except StorageError:
        return find()
    if model in memory and memory[model][0] == now:
        return memory[model][1]
    found = find()
    if found is not None:
        memory[model] = now, found
    return found


def _module(module: nn.Module, known: dict[int, Any]) -> list[Any]:
    """A module's class, mode, attributes; of TransformerLens' wrappers only the public ones (others are of a pass)."""
    kind, wrapper = type(module), type(module).__module__.startswith("transformer_lens.")
    left_out = _OF_TORCH | _OF_HOOKS | ({"max_seq_len_cached"} if vars(module).get("rope_type") in _MOVING else set())
    found = {
        name: _setting(value, known)
        for name, value in vars(module).items()
        if name not in left_out and not (wrapper and (name.startswith("_") or isinstance(value, Tensor)))
    }
    return [kind.__qualname__, module.training, found]


def _setting(value: Any, known: dict[int, Any]) -> Any:
    """An attribute of a module; a function or an object of a library by its name alone, for it is wiring."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, list | tuple):
        return [_setting(entry, known) for entry in value]
    if isinstance(value, dict):
        return {str(key): _setting(entry, known) for key, entry in value.items()}
    if isinstance(value, torch.dtype | Tensor) or not (isinstance(value, nn.Module) or of_library(home(value))):
        return content(value, known)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _class(kind: type, known: dict[int, Any]) -> Any:
    """A module's class by its name, one of the user's own by its code; and its `forward`, where that was replaced."""
    return [content(kind, known), content(getattr(kind, "forward", None), known)]


def _config(config: Any, known: dict[int, Any]) -> list[Any]:
    """The settings of a configuration of transformers or of the bridge, without names."""
    found = config.to_dict() if hasattr(config, "to_dict") else vars(config)
    plain = {str(name): content(value, known) for name, value in found.items() if name not in _NAMES}
    attention = getattr(config, "_attn_implementation", None)
    return [type(config).__qualname__, plain, attention, _attention(attention, known)]


def _attention(name: Any, known: dict[int, Any]) -> Any:
    """The function that is registered as an implementation of attention."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return content(ALL_ATTENTION_FUNCTIONS.get(name), known) if isinstance(name, str) else None


def _torch(device: str) -> dict[str, Any]:
    """The settings of torch that decide numbers on a type of device."""
    autocast = torch.is_autocast_enabled(device)
    return {
        "dtype": str(torch.get_default_dtype()),
        "autocast": str(torch.get_autocast_dtype(device)) if autocast else "",
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "kernels": [
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.cudnn_sdp_enabled(),
        ],
    }
