"""Compact storage of token rows, and the plan of batches in which they are forwarded.

    plan            batches of sequences of similar length; each sequence in exactly one batch
    pair            sequences 2i and 2i + 1, always in the same batch
    shared prefix   of a pair: min(longest common prefix, shorter length - 1) tokens, so that each class keeps one

A million tokens take four megabytes.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from lens_steer.model import Prompts, SteerableModel, as_prompts, tokenize
from lens_steer.model.batching import length_buckets

_AT_ONCE = 256
_WORTH_SHARING = 4


class TokenRows(Sequence[Sequence[int]]):
    """Rows of token ids at four bytes a token; filled once, from any iterable, and only read afterwards."""

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        self._tokens, self._ends = array("i"), array("q", [0])
        for row in rows:
            self._tokens.extend(row)
            self._ends.append(len(self._tokens))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> list[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._tokens[self._ends[index] : self._ends[index + 1]].tolist()

    def length(self, index: int) -> int:
        """The number of tokens of one row."""
        return self._ends[index + 1] - self._ends[index]


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """The sequences of one forward pass.

    `prefixes` is empty where they are forwarded whole; otherwise the rows are adjacent pairs, and it has the length of
    each pair's shared prefix.
    """

    rows: tuple[int, ...]
    prefixes: tuple[int, ...] = ()

    @property
    def least(self) -> "list[RowBatch]":
        """The batch cut as small as it can be: a sequence each, or a pair with its shared prefix."""
        if not self.prefixes:
            return [RowBatch(rows=(row,)) for row in self.rows]
        pairs = zip(self.rows[::2], self.rows[1::2], self.prefixes, strict=True)
        return [RowBatch(rows=(one, other), prefixes=(prefix,)) for one, other, prefix in pairs]

    @classmethod
    def of(cls, parts: "Sequence[RowBatch]") -> "RowBatch":
        """Several batches of one kind as one."""
        rows = chain.from_iterable(part.rows for part in parts)
        return cls(rows=tuple(rows), prefixes=tuple(chain.from_iterable(part.prefixes for part in parts)))


def token_rows(model: SteerableModel, sequences: Prompts) -> TokenRows:
    """Texts, chats or token rows as token rows.

    Args:
        model: a loaded model.
        sequences: one or several texts, token rows or chats, as `as_prompts` reads them.

    Returns:
        Token ids of each sequence.

    Raises:
        DataError: there are none, or kinds are mixed.
    """
    texts, rows = as_prompts(model, sequences, "sequences")
    return TokenRows(tokenize_in_parts(model, texts) if texts else rows)


def tokenize_in_parts(model: SteerableModel, texts: Iterable[str]) -> Iterator[list[int]]:
    """Tokenises texts lazily, in small groups.

    Args:
        model: a loaded model with a tokenizer.
        texts: any texts.

    Returns:
        An iterator over the texts' token ids, BOS in front where the model wants one.
    """
    part: list[str] = []
    for text in texts:
        part.append(text)
        if len(part) == _AT_ONCE:
            yield from tokenize(model, part)
            part = []
    yield from tokenize(model, part)


def plan_rows(rows: TokenRows, batch_size: int) -> list[RowBatch]:
    """Batches of sequences of similar length.

    Args:
        rows: the sequences.
        batch_size: the most sequences in one forward pass.

    Returns:
        The batches, shortest first.

    Raises:
        DataError: the batch size is below 1.
    """
    lengths = [rows.length(index) for index in range(len(rows))]
    return [RowBatch(rows=tuple(bucket)) for bucket in length_buckets(lengths, batch_size)]


def plan_pairs(rows: TokenRows, batch_size: int, share: bool) -> list[RowBatch]:
    """Batches of pairs of similar length; pairs with and without a shared prefix are in different batches.

    Args:
        rows: the sequences; 2i and 2i + 1 are a pair.
        batch_size: the most sequences in one forward pass; a pair is never parted.
        share: forward the pairs' common prefixes once.

    Returns:
        The batches.

    Raises:
        DataError: the batch size is below 1.
    """
    lengths = [max(rows.length(index), rows.length(index + 1)) for index in range(0, len(rows), 2)]
    prefixes = [_common(rows[2 * pair], rows[2 * pair + 1]) if share else 0 for pair in range(len(lengths))]
    shared = [pair for pair, prefix in enumerate(prefixes) if prefix >= _WORTH_SHARING]
    whole = [pair for pair, prefix in enumerate(prefixes) if prefix < _WORTH_SHARING]
    size = max(batch_size // 2, min(batch_size, 1))
    plan = []
    for bucket in length_buckets([lengths[pair] for pair in whole], size):
        plan.append(RowBatch(rows=_sides([whole[place] for place in bucket])))
    for bucket in length_buckets([prefixes[pair] for pair in shared], size):
        pairs = [shared[place] for place in bucket]
        plan.append(RowBatch(rows=_sides(pairs), prefixes=tuple(prefixes[pair] for pair in pairs)))
    return plan


def _sides(pairs: Sequence[int]) -> tuple[int, ...]:
    """The sequences of pairs; both sequences of a pair are adjacent."""
    return tuple(2 * pair + side for pair in pairs for side in (0, 1))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the common prefix of two rows, at most the shorter length minus one."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)
