"""Random checkpoints of further architectures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lens_steer.model import load_model

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 6}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"sliding_window": 6}),
}


@pytest.fixture(scope="session")
def checkpoints(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind."""
    folder, tokenizer = tmp_path_factory.mktemp("cells"), PreTrainedTokenizerFast.from_pretrained(llama_folder)
    for name, (config, model, extra) in KINDS.items():
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(3)
            model(config(vocab_size=len(tokenizer), **SIZES, **extra)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in KINDS}


@pytest.fixture(scope="session")
def mistral(checkpoints: dict[str, Path]) -> Any:
    """A Mistral whose window is 6 tokens."""
    return load_model(checkpoints["mistral"])


@pytest.fixture(scope="session")
def qwen3(checkpoints: dict[str, Path]) -> Any:
    """A Qwen3."""
    return load_model(checkpoints["qwen3"])


@pytest.fixture(scope="session")
def gemma2(checkpoints: dict[str, Path]) -> Any:
    """A Gemma 2: norms behind attention and MLP, every second layer with a window of 6 tokens."""
    return load_model(checkpoints["gemma2"])
