"""What decides a forward pass decides the key; what does not is left out of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import CacheWarning
from lens_steer.extraction import extract
from lens_steer.model import fingerprint, load_model, next_logits
from lens_steer.model.settings import by_settings
from lens_steer.model.stored import computation_key

ROWS = [[5, 9, 4, 3, 8], [7, 3, 5]]


class Doubled(nn.Module):
    """A parametrisation."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Wrapper(nn.Module):
    """A module of the user's own in the place of another."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)


def attend(*_args: Any, **_kwargs: Any) -> tuple[Tensor, None]:
    raise NotImplementedError


@contextmanager
def put(owner: Any, name: str, value: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


@contextmanager
def edited(tensor: Tensor, change: Callable[[Tensor], Any]) -> Iterator[None]:
    old = tensor.detach().clone()
    change(tensor.data)
    try:
        yield
    finally:
        tensor.data.copy_(old)


@contextmanager
def parametrized(module: nn.Module) -> Iterator[None]:
    parametrize.register_parametrization(module, "weight", Doubled())
    try:
        yield
    finally:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


@contextmanager
def torch_set(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Iterator[None]:
    old = read()
    write(value)
    try:
        yield
    finally:
        write(old)


def mlp(model: Any) -> Any:
    return model.blocks[1].mlp.original_component


def one_entry(tensor: Tensor) -> None:
    tensor.flatten()[tensor.numel() // 3 + 1] += 0.5


Change = Callable[[Any], AbstractContextManager[Any]]
CHANGES: dict[str, Change] = {
    "weights through .data": lambda m: edited(m.original_model.model.embed_tokens.weight, lambda w: w.mul_(2)),
    "one entry of a weight": lambda m: edited(mlp(m).down_proj.weight, one_entry),
    "a buffer that is not saved": lambda m: edited(m.original_model.model.rotary_emb.inv_freq, lambda f: f.mul_(3)),
    "a norm's epsilon": lambda m: put(m.blocks[1].ln1.original_component, "variance_epsilon", 0.5),
    "the scaling of attention": lambda m: put(m.blocks[1].attn.original_component, "scaling", 2.0),
    "the activation function": lambda m: put(mlp(m), "act_fn", nn.Tanh()),
    "a module of the user's own": lambda m: put(mlp(m), "act_fn", Wrapper(nn.SiLU(), 3.0)),
    "a parametrised weight": lambda m: parametrized(mlp(m).up_proj.original_component),
    "the forward of a class": lambda m: put(type(mlp(m).act_fn), "forward", lambda _self, x: 2 * x),
}
SETTINGS: dict[str, Change] = CHANGES | {
    "a field of the configuration": lambda m: put(m.original_model.config, "rms_norm_eps", 0.5),
    "rope": lambda m: put(m.original_model.config, "rope_parameters", {"rope_theta": 5.0, "rope_type": "default"}),
    "the implementation of attention": lambda m: put(m.original_model.config, "_attn_implementation", "sdpa"),
    "attention of the user's own": lambda m: registered(m, attend),
    "a setting of the bridge": lambda m: put(m.cfg, "use_attn_result", True),
    "a setting of torch": lambda _: torch_set(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "autocast": lambda _: torch.autocast("cpu", dtype=torch.bfloat16),
    "the default dtype": lambda _: torch_set(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "kernels": lambda _: torch_set(torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, False),
    "a part in training mode": lambda m: put(mlp(m), "training", True),
    "an added token": lambda m: put(m, "tokenizer", with_token(m.tokenizer)),
    "compatibility mode": lambda m: put(m, "compatibility_mode", True),
}


@contextmanager
def registered(model: Any, function: Any) -> Iterator[None]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register("mine", function)
    with put(model.original_model.config, "_attn_implementation", "mine"):
        yield


def with_token(tokenizer: Any) -> Any:
    from copy import deepcopy

    other = deepcopy(tokenizer)
    other.add_tokens(["<new>"])
    return other


@pytest.fixture(scope="module")
def own_llama(llama_folder: Path) -> Any:
    """A Llama that no other module uses."""
    return load_model(llama_folder)


def test_every_change_has_a_key_of_its_own_and_its_end_brings_the_old_one_back(own_llama: Any) -> None:
    first, keys = computation_key(own_llama, 1, "numbers"), {}
    for kind, change in SETTINGS.items():
        with change(own_llama):
            keys[kind] = computation_key(own_llama, 1, "numbers")
        assert computation_key(own_llama, 1, "numbers") == first, kind
    assert len({first, *keys.values()}) == len(SETTINGS) + 1, keys
    assert computation_key(own_llama, 2, "numbers") != first


def test_a_second_object_of_the_same_folder_has_the_same_key_also_after_passes(
    own_llama: Any, llama_folder: Path
) -> None:
    first = computation_key(own_llama, 1, "numbers")
    next_logits(own_llama, [[3] * 40])
    assert computation_key(own_llama, 1, "numbers") == first == computation_key(load_model(llama_folder), 1, "numbers")


@pytest.mark.parametrize("kind", CHANGES)
def test_a_cache_gives_the_activations_of_the_model_as_it_stands(
    own_llama: Any, contrast: ContrastSet, tmp_path: Path, kind: str
) -> None:
    plain = extract(own_llama, contrast, cache=tmp_path)
    with CHANGES[kind](own_llama):
        cached, fresh = (extract(own_llama, contrast, cache=folder) for folder in (tmp_path, None))
    assert all(torch.equal(cached.at(site), fresh.at(site)) for site in plain.sites)
    assert not torch.allclose(cached.at("resid_post@2"), plain.at("resid_post@2"), rtol=1e-4, atol=1e-6)
    assert torch.equal(extract(own_llama, contrast, cache=tmp_path).at(2), plain.at(2))


def test_a_module_that_cannot_be_told_is_computed_afresh_and_said_once(
    own_llama: Any, contrast: ContrastSet, tmp_path: Path
) -> None:
    lock = threading.Lock()

    class Locked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with lock:
                return 2 * x

    with put(mlp(own_llama), "act_fn", Locked()):
        with pytest.warns(CacheWarning, match="activations are computed and not stored: an object of type") as told:
            extract(own_llama, contrast, cache=tmp_path)
        assert len(told) == 1 and not list(tmp_path.iterdir())


def test_a_vectors_identity_follows_the_configuration_and_saved_buffers(llama_folder: Path) -> None:
    model: Any = load_model(llama_folder)
    first = fingerprint(model)
    with put(model.original_model.config, "rms_norm_eps", 0.5):
        assert fingerprint(model).differences(first) == ("config_hash",)
    assert fingerprint(model) == first
    model.original_model.register_buffer("bias", torch.zeros(3))
    second = fingerprint(model)
    model.original_model.bias += 1
    assert fingerprint(model).differences(second) == ("weight_hash", "content_hash")


def test_a_remembered_fact_is_found_again_when_a_setting_changes(own_llama: Any) -> None:
    memory: dict[Any, tuple[str, str]] = {}
    found: list[str] = []

    def find() -> str:
        found.append("fact")
        return "fact"

    for _ in range(2):
        by_settings(memory, own_llama, find)
    assert len(found) == 1
    with put(own_llama.blocks[1].ln1.original_component, "variance_epsilon", 0.5):
        by_settings(memory, own_llama, find)
    assert len(found) == 2
    assert by_settings({}, own_llama, lambda: None) is None
