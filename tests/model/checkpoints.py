"""The architectures of the table, each as a small random checkpoint, and where the terms of a block are.

Checkpoints have two or three layers. Where the terms are in the modules of transformers is written down by hand for
each architecture, as its source has it: `resid_mid` is what the module `mid` reads, and is written there and at the
block's output. A layer of a hybrid that lacks a module lacks the term.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCABULARY = 259
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
)
Spot = tuple[str, str]
"""A module inside a block, and whether its input ("in") or its output ("out") is meant."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row of the table: a random checkpoint, and where its blocks' terms are on the Hugging Face side.

    `settings` are those of the configuration; `blocks` is the list of blocks; `attn` and `mlp` are the modules whose
    outputs are added to the stream, `heads` the one that joins the heads, `mid` where the stream between attention and
    MLP is; each is empty where the architecture has no such place. `into_mlp` is the module that reads what `mlp`
    makes its output of, where it is another one.
    """

    name: str
    family: str
    settings: dict[str, Any]
    blocks: str = "model.layers"
    attn: str = "self_attn"
    mlp: str = "mlp"
    heads: str = "self_attn.o_proj"
    mid: Spot = ("post_attention_layernorm", "in")
    into_mlp: str = ""
    slow: bool = True

    @property
    def model_class(self) -> str:
        """The name of the class in transformers."""
        return f"{self.family}LMHeadModel" if self.family in ("GPT2", "OpenAIGPT") else f"{self.family}ForCausalLM"

    @property
    def config_class(self) -> str:
        """The name of its configuration's class."""
        return f"{self.family}TextConfig" if self.family in ("Gemma3", "Gemma4") else f"{self.family}Config"


_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}
_GQA = _LLAMA | {"num_key_value_heads": 2}
_MOE = _GQA | {"num_experts_per_tok": 2}
_WINDOWED = _GQA | {"num_hidden_layers": 3, "head_dim": 8, "sliding_window": 4}
_GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64}
_OPT: dict[str, Any] = {
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
_LATENT: dict[str, Any] = _LLAMA | {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 24,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_STATE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
_MIXER: dict[str, Any] = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
_GRANITE_4: dict[str, Any] = (
    _GQA
    | _MIXER
    | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 24, "residual_multiplier": 0.3}
    | {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 2.0}
)
_GEMMA_4: dict[str, Any] = _WINDOWED | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}


def _places(*parts: dict[str, Any]) -> dict[str, Any]:
    """Places in a block, later ones before earlier ones."""
    return {name: place for part in parts for name, place in part.items()}


_PARALLEL: dict[str, Any] = {"mid": ("", "")}
_NORMED: dict[str, Any] = {
    "attn": "post_attention_layernorm",
    "mlp": "post_feedforward_layernorm",
    "into_mlp": "mlp",
    "mid": ("pre_feedforward_layernorm", "in"),
}
_IN_GPT: dict[str, Any] = {"blocks": "transformer.h", "attn": "attn", "heads": "attn.c_proj", "mid": ("ln_2", "in")}
_IN_NEOX: dict[str, Any] = {"blocks": "gpt_neox.layers", "attn": "attention", "heads": "attention.dense"}
_IN_OPT: dict[str, Any] = {
    "into_mlp": "fc1",
    "blocks": "model.decoder.layers",
    "mlp": "fc2",
    "heads": "self_attn.out_proj",
}
_IN_FALCON: dict[str, Any] = {
    "blocks": "transformer.h",
    "attn": "self_attention",
    "heads": "self_attention.dense",
}
_IN_HYBRID: dict[str, Any] = {"mlp": "feed_forward", "mid": ("pre_ff_layernorm", "in")}
_IN_STATE: dict[str, Any] = {"blocks": "backbone.layers", "attn": "", "mlp": "", "heads": "", "mid": ("", "")}

ARCHITECTURES = (
    Architecture(name="GPT-2", family="GPT2", settings=_GPT, **_IN_GPT, slow=False),
    Architecture(
        name="GPT-J",
        family="GPTJ",
        settings=_GPT | {"rotary_dim": 4},
        **_places(_IN_GPT, _PARALLEL, {"heads": "attn.out_proj"}),
    ),
    Architecture(
        name="GPT-NeoX, parallel", family="GPTNeoX", settings=_LLAMA, **_places(_IN_NEOX, _PARALLEL), slow=False
    ),
    Architecture(
        name="GPT-NeoX, sequential",
        family="GPTNeoX",
        settings=_LLAMA | {"use_parallel_residual": False},
        **_IN_NEOX,
    ),
    Architecture(name="OPT-125m style", family="OPT", settings=_OPT, **_IN_OPT, mid=("final_layer_norm", "in")),
    Architecture(
        name="OPT-350m style",
        family="OPT",
        settings=_OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
        **_IN_OPT,
        mid=("self_attn_layer_norm", "out"),
    ),
    Architecture(
        name="BLOOM",
        family="Bloom",
        settings={"hidden_size": 32, "n_layer": 2, "n_head": 4},
        **_places(_IN_FALCON, {"attn": "self_attention.dense"}),
        mlp="mlp.dense_4h_to_h",
        into_mlp="mlp",
    ),
    Architecture(name="Llama, tied", family="Llama", settings=_LLAMA | {"tie_word_embeddings": True}),
    Architecture(name="Llama, untied", family="Llama", settings=_LLAMA | {"tie_word_embeddings": False}),
    Architecture(name="Llama, grouped queries", family="Llama", settings=_GQA, slow=False),
    Architecture(name="Mistral", family="Mistral", settings=_WINDOWED),
    Architecture(name="Mixtral", family="Mixtral", settings=_MOE | {"num_local_experts": 4}),
    Architecture(name="Qwen2", family="Qwen2", settings=_GQA),
    Architecture(name="Qwen3", family="Qwen3", settings=_GQA | {"head_dim": 16}),
    Architecture(
        name="Qwen3-MoE",
        family="Qwen3Moe",
        settings=_MOE | {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 24, "decoder_sparse_step": 1},
    ),
    Architecture(name="Gemma", family="Gemma", settings=_GQA | {"head_dim": 16}),
    Architecture(name="Gemma 2", family="Gemma2", settings=_WINDOWED | {"query_pre_attn_scalar": 8}, **_NORMED),
    Architecture(
        name="Gemma 3",
        family="Gemma3",
        settings=_WINDOWED | {"query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
        **_NORMED,
    ),
    Architecture(name="OLMo-2", family="Olmo2", settings=_GQA, **_places(_NORMED, {"mid": ("mlp", "in")})),
    Architecture(name="Phi", family="Phi", settings=_LLAMA, heads="self_attn.dense", **_PARALLEL),
    Architecture(name="Phi-3", family="Phi3", settings=_GQA),
    Architecture(
        name="Falcon, parallel",
        family="Falcon",
        settings=_LLAMA | {"multi_query": True, "parallel_attn": True, "new_decoder_architecture": False},
        **_places(_IN_FALCON, _PARALLEL),
    ),
    Architecture(
        name="Falcon, two norms",
        family="Falcon",
        settings=_LLAMA | {"num_kv_heads": 2, "new_decoder_architecture": True},
        **_places(_IN_FALCON, _PARALLEL),
    ),
    Architecture(
        name="Falcon, sequential",
        family="Falcon",
        settings=_LLAMA | {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
        **_IN_FALCON,
    ),
    Architecture(name="StableLM", family="StableLm", settings=_GQA),
    Architecture(
        name="Granite",
        family="Granite",
        settings=_GQA | {"residual_multiplier": 0.3, "embedding_multiplier": 2.0, "logits_scaling": 2.0},
    ),
    Architecture(name="Cohere", family="Cohere", settings=_GQA, **_PARALLEL),
    Architecture(name="SmolLM3", family="SmolLM3", settings=_GQA | {"no_rope_layers": [1, 0]}),
    Architecture(
        name="GPT-OSS",
        family="GptOss",
        settings=_WINDOWED | {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2},
    ),
    Architecture(
        name="MPT",
        family="Mpt",
        settings={"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "expansion_ratio": 2},
        blocks="transformer.blocks",
        attn="attn",
        mlp="ffn.down_proj",
        into_mlp="ffn",
        heads="attn.out_proj",
        mid=("norm_2", "in"),
    ),
    Architecture(
        name="GPT-Neo",
        family="GPTNeo",
        settings={
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
            "max_position_embeddings": 64,
        },
        **_places(_IN_GPT, {"heads": "attn.attention.out_proj"}),
    ),
    Architecture(
        name="CodeGen",
        family="CodeGen",
        settings=_GPT | {"rotary_dim": 4},
        **_places(_IN_GPT, _PARALLEL, {"heads": "attn.out_proj"}),
    ),
    Architecture(name="DeepSeek-V2", family="DeepseekV2", settings=_LATENT, slow=False),
    Architecture(
        name="Mamba",
        family="Mamba",
        settings=_STATE | {"expand": 2, "conv_kernel": 4},
        **_IN_STATE,
    ),
    Architecture(
        name="Mamba-2",
        family="Mamba2",
        settings=_STATE | {"num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
        **_IN_STATE,
    ),
    Architecture(name="DeepSeek-V3", family="DeepseekV3", settings=_LATENT),
    Architecture(
        name="Youtu",
        family="Youtu",
        settings=_LLAMA
        | {name: _LATENT[name] for name in ("q_lora_rank", "kv_lora_rank", "v_head_dim")}
        | {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8},
    ),
    Architecture(
        name="Gemma 4",
        family="Gemma4",
        settings=_GEMMA_4
        | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "global_head_dim": 16},
        **_NORMED,
    ),
    Architecture(
        name="Gemma 4, no input by layer",
        family="Gemma4",
        settings=_GEMMA_4 | {"hidden_size_per_layer_input": 0, "global_head_dim": 8},
        **_NORMED,
    ),
    Architecture(
        name="Falcon-Mamba",
        family="FalconMamba",
        settings=_STATE | {"expand": 2, "conv_kernel": 4},
        **_IN_STATE,
    ),
    Architecture(
        name="Jamba",
        family="Jamba",
        settings=_MOE
        | {"num_experts": 2, "num_experts_per_tok": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
        **_IN_HYBRID,
    ),
    Architecture(name="Bamba", family="Bamba", settings=_GQA | _MIXER | {"attn_layer_indices": [1]}, **_IN_HYBRID),
    Architecture(
        name="Zamba2",
        family="Zamba2",
        settings=_LLAMA
        | {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"], "adapter_rank": 4}
        | {"mamba_d_state": 8, "n_mamba_heads": 4, "chunk_size": 8},
        **_places(_IN_STATE, {"blocks": "model.layers"}),
    ),
    Architecture(
        name="RecurrentGemma",
        family="RecurrentGemma",
        settings={
            "hidden_size": 32,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "lru_width": 32,
            "attention_window_size": 64,
        },
        **_places(_IN_STATE, {"blocks": "model.layers"}),
    ),
    Architecture(name="Falcon-H1", family="FalconH1", settings=_GQA | _MIXER | {"mamba_d_ssm": 64}, **_IN_HYBRID),
    Architecture(
        name="Nemotron-H",
        family="NemotronH",
        settings={
            "hidden_size": 32,
            "intermediate_size": 48,
            "layers_block_type": ["mamba", "attention", "mlp"],
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "chunk_size": 8,
        },
        **_places(_IN_STATE, {"blocks": "model.layers"}),
    ),
    Architecture(
        name="Qwen3-Next",
        family="Qwen3Next",
        settings=_MOE
        | {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}
        | {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
        | {"linear_num_value_heads": 4, "layer_types": ["linear_attention", "full_attention"]},
    ),
    Architecture(
        name="LFM2",
        family="Lfm2",
        settings=_GQA | {"layer_types": ["conv", "full_attention"]},
        mlp="feed_forward",
        heads="self_attn.out_proj",
        mid=("ffn_norm", "in"),
    ),
    Architecture(
        name="Granite-MoE",
        family="GraniteMoe",
        settings=_MOE | {"num_local_experts": 4, "residual_multiplier": 0.3, "logits_scaling": 2.0},
        mlp="block_sparse_moe",
    ),
    Architecture(
        name="Granite 4",
        family="GraniteMoeHybrid",
        settings=_GRANITE_4 | {"position_embedding_type": "rope"},
        mlp="",
    ),
    Architecture(name="Granite 4, no positions", family="GraniteMoeHybrid", settings=_GRANITE_4, mlp=""),
    Architecture(
        name="RWKV",
        family="Rwkv",
        settings={"hidden_size": 32, "num_hidden_layers": 2, "context_length": 64},
        **_places(_IN_STATE, {"blocks": "rwkv.blocks"}),
    ),
    Architecture(name="OpenAI-GPT", family="OpenAIGPT", settings=_GPT, **_places(_IN_GPT, {"mid": ("ln_1", "out")})),
    Architecture(
        name="XGLM",
        family="XGLM",
        settings={"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 64},
        **_places(_IN_OPT, {"blocks": "model.layers"}),
        mid=("final_layer_norm", "in"),
    ),
)


def plain_model(architecture: Architecture, folder: Path) -> tuple[Any, Any, int]:
    """A checkpoint as transformers runs it, to be hooked: the model, its blocks, and its heads where it names them."""
    auto = transformers.AutoModelForCausalLM
    model: Any = auto.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)
    names = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
    heads = next((int(getattr(model.config, name)) for name in names if hasattr(model.config, name)), 0)
    return model, model.get_submodule(architecture.blocks), heads


def save_checkpoint(architecture: Architecture, folder: Path) -> Path:
    """A random checkpoint with a tokenizer of one byte a token."""
    special = {"<bos>": 0, "<eos>": 1, "<pad>": 2}
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=3)}
    raw = Tokenizer(models.BPE(special | letters, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    tokenizer.chat_template = CHAT
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        config_class = getattr(transformers, architecture.config_class)
        config = config_class(vocab_size=VOCABULARY, **architecture.settings, **ids)
        model = getattr(transformers, architecture.model_class)(config).eval()
        for parameter in model.parameters():  # norms and biases too, which are 1 and 0 otherwise
            parameter.data += 0.15 * torch.randn_like(parameter)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
