"""Random checkpoints of the families that are common as GGUF files, written as llama.cpp's converters lay them out."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from transformers import PreTrainedTokenizerFast

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 = {"rope_parameters": SCALED | {"rope_theta": 10000.0, "original_max_position_embeddings": 64}}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, scaled rotary frequencies": ("Llama", LLAMA3),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 128}),
    "phi3": ("Phi3", {}),
    "gemma3": ("Gemma3", {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 256}),
}
"""Name -> the class's family in transformers, and its settings; the first word is the architecture in the file."""


def random_model(name: str, vocabulary: int) -> Any:
    """A random Hugging Face model of one of `FAMILIES`."""
    family, settings = FAMILIES[name]
    config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(5)
        config = config_class(**(SIZES | settings), vocab_size=vocabulary)
        return getattr(transformers, f"{family}ForCausalLM")(config).eval()


def write_gguf(name: str, model: Any, tokenizer: PreTrainedTokenizerFast, path: Path) -> Path:
    """Writes a model of one of `FAMILIES` as a GGUF file in float32."""
    config, architecture = model.config, name.split(",")[0].replace("mistral", "llama")
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny {name}")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    if architecture == "llama":
        writer.add_rope_dimension_count(head)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base(1e6)
    else:
        writer.add_rope_freq_base(10000.0)
    _add_tokenizer(writer, tokenizer)
    for key, value in _tensors(architecture, model).items():
        writer.add_tensor(key, np.ascontiguousarray(value.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(architecture: str, model: Any) -> dict[str, torch.Tensor]:
    """The weights under their GGUF names: Llama's queries and keys interleaved, Gemma's norms with 1 added."""
    config = model.config
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    found = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert name is not None, key
        if architecture == "llama" and ("q_proj" in key or "k_proj" in key):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            value = value.reshape(heads, 2, -1, value.shape[-1]).swapaxes(1, 2).reshape(value.shape)
        found[name] = value + 1 if architecture == "gemma3" and key.endswith("norm.weight") else value
    rotary = model.model.rotary_emb
    if architecture == "llama" and rotary.rope_type == "llama3":
        plain = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
        found["rope_freqs.weight"] = plain / rotary.inv_freq
    return found


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    """A byte-level BPE tokenizer's tokens, merges and special tokens."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in raw["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
