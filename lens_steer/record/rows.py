"""Token rows in little memory, and the plan by which they are forwarded.

    a plan      batches of sequences of like length; each sequence in exactly one batch

A million tokens take four megabytes, so that tens of thousands of long sequences can be planned at once. This module
runs no model but for its tokenizer.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lens_steer.batching import length_buckets
from lens_steer.errors import DataError
from lens_steer.model import SteerableModel, tokenize

_AT_ONCE = 256


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
class Batch:
    """The sequences that go through the model together."""

    rows: tuple[int, ...]


def token_rows(model: SteerableModel, sequences: Sequence[str] | Sequence[Sequence[int]]) -> TokenRows:
    """Texts or token rows as token rows.

    Args:
        model: a loaded model.
        sequences: all texts, or all token rows.

    Returns:
        Token ids of each sequence.

    Raises:
        DataError: there are none, or texts and token rows are mixed.
    """
    texts = sum(isinstance(entry, str) for entry in sequences)
    if not sequences or 0 < texts < len(sequences):
        raise DataError(f"{len(sequences)} sequences, {texts} of them texts; give all texts or all token rows.")
    if texts:
        return TokenRows(tokenize_in_parts(model, (str(entry) for entry in sequences)))
    return TokenRows([int(token) for token in entry] for entry in sequences)


def tokenize_in_parts(model: SteerableModel, texts: Iterable[str]) -> Iterator[list[int]]:
    """The tokens of any number of texts, of which few are held at once.

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


def plan_rows(rows: TokenRows, batch_size: int) -> list[Batch]:
    """Batches of sequences of like length.

    Args:
        rows: the sequences.
        batch_size: the most sequences in one forward pass.

    Returns:
        The batches, shortest first.

    Raises:
        DataError: the batch size is below 1.
    """
    lengths = [rows.length(index) for index in range(len(rows))]
    return [Batch(rows=tuple(bucket)) for bucket in length_buckets(lengths, batch_size)]
