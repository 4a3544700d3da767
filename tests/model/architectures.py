"""Every site of every architecture against plain torch hooks on the Hugging Face model; the table of docs.

    reading      `record` of a padded batch = what a torch hook shows, sequence by sequence, without padding
    writing      logits of a padded batch while `steer` adds v at tokens 1 and 2 = those while a torch hook adds it
    generation   greedy tokens with the cache = without it = the Hugging Face model's own, hooked and without a cache
    sweep        logits of a grid by reuse = by plain passes
    model        the bridge's logits = the Hugging Face model's, and a vector comes back from its file

A kind of site agrees, is refused (with the reason), or is WRONG. Checkpoints are random, of two or three layers, and
made here. Where a block's terms are on the Hugging Face side is written down by hand for each architecture, as its
source has it: `resid_mid` is what the module `mid` reads, and is written there and at the block's output.
Running this module writes docs/architectures.md.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from lens_steer.errors import LensSteerError
from lens_steer.evaluation.grid import GridOptions, run_grid, why_not_reused
from lens_steer.extraction import extract
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import HEADS, KINDS, Site
from lens_steer.model import forward, load_model, pad
from lens_steer.vector import load_vector

ROWS = [[5, 9, 14, 13, 8, 6, 7, 11], [7, 3, 15, 4, 6], [14, 8, 6]]
VOCABULARY, NEW_TOKENS, TOLERANCE = 259, 4, 1e-4
_CRASHES = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError)
Spot = tuple[str, str]
"""A module inside a block, and whether its input ("in") or its output ("out") is meant."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row of the table: a random checkpoint, and where its blocks' terms are on the Hugging Face side.

    `settings` are those of the configuration; `blocks` is the list of blocks; `attn` and `mlp` are the modules whose
    outputs are added to the stream, `heads` the one that joins the heads, `mid` where the stream between attention and
    MLP is; each is empty where the architecture has no such place.
    """

    name: str
    family: str
    settings: dict[str, Any]
    blocks: str = "model.layers"
    attn: str = "self_attn"
    mlp: str = "mlp"
    heads: str = "self_attn.o_proj"
    mid: Spot = ("post_attention_layernorm", "in")
    slow: bool = True

    @property
    def model_class(self) -> str:
        """The name of the class in transformers."""
        return f"{self.family}LMHeadModel" if self.family in ("GPT2", "OpenAIGPT") else f"{self.family}ForCausalLM"

    @property
    def config_class(self) -> str:
        """The name of its configuration's class."""
        return "Gemma3TextConfig" if self.family == "Gemma3" else f"{self.family}Config"


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


def _places(*parts: dict[str, Any]) -> dict[str, Any]:
    """Places in a block, later ones before earlier ones."""
    return {name: place for part in parts for name, place in part.items()}


_PARALLEL: dict[str, Any] = {"mid": ("", "")}
_NORMED: dict[str, Any] = {
    "attn": "post_attention_layernorm",
    "mlp": "post_feedforward_layernorm",
    "mid": ("pre_feedforward_layernorm", "in"),
}
_IN_GPT: dict[str, Any] = {"blocks": "transformer.h", "attn": "attn", "heads": "attn.c_proj", "mid": ("ln_2", "in")}
_IN_NEOX: dict[str, Any] = {"blocks": "gpt_neox.layers", "attn": "attention", "heads": "attention.dense"}
_IN_OPT: dict[str, Any] = {"blocks": "model.decoder.layers", "mlp": "fc2", "heads": "self_attn.out_proj"}
_IN_FALCON: dict[str, Any] = {
    "blocks": "transformer.h",
    "attn": "self_attention",
    "heads": "self_attention.dense",
}
_IN_STATE: dict[str, Any] = {"blocks": "backbone.layers", "attn": "", "mlp": "", "heads": "", "mid": ("", "")}

ARCHITECTURES = (
    Architecture(name="GPT-2", family="GPT2", settings=_GPT, **_IN_GPT, slow=False),
    Architecture(
        name="GPT-J",
        family="GPTJ",
        settings=_GPT | {"rotary_dim": 4},
        **_places(_IN_GPT, _PARALLEL, {"heads": "attn.out_proj"}),
        slow=False,
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
    Architecture(
        name="OPT-125m style", family="OPT", settings=_OPT, **_IN_OPT, mid=("final_layer_norm", "in"), slow=False
    ),
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
        slow=False,
    ),
    Architecture(name="Llama, tied", family="Llama", settings=_LLAMA | {"tie_word_embeddings": True}),
    Architecture(name="Llama, untied", family="Llama", settings=_LLAMA | {"tie_word_embeddings": False}),
    Architecture(name="Llama, grouped queries", family="Llama", settings=_GQA, slow=False),
    Architecture(name="Mistral", family="Mistral", settings=_WINDOWED),
    Architecture(name="Mixtral", family="Mixtral", settings=_MOE | {"num_local_experts": 4}),
    Architecture(name="Qwen2", family="Qwen2", settings=_GQA),
    Architecture(name="Qwen3", family="Qwen3", settings=_GQA | {"head_dim": 16}, slow=False),
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
        slow=False,
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
        slow=False,
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
        slow=False,
    ),
    Architecture(
        name="Mamba-2",
        family="Mamba2",
        settings=_STATE | {"num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
        **_IN_STATE,
    ),
    Architecture(
        name="OpenAI-GPT", family="OpenAIGPT", settings=_GPT, **_places(_IN_GPT, {"mid": ("ln_1", "out")}), slow=False
    ),
    Architecture(
        name="XGLM",
        family="XGLM",
        settings={"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 64},
        **_places(_IN_OPT, {"blocks": "model.layers"}),
        mid=("final_layer_norm", "in"),
    ),
)


@dataclass(kw_only=True)
class Row:
    """What was found of one architecture; a cell begins with `agrees`, `refused` or `WRONG`."""

    architecture: Architecture
    model: str = ""
    sites: dict[str, str] = field(default_factory=dict)
    reuse: str = ""
    vector: str = ""

    @property
    def cells(self) -> dict[str, str]:
        """What was compared, by the table's columns."""
        return {"logits": self.model, **{kind: self.sites.get(kind, "") for kind in KINDS}, "vector file": self.vector}

    @property
    def wrong(self) -> dict[str, str]:
        """The cells that neither agree nor refuse."""
        return {name: cell for name, cell in self.cells.items() if "WRONG" in cell}


def save_checkpoint(architecture: Architecture, folder: Path) -> Path:
    """A random checkpoint with a tokenizer of one byte a token."""
    special = {"<bos>": 0, "<eos>": 1, "<pad>": 2}
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=3)}
    raw = Tokenizer(models.BPE(special | letters, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names)
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


class Reference:
    """The Hugging Face model, read and written by plain torch hooks."""

    def __init__(self, architecture: Architecture, folder: Path) -> None:
        self.architecture = architecture
        auto = transformers.AutoModelForCausalLM
        self.model: Any = auto.from_pretrained(folder, attn_implementation="eager").eval()
        self.blocks: Any = self.model.get_submodule(architecture.blocks)
        config = self.model.config
        names = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
        self.n_heads = next((int(getattr(config, name)) for name in names if hasattr(config, name)), 0)

    def spots(self, site: Site) -> list[Spot]:
        """Where a site is in its block: the first is read, all are written; none where the architecture has none."""
        a = self.architecture
        found = {
            "resid_pre": [("", "in")],
            "resid_post": [("", "out")],
            "attn_out": [(a.attn, "out")] if a.attn else [],
            "mlp_out": [(a.mlp, "out")] if a.mlp else [],
            "resid_mid": [a.mid, *([("", "out")] if a.mid[1] == "in" else [])] if a.mid[0] else [],
            HEADS: [(a.heads, "in")] if a.heads else [],
        }
        return found[site.kind]

    def logits(self, row: list[int]) -> Tensor:
        """Of one sequence, uncached, unpadded."""
        with torch.no_grad():
            return self.model(torch.tensor([row]), use_cache=False).logits[0]

    def scale(self, site: Site) -> float:
        """What a module's output is multiplied by before it joins the stream."""
        return getattr(self.model.config, "residual_multiplier", 1.0) if site.kind in ("attn_out", "mlp_out") else 1.0

    @contextmanager
    def changed(self, site: Site, spots: list[Spot], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replaces a site's tensor while the context is open."""
        block = self.blocks[site.layer]

        def enter(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

        def leave(_module: Any, _args: Any, output: Any) -> Any:
            return change(output) if isinstance(output, Tensor) else type(output)((change(output[0]), *output[1:]))

        with ExitStack() as stack:
            for name, end in spots:
                module = block.get_submodule(name)
                handle = (
                    module.register_forward_pre_hook(enter, with_kwargs=True)
                    if end == "in"
                    else module.register_forward_hook(leave)
                )
                stack.callback(handle.remove)
            yield

    def read(self, site: Site, row: list[int]) -> Tensor:
        """The activation of one sequence, (pos, width)."""
        seen: list[Tensor] = []

        def look(tensor: Tensor) -> Tensor:
            seen.append(tensor.reshape(1, len(row), -1)[0].clone() * self.scale(site))
            return tensor

        with self.changed(site, self.spots(site)[:1], look):
            self.logits(row)
        if site.head is None:
            return seen[0]
        return seen[0].reshape(len(row), self.n_heads, -1)[:, site.head]

    @contextmanager
    def adding(self, site: Site, v: Tensor, start: int, stop: int | None) -> Iterator[None]:
        """Adds a vector to a site at tokens start to stop - 1 of one sequence."""

        def add(tensor: Tensor) -> Tensor:
            shape, n = tensor.shape, tensor.numel() // tensor.shape[-1]
            if site.head is None:
                moved = tensor.reshape(1, n, -1).clone()
                moved[:, start:stop] += v / self.scale(site)
            else:
                moved = tensor.reshape(1, n, self.n_heads, -1).clone()
                moved[:, start:stop, site.head] += v
            return moved.reshape(shape)

        with self.changed(site, self.spots(site), add):
            yield


def examine(architecture: Architecture, folder: Path) -> Row:
    """Every cell of one architecture."""
    row = Row(architecture=architecture)
    save_checkpoint(architecture, folder)
    try:
        model = load_model(folder)
    except LensSteerError as error:
        row.model = f"refused: {error}".replace(str(folder), "FOLDER")
        return row
    except _CRASHES as error:
        row.model = f"WRONG: {type(error).__name__} {error}"
        return row
    reference = Reference(architecture, folder)
    plain = [reference.logits(tokens) for tokens in ROWS]
    error = max(_error(ours, theirs) for ours, theirs in zip(_logits(model), plain, strict=True))
    row.model = _verdict({"logits": error})
    row.reuse = why_not_reused(model, []) or "exact"
    layers = len(reference.blocks)
    for kind in KINDS:
        row.sites[kind] = _together([_examine_site(model, reference, kind, layer) for layer in range(layers)])
    try:
        row.vector = _verdict({"file": _saved(model, folder)})
    except LensSteerError as error:
        row.vector = f"refused: {error}"
    except _CRASHES as error:
        row.vector = f"WRONG: {type(error).__name__} {error}"
    return row


def _examine_site(model: Any, reference: Reference, kind: str, layer: int) -> str:
    """The cell of one kind at one layer; of heads, both the first and the last."""
    heads = [None] if kind != HEADS else [0, max(reference.n_heads - 1, 0)]
    found = [_compared(model, reference, Site(kind, layer, head)) for head in heads]
    return next((cell for cell in found if cell != "agrees"), "agrees")


def _compared(model: Any, reference: Reference, site: Site) -> str:
    """What a site's readings and writings are, beside the reference's."""
    direction = torch.randn(1024, generator=torch.Generator().manual_seed(3 + site.layer))
    try:
        read = _recorded(model, site)
        v = direction[: read[0].shape[-1]] * read[0].norm(dim=-1).mean() / read[0].shape[-1] ** 0.5
        steered = _logits(model, Intervention.at(site, v, positions="1:3"))
        cached, uncached = (
            [tuple(c.tokens) for c in generate(model, ROWS, Intervention.at(site, v), how).continuations]
            for how in (_decoding(True), _decoding(False))
        )
        grid = [[Intervention.at(site, v, strength, where)] for where in ("1:3", "last") for strength in (1, 2)]
        reused, naive = (
            run_grid(model, ROWS, grid, lambda *_: lambda logits: logits.flatten(1), GridOptions(reuse=reuse))
            for reuse in (True, False)
        )
    except LensSteerError as error:
        return f"refused: {error}"
    except _CRASHES as error:
        return f"WRONG: {type(error).__name__} {error}"
    if not reference.spots(site):
        return "WRONG: read and written, though this architecture has no such site"
    errors = {"reading": 0.0, "writing": 0.0, "generation": 0.0, "cache": float(cached != uncached), "sweep": 0.0}
    for index, row in enumerate(ROWS):
        theirs = reference.read(site, row)
        if theirs.shape != read[index].shape:
            return f"WRONG: read {read[index].shape[-1]} wide, is {theirs.shape[-1]} wide"
        errors["reading"] = max(errors["reading"], _error(read[index], theirs))
        with reference.adding(site, v, 1, 3):
            errors["writing"] = max(errors["writing"], _error(steered[index], reference.logits(row)))
        grown = list(row)
        for _ in range(NEW_TOKENS):
            with reference.adding(site, v, 0, None):
                grown.append(int(reference.logits(grown)[-1].argmax()))
        errors["generation"] = max(errors["generation"], float(tuple(grown[len(row) :]) != cached[index]))
    both = zip(reused.configurations, naive.configurations, strict=True)
    errors["sweep"] = max(_error(one, other) for one, other in both)
    return _verdict(errors)


def _decoding(cache: bool) -> Decoding:
    return Decoding(max_new_tokens=NEW_TOKENS, stop_at_eos=False, cache=cache)


def _logits(model: Any, *interventions: Intervention) -> list[Tensor]:
    """Logits of every row, from one padded batch."""
    tokens, mask = pad(model, ROWS)
    with steer(model, *interventions):
        logits = forward(model, tokens, mask)
    return [logits[index, : len(row)] for index, row in enumerate(ROWS)]


def _recorded(model: Any, site: Site) -> list[Tensor]:
    """The activation of every row, from one padded batch."""
    (found,) = record(model, ROWS, site)
    return [found.activations[site][found.sequences == index] for index in range(len(ROWS))]


def _saved(model: Any, folder: Path) -> float:
    """How far a vector is from what its file gives back."""
    vector = extract(model, ["a cat", "one dollar"], ["a dog", "ten"], sites="resid_post@*")
    again = load_vector(vector.save(folder / "vector.safetensors"), model)
    return max(_error(again.at(site), vector.at(site)) for site in vector.sites)


def _error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1))


def _verdict(errors: dict[str, float]) -> str:
    wrong = [f"{what} off by {error:.2g}" for what, error in errors.items() if not error <= TOLERANCE]
    return f"WRONG: {', '.join(wrong)}" if wrong else "agrees"


def _together(cells: list[str]) -> str:
    """One cell of the cells of all layers."""
    if len(set(cells)) == 1 or all(cell.startswith("refused") for cell in cells):
        return cells[0]
    return "; ".join(f"layer {layer} {cell}" for layer, cell in enumerate(cells))


def table_line(row: Row) -> str:
    """One architecture's line of the table."""
    found = ["by layer" if cell.startswith("layer ") else cell.split(":")[0] or "–" for cell in row.cells.values()]
    reuse = row.reuse if row.reuse in ("", "exact") else "naive"
    return f"| {' | '.join([row.architecture.name, row.architecture.model_class, *found, reuse or '–'])} |"


def table(rows: list[Row]) -> str:
    """The document: one line an architecture, and under it what was refused and why."""
    head = ["architecture", "transformers", "logits", *KINDS, "vector file", "reuse"]
    lines = [
        "# Architectures",
        "",
        "Every kind of site at every layer, read and written on tiny random checkpoints and compared with plain torch",
        "hooks on the Hugging Face model (1e-4, relative to the largest entry): padded batches against single",
        "sequences, generation with the cache, without it and by Hugging Face, sweeps by reuse against plain passes.",
        "Written by `python tests/model/architectures.py`; `tests/model/test_architectures.py` holds every cell.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *map(table_line, rows),
    ]
    notes: list[str] = []
    for row in rows:
        said = [f"  - {name}: {cell}" for name, cell in row.cells.items() if cell and cell != "agrees"]
        said += [f"  - reuse: {row.reuse}"] if row.reuse not in ("", "exact") else []
        notes += [f"- **{row.architecture.name}**", *said] if said else []
    return "\n".join([*lines, "", "## What is refused, and why", "", *notes, ""])


def main() -> None:
    """Examines all architectures, or those whose names are given, and writes the table."""
    wanted = [a for a in ARCHITECTURES if not sys.argv[1:] or any(word in a.name for word in sys.argv[1:])]
    rows = []
    for architecture in wanted:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append(examine(architecture, Path(folder) / "tiny"))
    text = table(rows)
    sys.stdout.write(text)
    if len(wanted) == len(ARCHITECTURES):
        (Path(__file__).parents[2] / "docs" / "architectures.md").write_text(text)


if __name__ == "__main__":
    main()
