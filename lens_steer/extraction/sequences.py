"""A contrast as token rows, with the class, prompt length and label (for errors) of each row.

    pairs       rows 2i (positive) and 2i + 1 (negative)        documents   first the positive ones, then the negative

A prompt and its completion are tokenised together, as the model would read them. A pair is cut to the context by
removing the same tokens after BOS from both sequences; a document is cut at its end.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.contrast import ContrastPair, ContrastSet, shuffled_order
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ContrastError, DataError, PositionError
from lens_steer.extraction.record import TokenRows, tokenize_in_parts
from lens_steer.model import SteerableModel, context_length, opening_tokens


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """The token rows of a contrast; `cut` counts those longer than the context; `labels` are shuffled ones."""

    source: ContrastSet | TextContrast
    rows: TokenRows
    prompt_lengths: Sequence[int] | None = None
    cut: int = 0
    labels: Bool[Tensor, " row"] | None = None

    @property
    def paired(self) -> bool:
        """Whether rows 2i and 2i + 1 are the positive and negative sequence of a pair."""
        return isinstance(self.source, ContrastSet)

    def is_positive(self, sequences: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Whether each of these rows is on the positive side."""
        if self.labels is not None:
            return self.labels[sequences]
        return sequences % 2 == 0 if isinstance(self.source, ContrastSet) else sequences < len(self.source.positive)

    def shuffled(self, seed: int) -> "Sequences":
        """The same rows with the labels that `data.contrast.shuffled_labels` gives with this seed."""
        order = torch.tensor(shuffled_order(self.source, seed), device="cpu")
        labels = torch.zeros(len(self.rows), dtype=torch.bool, device="cpu")
        labels[order] = self.is_positive(torch.arange(len(self.rows), device="cpu"))
        return replace(self, labels=labels)

    def label(self, sequence: int) -> str:
        """The label of a row in error messages."""
        if isinstance(self.source, ContrastSet):
            return _pair_label(self.source, self.source.pairs[sequence // 2])
        n = len(self.source.positive)
        side, index = ("positive", sequence) if sequence < n else ("negative", sequence - n)
        return f"text contrast {self.source.name!r}, {side} document {index}"


def read_source(model: SteerableModel, source: ContrastSet | TextContrast, needs_prompts: bool, cut: bool) -> Sequences:
    """Tokenises a contrast.

    Args:
        model: a loaded model with a tokenizer.
        source: the contrast.
        needs_prompts: whether prompt lengths are wanted.
        cut: cut what is longer than the context instead of refusing it.

    Returns:
        Its token rows.

    Raises:
        DataError: a sequence is longer than the context and may not, or cannot, be cut.
        ContrastError: both classes of a pair become the same tokens.
        PositionError: prompt lengths are wanted, and a prompt's tokens change when it is completed, or there are none.
    """
    cuts, prompts = array("i", [0]), array("i")
    if isinstance(source, TextContrast):
        if needs_prompts:
            raise PositionError(
                f"text contrast {source.name!r}: documents have no prompt; read at 'all', 'content' or 'last'."
            )
        return Sequences(source=source, rows=TokenRows(_documents(model, source, cut, cuts)), cut=cuts[0])
    rows = TokenRows(_sides(model, source, needs_prompts, cut, cuts, prompts))
    return Sequences(source=source, rows=rows, prompt_lengths=prompts if needs_prompts else None, cut=cuts[0])


def _documents(model: SteerableModel, source: TextContrast, cut: bool, cuts: "array[int]") -> Iterator[list[int]]:
    """Each document's tokens, cut where they must be; counts what the context cut off."""
    context = context_length(model)
    for index, row in enumerate(tokenize_in_parts(model, (*source.positive, *source.negative))):
        row = row[: source.max_tokens]
        if context is not None and len(row) > context:
            if not cut:
                label = Sequences(source=source, rows=TokenRows(())).label(index)
                raise DataError(_too_long(label, len(row), context))
            cuts[0] += 1
            row = row[:context]
        yield row


def _sides(
    model: SteerableModel,
    source: ContrastSet,
    needs_prompts: bool,
    cut: bool,
    cuts: "array[int]",
    prompts: "array[int]",
) -> Iterator[list[int]]:
    """Both classes of each pair, cut where they must be; notes the prompts' lengths where they are wanted."""
    context, first = context_length(model), len(opening_tokens(model))
    completed = (pair.prompt + side for pair in source.pairs for side in (pair.positive, pair.negative))
    sides = tokenize_in_parts(model, completed)
    openings = tokenize_in_parts(model, (pair.prompt for pair in source.pairs)) if needs_prompts else repeat([])
    for pair, opening in zip(source.pairs, openings, strict=False):
        both, label = [next(sides), next(sides)], _pair_label(source, pair)
        if both[0] == both[1]:
            raise ContrastError(f"{label}: both sides become the same tokens; their difference would be zero.")
        if any(side[: len(opening)] != opening for side in both):
            raise PositionError(
                f"{label}: the prompt's tokens change when it is completed, so its length is not defined. Move the "
                "space or bracket between prompt and completion to the other side, or read at 'last'."
            )
        length = max(map(len, both))
        excess = 0 if context is None else max(length - context, 0)
        if excess:
            kept = first + excess
            if not cut or both[0][:kept] != both[1][:kept] or (needs_prompts and len(opening) <= kept):
                raise DataError(_too_long(label, length, context or 0, ", and it has no such common beginning" * cut))
            cuts[0] += 2
            both = [side[:first] + side[kept:] for side in both]
        prompts.extend([len(opening) - excess] * 2 if needs_prompts else ())
        yield from both


def _pair_label(source: ContrastSet, pair: ContrastPair) -> str:
    return f"contrast set {source.name!r}, pair {pair.id!r}"


def _too_long(label: str, length: int, context: int, reason: str = "") -> str:
    return (
        f"{label}: {length} tokens; the model's context is {context}{reason}. Shorten the text, or extract with "
        "ExtractOptions(too_long='cut'), which takes tokens off a pair's common beginning, or a document's end."
    )
