"""Hooks, replaced methods and modes of torch: each is seen wherever it is, and what the library itself wires is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import SteeringError
from lens_steer.evaluation.grid import GridOptions, run_grid, why_not_reused
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, steer
from lens_steer.model import is_hooked, load_model, next_logits, why_hooked

ROWS = [[5, 9, 4, 3, 8], [7, 3, 5]]


def double(_module: Any, _args: Any, output: Any) -> Any:
    if not isinstance(output, Tensor | tuple):
        return output
    return tuple(2 * part for part in output) if isinstance(output, tuple) else 2 * output


def double_input(_module: Any, args: Any) -> Any:
    return tuple(2 * part if isinstance(part, Tensor) else part for part in args)


class Doubling(TorchFunctionMode):
    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        return 2 * found if function is torch.nn.functional.silu else found


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


@contextmanager
def removed_after(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced(module: Any) -> Iterator[None]:
    own = module.forward
    vars(module)["forward"] = lambda *args, **kwargs: double(module, args, own(*args, **kwargs))
    try:
        yield
    finally:
        del vars(module)["forward"]


@contextmanager
def added(model: Any, name: str, permanent: bool) -> Iterator[None]:
    point = model.hook_dict[name]
    point.add_hook(lambda tensor, hook: 2 * tensor, is_permanent=permanent)  # noqa: ARG005
    try:
        yield
    finally:
        point.remove_hooks("fwd", including_permanent=True)


Hook = Callable[[Any], Any]
HOOKS: dict[str, Hook] = {
    "hook of a block": lambda m: removed_after(m.blocks[1].original_component.register_forward_hook(double)),
    "hook of a block's wrapper": lambda m: removed_after(m.blocks[1].register_forward_hook(double)),
    "hook of an inner module": lambda m: removed_after(
        m.original_model.model.layers[1].mlp.register_forward_hook(double)
    ),
    "hook of a leaf": lambda m: removed_after(
        m.blocks[1].mlp.original_component.down_proj.register_forward_hook(double)
    ),
    "pre-hook of a leaf": lambda m: removed_after(
        m.blocks[1].mlp.original_component.down_proj.register_forward_pre_hook(double_input)
    ),
    "hook that is a partial": lambda m: removed_after(m.blocks[1].register_forward_hook(partial(double))),
    "torch hook of a hook point": lambda m: removed_after(m.blocks[1].mlp.hook_out.register_forward_hook(double)),
    "hook of TransformerLens": lambda m: added(m, "blocks.1.hook_mlp_out", False),
    "permanent hook of TransformerLens": lambda m: added(m, "blocks.1.attn.hook_z", True),
    "hooks of TransformerLens": lambda m: m.hooks(fwd_hooks=[("blocks.1.hook_out", lambda x, hook: 2 * x)]),  # noqa: ARG005
    "steering": lambda m: steer(m, Intervention.at("resid_post@1", torch.ones(16).cumsum(0), 2.0)),
    "forward of a leaf": lambda m: replaced(m.blocks[1].mlp.original_component.up_proj),
    "forward of a wrapper": lambda m: replaced(m.blocks[1]),
    "hook of all modules": lambda _: removed_after(register_module_forward_hook(double)),
    "function mode": lambda _: Doubling(),
    "dispatch mode": lambda _: Watching(),
}


@pytest.fixture(scope="module")
def own_llama(llama_folder: Path) -> Any:
    """A Llama that no other module uses."""
    return load_model(llama_folder)


@pytest.mark.parametrize("kind", HOOKS)
def test_whatever_changes_a_pass_is_seen_and_nothing_of_it_is_stored_or_reused(
    own_llama: Any, contrast: ContrastSet, tmp_path: Path, kind: str
) -> None:
    before = next_logits(own_llama, ROWS)
    why_not_reused(own_llama, [])
    assert not is_hooked(own_llama)
    with HOOKS[kind](own_llama):
        assert is_hooked(own_llama)
        if kind == "steering":
            next_logits(own_llama, ROWS)
        elif kind != "dispatch mode":
            assert not torch.allclose(next_logits(own_llama, ROWS), before, atol=1e-3)
        assert why_not_reused(own_llama, []) == "hooks are installed on the model"
        with pytest.raises(SteeringError, match=r"hooks are installed on the model \(.*not to be kept on disk"):
            extract(own_llama, contrast, cache=tmp_path)
        with pytest.raises(SteeringError, match="its numbers are not its own"):
            options = GridOptions(checkpoint=tmp_path)
            run_grid(own_llama, ROWS, [[]], lambda *_: lambda logits: logits[:, 0], options)
    assert not is_hooked(own_llama) and not list(tmp_path.iterdir())
    assert torch.equal(next_logits(own_llama, ROWS), before)


def test_what_is_installed_is_named_with_its_place(own_llama: Any) -> None:
    with HOOKS["pre-hook of a leaf"](own_llama):
        assert why_hooked(own_llama).startswith("'double_input' is hooked to blocks.1.")
        assert "down_proj" in why_hooked(own_llama)
    with HOOKS["forward of a wrapper"](own_llama):
        assert why_hooked(own_llama) == "the forward method of blocks.1 was replaced"
    with torch.device("cpu"):
        assert why_hooked(own_llama) == ""


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "mistral", "qwen3", "gemma2"])
def test_a_plain_model_is_not_hooked_before_and_after_passes(request: pytest.FixtureRequest, name: str) -> None:
    model = request.getfixturevalue(name)
    next_logits(model, ROWS)
    assert why_hooked(model) == ""
