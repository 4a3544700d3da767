"""Text corpora: the documents of a skill in three splits, and the contrast of two skills, such as code and prose.

    corpus     train, validation, test     documents of one skill; no document is in two splits
    contrast   positive, negative          documents of two skills, unpaired; their numbers may differ
    passage    start = line before u,  u = hash(document, seed) mod (length - characters + 1)

Source files open with licences and docstrings, which are prose: a skill is read from passages, not from first lines.

Source: van der Weij et al. 2024 (arXiv 2403.05767) for steering a broad skill by the mean activations of two corpora.
`max_tokens` is applied at extraction, not here.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from lens_steer._util.shown import shown
from lens_steer.data.duplicates import near_duplicates
from lens_steer.data.splits import SPLITS
from lens_steer.errors import DataError


@shown()
@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents of one skill: train to extract vectors, validation to choose settings, test to report.

    `near_duplicates` counts the documents that were left out because they are nearly the same as another one.

    Raises:
        DataError: a split has no documents, a document is empty, or a document occurs twice.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    near_duplicates: int = 0

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split in SPLITS:
            documents = getattr(self, split)
            if not documents:
                raise DataError(f"corpus {self.name!r}: the {split} split has no documents; give at least one.")
            for index, document in enumerate(documents):
                if not document.strip():
                    raise DataError(f"corpus {self.name!r}: {split} document {index} is empty; leave empty texts out.")
                where = seen.setdefault(document, f"{split} document {index}")
                if where != f"{split} document {index}":
                    raise DataError(
                        f"corpus {self.name!r}: {split} document {index} repeats {where}; leave one of them out, or "
                        "make the splits with split_documents."
                    )

    @property
    def hash(self) -> str:
        """sha256 of the documents of each split, in order; independent of the name."""
        content = [getattr(self, split) for split in SPLITS]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def split_documents(
    name: str,
    documents: Sequence[str],
    sizes: tuple[int, int, int],
    seed: int = 0,
    near: float | int | None = 0.8,
    characters: int | None = None,
) -> Corpus:
    """Splits documents by a hash of their content, so that their order does not matter.

    A document gives one passage at most, so that no file is in two splits.

    Args:
        name: of the corpus.
        documents: the documents; duplicates and empty ones are left out.
        sizes: the number of documents in train, validation and test, each at least 1.
        seed: the same documents and seed give the same splits.
        near: of documents that share at least this much of their words (see `near_duplicates`) one is used; `None`
            leaves out repeated documents only. Holds for passages too.
        characters: use a `passage` of this length of each document; whole documents where absent.

    Returns:
        The corpus; documents beyond the sizes are left out.

    Raises:
        DataError: fewer distinct documents than the sum of the sizes, or passages without characters.

    Example:
        >>> files = [f"x = {i}\\n" * 40 for i in range(3)]
        >>> split_documents("python", files, (1, 1, 1), characters=12).train
        ('x = 2\\nx = 2\\n',)
    """
    ranked = sorted({text for text in documents if text.strip()}, key=lambda text: _rank(text, seed))
    ranked, repeated = _without_near(ranked, near)
    if characters is not None:
        passages = dict.fromkeys(passage(text, characters, seed) for text in ranked)
        ranked, more = _without_near([text for text in passages if text.strip()], near)
        repeated += more
    if min(sizes) < 1 or len(ranked) < sum(sizes):
        raise DataError(
            f"corpus {name!r}: {len(ranked)} different documents for splits of {sizes} ({repeated} near "
            "duplicates are left out); give more documents, or smaller splits of at least one document each."
        )
    first, second, last = sizes[0], sizes[0] + sizes[1], sum(sizes)
    splits = (ranked[:first], ranked[first:second], ranked[second:last])
    found = {split: tuple(texts) for split, texts in zip(SPLITS, splits, strict=True)}
    return Corpus(name=name, **found, near_duplicates=repeated)


def join_corpora(name: str, corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of several: code of several languages as one broad skill, or prose of several kinds.

    Args:
        name: of the joint corpus.
        corpora: at least one; they weigh as many documents as they have.

    Returns:
        The documents of each split, corpus by corpus.

    Raises:
        DataError: no corpora, or a document that occurs twice.
    """
    splits = {split: tuple(chain.from_iterable(getattr(one, split) for one in corpora)) for split in SPLITS}
    return Corpus(name=name, **splits, near_duplicates=sum(one.near_duplicates for one in corpora))


def passage(document: str, characters: int, seed: int = 0) -> str:
    """Some consecutive characters of a document, at a place that its content and the seed decide.

    Args:
        document: the document.
        characters: the length; a shorter document is returned whole.
        seed: the same document and seed give the same place.

    Returns:
        The passage. It begins with a line, or with a word where the line began more than `characters` before.

    Raises:
        DataError: fewer than one character.
    """
    if characters < 1:
        raise DataError(f"passages of {characters} characters; give at least one, such as 600.")
    drawn = int(_rank(document, seed), 16) % (max(len(document) - characters, 0) + 1)
    line, word = (document.rfind(before, 0, drawn) + 1 for before in ("\n", " "))
    start = line if drawn - line <= characters else max(line, word)
    return document[start : start + characters]


@shown()
@dataclass(frozen=True, kw_only=True)
class TextContrast:
    """Two named sets of documents; each is cut to its first `max_tokens` tokens, BOS included.

    Raises:
        DataError: a class has no documents, a document is empty, or `max_tokens` is below 2.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for side in ("positive", "negative"):
            documents = getattr(self, side)
            if not documents:
                raise DataError(f"text contrast {self.name!r}: the {side} side has no documents; give at least one.")
            for index, document in enumerate(documents):
                if not document.strip():
                    raise DataError(
                        f"text contrast {self.name!r}: {side} document {index} is empty; leave empty texts out."
                    )
        if self.max_tokens is not None and self.max_tokens < 2:
            raise DataError(
                f"text contrast {self.name!r}: max_tokens is {self.max_tokens}; give 2 or more (BOS and one token)."
            )

    @property
    def n(self) -> int:
        """The number of documents of both classes."""
        return len(self.positive) + len(self.negative)

    @property
    def hash(self) -> str:
        """sha256 of the documents of both classes, in order, and of `max_tokens`; independent of the name."""
        content = [self.positive, self.negative, self.max_tokens]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _without_near(texts: list[str], near: float | int | None) -> tuple[list[str], int]:
    """Texts without the near duplicates of earlier ones, and how many these are."""
    groups = near_duplicates(texts, near) if near is not None else ()
    repeated = {index for group in groups for index in group[1:]}
    return [text for index, text in enumerate(texts) if index not in repeated], len(repeated)


def _rank(document: str, seed: int) -> str:
    """Sort key of a document in the order given by a seed."""
    return hashlib.sha256(f"{seed} {document}".encode()).hexdigest()
