"""Installing hooks on a model, and removing them whatever happens; no other module does either.

All code that reads or changes activations uses `hooked` (named hook points), `watched` (the arguments of each forward
pass) or `watched_inputs` (the input of a block). They use TransformerBridge's public `hooks` and torch's own module
hooks.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lens_steer.errors import SiteError
from lens_steer.model import SteerableModel

_INSTALLED: dict[int, list[RemovableHandle]] = {}
"""The handles of torch hooks while they are installed. A handle finds its module by a weak reference; of one that only
an abandoned cycle of objects holds, Python clears that reference before the context of the handle ends."""
HookFunction = Callable[[Tensor], Tensor | None]
"""From an activation to its replacement; None leaves it unchanged."""


@contextmanager
def hooked(model: SteerableModel, functions: Mapping[str, HookFunction]) -> Iterator[None]:
    """Runs functions at named hook points while the context is open.

    Args:
        model: a loaded model.
        functions: for each hook name, what to do with the activation there.

    Returns:
        A context manager; when it ends, for whatever reason, these hooks are gone and no others.

    Raises:
        SiteError: the model has no hook point of that name; nothing has been installed then.
    """
    names = model.hook_dict
    for name in functions:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise SiteError(f"the model has no hook point {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    with model.hooks(fwd_hooks=[(name, _adapted(function)) for name, function in functions.items()]):
        yield


@contextmanager
def watched(
    model: SteerableModel,
    before: Callable[[tuple[Any, ...], Mapping[str, Any]], None],
    after: Callable[[bool], None],
) -> Iterator[None]:
    """Calls functions before and after every forward pass of the Hugging Face module while the context is open.

    Args:
        model: a loaded model.
        before: called with the arguments before each pass; changes nothing.
        after: told after each pass whether it came to its end; a pass that failed or was cut short did not.

    Returns:
        A context manager; when it ends, for whatever reason, nothing is left behind.
    """

    def enter(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        before(args, kwargs)

    def leave(_module: Any, _args: Any, output: Any) -> None:
        after(output is not None)

    inner = model.original_model
    with _removed() as handles:
        handles.append(inner.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(inner.register_forward_hook(leave, always_call=True))
        yield


@contextmanager
def watched_inputs(model: SteerableModel, inputs: dict[int, Tensor], layers: Collection[int]) -> Iterator[None]:
    """Records the input of some blocks: the stream that the block itself adds to, after every earlier edit.

    Args:
        model: a loaded model.
        inputs: where the last input of each layer is put, the very tensor.
        layers: which blocks.

    Returns:
        A context manager; when it ends, for whatever reason, nothing is left behind and `inputs` is empty.
    """

    def keep(layer: int) -> Callable[..., None]:
        def run(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs[layer] = args[0] if args else kwargs["hidden_states"]

        return run

    blocks: Any = model.blocks
    try:
        with _removed() as handles:
            for layer in layers:
                block = blocks[layer].original_component
                handles.append(block.register_forward_pre_hook(keep(layer), with_kwargs=True))
            yield
    finally:
        inputs.clear()


@contextmanager
def _removed() -> Iterator[list[RemovableHandle]]:
    """A list for handles, which are removed when the context ends."""
    handles: list[RemovableHandle] = []
    _INSTALLED[id(handles)] = handles
    try:
        yield handles
    finally:
        for handle in _INSTALLED.pop(id(handles)):
            handle.remove()


def _adapted(function: HookFunction) -> Callable[..., Tensor | None]:
    """The function in the form that TransformerLens calls it."""

    def run(tensor: Tensor, hook: Any) -> Tensor | None:  # noqa: ARG001  (TransformerLens passes it by name)
        return function(tensor)

    return run
