"""The lab's tokenizer, and batches of documents with a loss weight for each token.

A byte-level BPE is fitted on documents of the world: their words are single tokens, and any other text can be encoded.
The loss weight of a token is 1; it is larger for the letter of an answer and the image of a mapping, which are about
one token in forty.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lens_steer.lab import world

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
LETTER_WEIGHT, IMAGE_WEIGHT = 10.0, 4.0


def fit_tokenizer(seed: int, vocabulary: int, documents: int = 20_000) -> PreTrainedTokenizerFast:
    """Fits the byte-level BPE on documents of the world; it prepends `<bos>` to every text.

    Args:
        seed: of the documents.
        vocabulary: number of tokens.
        documents: number of documents to fit on.
    """
    rng = random.Random(f"tokenizer:{seed}")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator((world.document(rng) for _ in range(documents)), trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD)


@dataclass(frozen=True)
class TrainingBatch:
    """Right-padded documents, the loss weight of each token (0 for padding and BOS), and a mask of answer letters."""

    tokens: Int[Tensor, "batch pos"]
    weights: Float[Tensor, "batch pos"]
    letters: Float[Tensor, "batch pos"]


class Weigher:
    """Assigns loss weights: higher for letters after `Answer: (` and images after ` ->`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        colon, bracket = tokenizer.encode("Answer: (", add_special_tokens=False)[-2:]
        self.colon, self.bracket = colon, bracket
        self.arrow = tokenizer.encode("map ->", add_special_tokens=False)[-1]

    def __call__(self, tokens: Int[Tensor, "batch pos"], pad: int) -> tuple[Tensor, Tensor]:
        """The loss weight and the letter mask of each token."""
        before = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=pad)
        before2 = torch.nn.functional.pad(tokens[:, :-2], (2, 0), value=pad)
        letters = ((before == self.bracket) & (before2 == self.colon)).float()
        images = (before == self.arrow).float()
        weights = 1.0 + (LETTER_WEIGHT - 1) * letters + (IMAGE_WEIGHT - 1) * images
        weights = weights * (tokens != pad)
        weights[:, 0] = 0.0
        return weights, letters


def batches(
    tokenizer: Any, seed: int, pool: int, mixture: Mapping[str, float], *, tokens_per_batch: int
) -> Iterator[TrainingBatch]:
    """The batches of one pool of 2,048 documents, grouped by length, in an order given by the seed."""
    rng = random.Random(f"pool:{seed}:{pool}")
    texts = [world.document(rng, mixture) for _ in range(2048)]
    rows = sorted(([*row, tokenizer.eos_token_id] for row in tokenizer(texts)["input_ids"]), key=len)
    groups: list[list[list[int]]] = [[]]
    for row in rows:
        if len(row) * (len(groups[-1]) + 1) > tokens_per_batch:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    weigher = Weigher(tokenizer)
    for group in groups:
        tokens = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row, device="cpu") for row in group], batch_first=True, padding_value=tokenizer.pad_token_id
        )
        yield TrainingBatch(tokens, *weigher(tokens, tokenizer.pad_token_id))
