"""Tiny models whose tokenizers are of the kinds in use: byte-level, SentencePiece in its several ways, WordPiece."""

import json
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lens_steer.model import load_model

LINES = [
    "Do you like it?\nAnswer: A. Yes (I do). B. No, it is bad.",
    "User: the café is 5 € a day\n\nAssistant: naïve, see below. ",
    "She said that she would go; they did not. Who was it? The dog.",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>", "<end>", "<pad>"]
KINDS = ("byte level", "byte level, spaced", "llama", "metaspace", "metaspace first", "unigram", "wordpiece")
BOS = {"llama": [1], "metaspace": [1], "metaspace first": [1], "wordpiece": [1]}
"""What each tokenizer puts in front by itself."""


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """A new tokenizer of one of the kinds; `unigram` puts </s> behind every text, as T5's does."""
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_trained(kind)), **names)
    made.add_special_tokens({"additional_special_tokens": ["<end>"]})
    return made


@cache
def _trained(kind: str) -> str:
    """The rules of a tokenizer, trained once: two trainings of some kinds are not the same."""
    raw: Any = Tokenizer({"wordpiece": models.WordPiece, "unigram": models.Unigram}.get(kind, models.BPE)())
    trainer: Any = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False)
    if kind.startswith("byte level"):
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind != "byte level")
        raw.decoder, trainer.initial_alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    elif kind == "wordpiece":
        raw.model = models.WordPiece(unk_token="<unk>")
        raw.pre_tokenizer, raw.decoder = (
            pre_tokenizers.BertPreTokenizer(),
            decoders.WordPiece(prefix="##", cleanup=False),
        )
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    elif kind == "llama":
        raw.model = models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        strip = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        raw.decoder = decoders.Sequence(strip)
        trainer.special_tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        scheme = "first" if kind == "metaspace first" else "always"
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        raw.decoder = decoders.Metaspace(prepend_scheme=scheme)
        if kind == "unigram":
            trainer = trainers.UnigramTrainer(
                vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
            )
        else:
            raw.model = models.BPE(unk_token="<unk>", fuse_unk=True)
    raw.train_from_iterator(LINES, trainer)
    front, end = "<s> " * (kind in BOS), " </s>" * (kind in ("unigram", "wordpiece"))
    known = [(name, SPECIAL.index(name)) for name in ("<s>", "</s>")]
    raw.post_processor = processors.TemplateProcessing(single=f"{front}$A{end}", special_tokens=known)
    whole = json.loads(raw.to_str())  # byte tokens are no special tokens
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < len(SPECIAL)]
    return json.dumps(whole)


def model_of(kind: str, **settings: Any) -> Any:
    """A random Llama of width 16 with such a tokenizer.

    Args:
        kind: one of `KINDS`.
        settings: of `load_model`.
    """
    tokenizer = tokenizer_of(kind)
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(5)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            initializer_range=0.4,
            bos_token_id=1,
            eos_token_id=2,
        )
        return load_model(LlamaForCausalLM(config).eval(), tokenizer=tokenizer, **settings)
