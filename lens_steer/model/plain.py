"""Whether a model is itself: no hook, replaced method or mode of torch changes what its forward pass gives.

    hook points         hooks of TransformerLens (`add_hook`, `hooks`), and torch hooks on them
    modules             torch's forward hooks and pre-hooks, of every module inside; a `forward` set on a module
    torch               hooks of all modules; function and dispatch modes that are open

Hooks by which TransformerLens, transformers and accelerate wire a model change nothing and do not count.
"""

from collections.abc import Iterator
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from lens_steer.model.protocol import SteerableModel

_WIRING = ("transformer_lens.model_bridge.", "transformers.", "accelerate.")


def is_hooked(model: SteerableModel) -> bool:
    """Whether anything is installed on the model now, so that it may not be the plain model.

    Args:
        model: a loaded model.

    Returns:
        Whether `why_hooked` names something.
    """
    return bool(why_hooked(model))


def why_hooked(model: SteerableModel) -> str:
    """What is installed on the model now, so that it may not be the plain model.

    Args:
        model: a loaded model.

    Returns:
        The first hook, replaced `forward` or mode of torch that is found, and where; empty where there is none. The
        permanent hooks by which TransformerLens itself connects hook points (the MLPs of OPT) do not count.
    """
    for mode in (*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()):
        if type(mode).__module__ != "torch.utils._device":  # the default device
            return f"the mode {type(mode).__name__} of torch is open"
    everywhere = torch.nn.modules.module
    for hook in (*everywhere._global_forward_pre_hooks.values(), *everywhere._global_forward_hooks.values()):
        return f"{_named(hook)} is hooked to all modules of torch"
    for name, module in modules(model):
        connections = {handle.hook.id for handle in getattr(module, "fwd_hooks", ()) if _is_connection(handle)}
        for number, hook in (*module._forward_pre_hooks.items(), *module._forward_hooks.items()):
            if number not in connections and not _is_wiring(hook):
                return f"{_named(hook)} is hooked to {name or type(module).__name__}"
        if replaced_forward(module):
            return f"the forward method of {name or type(module).__name__} was replaced"
    return ""


def replaced_forward(module: nn.Module) -> bool:
    """Whether a module has a `forward` of its own that is none of the wiring's."""
    own = vars(module).get("forward")
    return own is not None and not _is_wiring(own)


def modules(model: SteerableModel) -> Iterator[tuple[str, nn.Module]]:
    """Every module of the bridge and of the Hugging Face model, each once, with its name.

    Args:
        model: a loaded model.

    Returns:
        An iterator; hook points are among them.
    """
    seen: set[nn.Module] = set()
    bridge: Any = model
    yield from bridge.named_modules(seen)
    yield from model.original_model.named_modules(seen)
    yield from ((str(point.name), point) for point in model.hook_points() if point not in seen)


def home(function: Any) -> str:
    """The module in which a function was written, whatever it says of itself; of an object, that of its class."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    return (
        str(function.__globals__.get("__name__")) if isinstance(function, FunctionType) else type(function).__module__
    )


def _is_connection(handle: Any) -> bool:
    """Whether a hook of a hook point is a permanent one of TransformerLens' own."""
    origin = str(getattr(handle.user_hook, "__module__", ""))
    return handle.is_permanent and origin.startswith("transformer_lens.")


def _is_wiring(hook: Any) -> bool:
    """Whether a function is one of those by which libraries wire a model."""
    return home(hook).startswith(_WIRING)


def _named(hook: Any) -> str:
    return repr(str(getattr(hook, "__qualname__", type(hook).__qualname__)))
