"""Loading, identity, tokens and plain forward passes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.errors import DataError, LensSteerError, ModelFolderError, ModelNotFoundError
from lens_steer.model import SteerableModel, fingerprint, forward, load_model, next_logits, pad, tokenize, versions


def test_a_folder_loads_as_a_raw_bridge_with_the_folders_own_logits(llama_folder: Path, llama: Any) -> None:
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(llama_folder, attn_implementation="eager").eval()
    tokens = torch.tensor([[0, 40, 41, 42]])
    assert isinstance(llama, SteerableModel)
    assert fingerprint(llama).processing == "raw"
    with torch.no_grad():
        torch.testing.assert_close(forward(llama, tokens, torch.ones_like(tokens)), plain(tokens).logits)


def test_what_a_model_gives_through_getattr_counts_in_every_version_of_python() -> None:
    class Bridge:
        """Gives its parts as torch modules do: not through its class."""

        def __init__(self, *lacks: str) -> None:
            self.lacks = lacks

        def __getattr__(self, name: str) -> object:
            if name in self.lacks or name.startswith("_"):
                raise AttributeError(name)
            return object()

        def __call__(self) -> None: ...

    assert isinstance(Bridge(), SteerableModel)
    assert not isinstance(Bridge("blocks"), SteerableModel) and not isinstance(torch.nn.Linear(1, 1), SteerableModel)


def test_a_ready_bridge_is_returned_as_it_is(llama: Any) -> None:
    assert load_model(llama) is llama


@pytest.mark.parametrize(("removed", "named"), [("config.json", "config.json"), ("model.safetensors", "weights")])
def test_a_folder_that_lacks_a_part_is_refused_by_name(
    llama_folder: Path, tmp_path: Path, removed: str, named: str
) -> None:
    folder = Path(shutil.copytree(llama_folder, tmp_path / "model"))
    (folder / removed).unlink()
    with pytest.raises(ModelFolderError, match=rf"lacks {named}.*save_pretrained"):
        load_model(folder)


def test_a_folder_without_a_tokenizer_or_with_damaged_weights_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama_folder, tmp_path / "model"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelFolderError, match="could not be read"):
        load_model(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFolderError, match="lacks a tokenizer"):
        load_model(str(folder))


def test_an_unknown_name_says_what_happened_and_what_to_do() -> None:
    with pytest.raises(ModelNotFoundError, match=r"model 'gpt2-smal' could not be loaded.*Did you mean.*or use 'lab'"):
        load_model("gpt2-smal")
    with pytest.raises(ModelNotFoundError, match="there is no folder or file '/nowhere/model'"):
        load_model("/nowhere/model")
    with pytest.raises(ModelNotFoundError, match="there is no folder or file 'nowhere'"):
        load_model(Path("nowhere"))


def test_a_fingerprint_is_the_same_for_a_second_load_and_does_not_hold_the_path(
    llama_folder: Path, llama: Any, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(llama_folder, tmp_path / "renamed"))
    again = fingerprint(load_model(moved))
    assert fingerprint(llama).differences(again) == ()
    assert (fingerprint(llama).name, again.name) == ("tiny-llama", "renamed")
    assert (again.n_layers, again.d_model, again.dtype, again.processing) == (3, 16, "float32", "raw")


def test_a_fingerprint_tells_weights_dtypes_and_processing_apart(
    llama_folder: Path, llama: Any, other_llama: Any, gpt2: Any
) -> None:
    mine = fingerprint(llama)
    assert mine.differences(fingerprint(other_llama)) == ("weight_hash", "content_hash")
    assert {"config_hash", "n_layers"} <= set(mine.differences(fingerprint(gpt2)))
    half = load_model(llama_folder, dtype=torch.bfloat16)
    assert set(mine.differences(fingerprint(half))) == {"weight_hash", "content_hash", "dtype"}


def test_a_fingerprint_is_remembered_until_the_weights_change(llama_folder: Path) -> None:
    model = load_model(llama_folder)
    first = fingerprint(model)
    assert fingerprint(model) is first
    with torch.no_grad():
        next(model.original_model.parameters()).mul_(2)
    assert fingerprint(model).differences(first) == ("weight_hash", "content_hash")


def test_compatibility_mode_is_another_identity(llama_folder: Path) -> None:
    model: Any = load_model(llama_folder)
    first = fingerprint(model)
    model.enable_compatibility_mode(no_processing=True)
    assert "processing" in fingerprint(model).differences(first)


@pytest.mark.parametrize(("name", "bos"), [("llama", [0]), ("gpt2", []), ("qwen3", [])])
def test_texts_begin_as_the_tokenizer_begins_them_and_never_with_two_bos(
    request: pytest.FixtureRequest, name: str, bos: list[int]
) -> None:
    model = request.getfixturevalue(name)
    rows = tokenize(model, ["cat", "<bos>cat", ""])
    assert rows[0] == [*bos, *rows[0][len(bos) :]] == model.tokenizer("cat")["input_ids"]
    assert rows[1] == [0, *rows[0][len(bos) :]] and rows[2] == bos
    assert model.to_tokens("cat").tolist() == [rows[0]]
    assert model.tokenizer.decode(rows[0][len(bos) :]) == "cat"


def test_bos_is_left_out_where_transformer_lens_says_so(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.cfg, "default_prepend_bos", False)
    assert 0 not in tokenize(llama, ["cat"])[0]


def test_right_padding_and_its_mask_leave_the_logits_as_they_were(model: Any, texts: list[str]) -> None:
    rows = tokenize(model, texts)
    tokens, mask = pad(model, rows)
    assert mask.sum(dim=1).tolist() == [len(row) for row in rows]
    together = forward(model, tokens, mask)
    for i, row in enumerate(rows):
        alone = forward(model, *pad(model, [row]))
        torch.testing.assert_close(together[i, : len(row)], alone[0], rtol=0, atol=1e-5)


def test_next_logits_are_those_of_the_last_real_token(model: Any, texts: list[str]) -> None:
    rows = tokenize(model, texts)
    found = next_logits(model, rows)
    for i, row in enumerate(rows):
        alone = forward(model, *pad(model, [row]))[0, -1]
        torch.testing.assert_close(found[i], alone, rtol=0, atol=1e-5)


def test_empty_and_overlong_sequences_are_refused(llama: Any) -> None:
    with pytest.raises(DataError, match="leave empty texts out"):
        pad(llama, [[0, 1], []])
    with pytest.raises(DataError, match="1100 tokens; the model's context is 1024"):
        pad(llama, [[0] * 1100])


def test_versions_name_the_libraries() -> None:
    found = versions()
    assert set(found) == {"torch", "transformers", "transformer-lens", "lens-steer"}
    assert json.loads(json.dumps(found))["transformer-lens"].startswith("4.")


def test_left_and_right_padding_give_the_same_logits(model: Any) -> None:
    rows = tokenize(model, ["The cat sat.", "A", "Which do you take? one dollar"])
    (right, right_mask), (left, left_mask) = pad(model, rows), pad(model, rows, side="left")
    assert [row[mask.bool()].tolist() for row, mask in zip(left, left_mask, strict=True)] == rows
    one, other = forward(model, right, right_mask), forward(model, left, left_mask)
    torch.testing.assert_close(one[right_mask.bool()], other[left_mask.bool()], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(device: str) -> None:
    with pytest.raises(LensSteerError, match=rf"device '{device}' is not there .*give one of cpu"):
        load_model("lab", device=device)


def test_a_model_in_training_mode_is_refused(llama_folder: Path) -> None:
    model = load_model(llama_folder)
    model.train()
    with pytest.raises(LensSteerError, match=r"training mode.*call model\.eval"):
        next_logits(model, [[1, 2]])
    model.eval()
    assert next_logits(model, [[1, 2]]).isfinite().all()


def test_weights_edited_through_data_are_another_model(llama_folder: Path) -> None:
    model = load_model(llama_folder)
    before = fingerprint(model)
    next(iter(model.original_model.parameters())).data.mul_(0.5)
    assert "weight_hash" in before.differences(fingerprint(model))
