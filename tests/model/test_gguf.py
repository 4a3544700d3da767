"""GGUF files give the logits of the model they were written from; what cannot be read is refused by name."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import FAMILIES, random_model, write_gguf

from lens_steer.errors import ArgumentError, ModelFolderError, ModelNotFoundError
from lens_steer.generation import Decoding, generate
from lens_steer.model import fingerprint, forward, load_model, tokenize
from lens_steer.model import gguf as reader

TEXT = "Which do you take? one dollar today and ten dollars later, the cat sat on the mat."


@pytest.fixture(scope="module")
def files(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Each family's model beside its file."""
    folder = tmp_path_factory.mktemp("gguf")
    models = {name: random_model(name, len(llama.tokenizer)) for name in FAMILIES}
    return {
        name: (model, write_gguf(name, model, llama.tokenizer, folder / f"{name.replace(', ', '-')}.gguf"))
        for name, model in models.items()
    }


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_file_gives_the_logits_of_the_model_that_it_was_written_from(
    name: str, files: dict[str, tuple[Any, Path]], llama: Any
) -> None:
    plain, path = files[name]
    model = load_model(path)
    assert not model.original_model.training and fingerprint(model).name == path.name
    tokens = torch.tensor([[0, *llama.tokenizer(TEXT, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        expected = plain(tokens).logits
        torch.testing.assert_close(forward(model, tokens, torch.ones_like(tokens)), expected, atol=1e-4, rtol=1e-4)
    assert model.tokenizer is not None and tokenize(model, [TEXT])[0][-5:] == tokens[0, -5:].tolist()
    assert generate(model, [TEXT], [], Decoding(max_new_tokens=2, stop_at_eos=False)).continuations[0].tokens


def test_the_dtype_is_that_asked_for(files: dict[str, tuple[Any, Path]]) -> None:
    model = load_model(files["llama"][1], dtype="bfloat16")
    assert {parameter.dtype for parameter in model.original_model.parameters()} == {torch.bfloat16}


def test_half_a_file_and_a_file_of_something_else_are_refused(
    files: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    whole = files["llama"][1].read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 5000):
        (tmp_path / "half.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelFolderError, match=r"half.gguf' is no whole GGUF file.*cut off: fetch it again"):
            load_model(tmp_path / "half.gguf")
    (tmp_path / "text.gguf").write_text("not a model at all, but a text that is long enough", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="is no whole GGUF file"):
        load_model(tmp_path / "text.gguf")
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(ModelFolderError, match=r"model.zip' is a file and no .gguf; give the folder"):
        load_model(tmp_path / "model.zip")
    with pytest.raises(ModelNotFoundError, match=r"there is no folder or file 'missing\.gguf'"):
        load_model("missing.gguf")


def small_file(path: Path, architecture: str, scaling: str = "") -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    if scaling:
        writer.add_string(f"{architecture}.rope.scaling.type", scaling)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_unknown_family_and_a_scaling_that_would_be_left_out_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="of the architecture 'rwkv99' could not be read"):
        load_model(small_file(tmp_path / "a.gguf", "rwkv99"))
    with pytest.raises(ModelFolderError, match=r"scales its rotary frequencies \(yarn\)"):
        load_model(small_file(tmp_path / "b.gguf", "llama", "yarn"))


def test_a_file_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    files: dict[str, tuple[Any, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.os, "sysconf", lambda name: 16 if name == "SC_PHYS_PAGES" else 1024)
    with pytest.raises(ModelFolderError, match=r"0.0 GB once dequantised, and this machine has 0.0 GB"):
        load_model(files["llama"][1])


def test_a_device_map_is_refused_for_a_file(files: dict[str, tuple[Any, Path]]) -> None:
    with pytest.raises(ArgumentError, match="read whole, without a device map"):
        load_model(files["llama"][1], device_map="auto")
