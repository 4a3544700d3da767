"""A model's identity follows its weights, to the last entry and however they were changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_gpt2
from torch import nn

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import MismatchError
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, steer
from lens_steer.model import fingerprint, held, load_model
from lens_steer.vector import load_vector


def weight(model: Any) -> nn.Parameter:
    """A weight of a middle layer."""
    return model.original_model.model.layers[1].mlp.down_proj.weight


def swap(model: Any) -> None:
    """A new parameter in the place of the old one, of which one entry is another."""
    linear = model.blocks[1].mlp.original_component.down_proj.original_component
    new = linear.weight.detach().clone()
    new[3, 5] += 0.5
    linear.weight = nn.Parameter(new)


def merge(model: Any) -> None:
    """What merging an adapter of rank one does, to a block of 2 x 2 entries."""
    up, down = torch.zeros(16, 1), torch.zeros(1, 32)
    up[3:5], down[0, 6:8] = 0.1, 0.2
    weight(model).data += up @ down


def exchange(model: Any) -> None:
    """Two entries change places: every sum stays."""
    flat = weight(model).data.view(-1)
    flat[[5, 6]] = flat[[6, 5]].clone()


EDITS: dict[str, Callable[[Any], Any]] = {
    "one entry through .data": lambda m: weight(m).data.view(-1)[5].add_(1e-3),
    "one entry through an alias of numpy": lambda m: weight(m).detach().numpy().reshape(-1).__setitem__(5, 0.25),
    "one entry without gradient": lambda m: torch.no_grad()(lambda: weight(m).view(-1)[5].add_(1e-3))(),
    "a parameter in the place of another": swap,
    "a merged adapter": merge,
    "two entries exchanged": exchange,
    "the frequencies of rotary positions": lambda m: m.original_model.model.rotary_emb.inv_freq[1:2].mul_(1.5),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_another_model_and_its_end_brings_the_old_one_back(llama_folder: Path, edit: str) -> None:
    model: Any = load_model(llama_folder)
    first = fingerprint(model)
    assert fingerprint(model).differences(first) == ()
    EDITS[edit](model)
    assert fingerprint(model).differences(first) == ("content_hash",)
    assert fingerprint(load_model(llama_folder)).differences(first) == ()


def test_an_edit_of_a_tied_weight_is_seen_through_either_name(tmp_path: Path) -> None:
    model: Any = load_model(save_gpt2(tmp_path))
    inner = model.original_model
    head, first = inner.get_output_embeddings().weight, fingerprint(model)
    assert head.data_ptr() == inner.get_input_embeddings().weight.data_ptr()
    head.data[7, 3] += 0.5
    assert "content_hash" in fingerprint(model).differences(first)


def test_a_rounding_of_a_computed_buffer_is_the_same_model(llama_folder: Path) -> None:
    model: Any = load_model(llama_folder)
    first, frequencies = fingerprint(model), model.original_model.model.rotary_emb.inv_freq
    before = frequencies.clone()
    frequencies.mul_(1 + 2**-22)
    assert not torch.equal(frequencies, before)
    assert fingerprint(model) == first


def test_a_vector_is_refused_on_its_model_with_one_entry_changed(
    llama_folder: Path, contrast: ContrastSet, tmp_path: Path
) -> None:
    model: Any = load_model(llama_folder)
    vector = extract(model, contrast, sites="resid_post@1")
    path = vector.save(tmp_path / "v.safetensors")
    assert load_vector(path, model).fingerprint == vector.fingerprint
    weight(model).data.view(-1)[5] += 0.5
    with pytest.raises(MismatchError, match="they differ in content_hash"):
        load_vector(path, model)
    with pytest.raises(MismatchError, match="content_hash"), steer(model, Intervention.of(vector, "resid_post@1", 1.0)):
        pass


def test_an_older_file_is_compared_by_what_it_says(llama: Any, other_llama: Any) -> None:
    older = replace(fingerprint(llama), content_hash=None)
    assert older.differences(fingerprint(llama)) == ()
    assert older.differences(fingerprint(other_llama)) == ("weight_hash",)


def test_an_identity_that_is_held_is_read_once_and_anew_afterwards(llama_folder: Path) -> None:
    model: Any = load_model(llama_folder)
    with held(model), held(model):
        first = fingerprint(model)
        weight(model).data.mul_(2)
        assert fingerprint(model) is first
    assert "content_hash" in fingerprint(model).differences(first)
