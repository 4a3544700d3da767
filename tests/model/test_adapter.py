"""Adapters add a low-rank map at any strength, and leave the model bit for bit as it was."""

import sys
from typing import Any

import pytest
import torch

from lens_steer.errors import ArgumentError
from lens_steer.model import Adapter, adapted, fingerprint, new_adapter, next_logits, tokenize


def noisy(model: Any) -> Adapter:
    adapter = new_adapter(model, rank=2, scaling=1.5, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters:
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return adapter


def test_an_adapter_acts_as_weights_with_its_product_added_and_leaves_no_trace(llama: Any, texts: list[str]) -> None:
    rows, modules = tokenize(llama, texts), [type(module) for module in llama.original_model.modules()]
    before, wanted = next_logits(llama, rows), [p.requires_grad for p in llama.original_model.parameters()]
    adapter = noisy(llama)
    with adapted(llama, adapter, 0.7):
        found = next_logits(llama, rows)
    saved = {name: layer.base_layer.weight.detach().clone() for name, layer in adapter.layers.items()}
    with torch.no_grad():
        for layer in adapter.layers.values():
            product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            layer.base_layer.weight += 0.7 * 1.5 * product
        oracle = next_logits(llama, rows)
        for name, layer in adapter.layers.items():
            layer.base_layer.weight.copy_(saved[name])
    torch.testing.assert_close(found, oracle, rtol=1e-4, atol=1e-5)
    assert float((found - before).abs().max()) > 0.01
    assert torch.equal(next_logits(llama, rows), before)
    assert [type(module) for module in llama.original_model.modules()] == modules
    assert [p.requires_grad for p in llama.original_model.parameters()] == wanted
    assert not hasattr(llama.original_model, "peft_config")


def test_strength_zero_a_new_adapter_and_an_error_inside_leave_the_model_as_it_is(llama: Any, texts: list[str]) -> None:
    rows = tokenize(llama, texts)
    before, marked = next_logits(llama, rows), fingerprint(llama)
    with adapted(llama, noisy(llama), 0.0):
        assert torch.equal(next_logits(llama, rows), before)
    with adapted(llama, new_adapter(llama)):
        assert torch.equal(next_logits(llama, rows), before)
    with pytest.raises(KeyboardInterrupt), adapted(llama, noisy(llama)):
        raise KeyboardInterrupt
    assert torch.equal(next_logits(llama, rows), before) and fingerprint(llama) == marked


def test_without_peft_or_without_a_rank_it_says_what_to_do(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="give a rank of 1 or more"):
        new_adapter(llama, rank=0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ArgumentError, match=r"pip install 'lens-steer\[peft\]'"):
        new_adapter(llama)
