"""Reader of contrast pairs: a positive and a negative text, with or without a prompt that both continue.

    dialz             positive, negative
    steering-bench    prompt, positive_response, negative_response
    repepo            positive {"prompt", "response"}, negative {"prompt", "response"}
    preferences       prompt, chosen, rejected
    others            the rows of `SIDES`

Where the two texts are the same question followed by different letters, the question becomes the prompt and the letters
the completions, grouped by the positive letter.
"""

import re
from typing import Any

from lens_steer.data.contrast import ContrastPair
from lens_steer.data.readers.core import Format, Row, Unusable, checked

SIDES = (
    ("positive", "negative"), ("positive_response", "negative_response"), ("chosen", "rejected"),
    ("honest", "deceptive"), ("text", "false"), ("text", "harmful_version"), ("sentence_good", "sentence_bad"),
    ("sent_more", "sent_less"), ("agree", "disagree"),
)  # fmt: skip
PROMPT = ("prompt", "question", "instruction", "bio")
_LETTER = re.compile(r"\s*(\(?([A-Z])\)?)\s*")
_LAST = re.compile(r"(?<=\s)\([A-Z]\)\s*\Z|(?<=\n)[A-Z]\)?\s*\Z")


def _reader(positive: str, negative: str) -> Format:
    """The format of one pair of field names."""

    def pair(row: Row) -> ContrastPair:
        prompt, texts = row.label(*PROMPT), []
        for name in (positive, negative):
            cell = row.get(name)
            if isinstance(cell, dict):
                own = Row(cell, row.id)
                prompt, cell = own.label("prompt") or prompt, own.get("response", "completion", "text")
            texts.append(_said(cell, name))
        shared, texts = _shared(*texts) if not prompt else (prompt, texts)
        if texts[0].strip() == texts[1].strip():
            raise Unusable("equal texts", f"both texts read {texts[0][:60]!r}; a pair needs two different ones")
        letters = [_LETTER.fullmatch(text) for text in texts]
        group = letters[0][2] if letters[0] and letters[1] else ""
        return ContrastPair(id=row.id, prompt=shared, positive=texts[0], negative=texts[1], group=group)

    return Format("contrast pairs", "pairs", ((positive,), (negative,)), pair)


def _said(cell: Any, name: str) -> str:
    """A text, or the last turn of a conversation."""
    if isinstance(cell, list) and cell and isinstance(cell[-1], dict):
        cell = cell[-1].get("content")
    return checked(cell, name)


def _shared(positive: str, negative: str) -> tuple[str, list[str]]:
    """Splits texts that differ only in a final letter into prompt and letters; otherwise the prompt is empty."""
    marks = [_LAST.search(text) for text in (positive, negative)]
    if marks[0] and marks[1] and positive[: marks[0].start()] == negative[: marks[1].start()]:
        return positive[: marks[0].start()], [positive[marks[0].start() :], negative[marks[1].start() :]]
    return "", [positive, negative]


FORMATS = tuple(_reader(*names) for names in SIDES)
