"""Shared parts of all readers: rows with tolerant field names, parsing of options in a question, and `Format`.

    Format(name, kind, needs, make)     `needs`: alternative names of each required field;  `make`: row -> entry

Field names are compared without case, spaces and punctuation; "behaviour" equals "behavior". An entry is a
multiple-choice item, a contrast pair or a document; an invalid row raises `Unusable` with a reason and a detail.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lens_steer._util.shown import shown
from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.contrast import ContrastPair
from lens_steer.data.files import Rows, Skipped
from lens_steer.errors import DataError

Kind = Literal["items", "pairs", "texts"]


@shown()
@dataclass(frozen=True, kw_only=True)
class Document:
    """A text, with its answer and group (label, category) where the file has them."""

    id: str
    text: str
    answer: str = ""
    group: str = ""


Entry = MultipleChoiceItem | ContrastPair | Document


class Unusable(DataError):
    """A row that cannot be converted: the reason (for counting), and optionally a more specific detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class Row:
    """A row whose fields can be looked up by alternative names."""

    def __init__(self, value: Any, id: str) -> None:
        """Takes a mapping; a text becomes the field `text`, two texts become `positive` and `negative`."""
        if isinstance(value, str):
            value = {"text": value}
        elif isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(text, str) for text in value):
            value = {"positive": value[0], "negative": value[1]}
        self.is_object = isinstance(value, Mapping)
        self.id = id
        cells = value.items() if isinstance(value, Mapping) else ()
        self._fields = {plain(name): _native(cell) for name, cell in cells}

    def get(self, *names: str) -> Any:
        """The first of these fields that exists and is not null; None otherwise."""
        return next((cell for name in names if (cell := self._fields.get(plain(name))) is not None), None)

    def has(self, *names: str) -> bool:
        """Whether one of these fields exists and is not null."""
        return self.get(*names) is not None

    def text(self, *names: str) -> str:
        """The first of these fields as non-empty text; raises `Unusable` otherwise."""
        return checked(self.get(*names), names[0])

    def label(self, *names: str) -> str:
        """The first of these fields as text; empty where there is none."""
        cell = self.get(*names)
        return cell if isinstance(cell, str) else "" if cell is None else str(cell)


@dataclass(frozen=True)
class Format:
    """A published format: the required fields of its rows, and the conversion of a row to an entry."""

    name: str
    kind: Kind
    needs: tuple[tuple[str, ...], ...]
    make: Callable[[Row], Entry]

    def fits(self, row: Row) -> bool:
        """Whether a row has the fields of this format."""
        return all(row.has(*names) for names in self.needs)


def _native(cell: Any) -> Any:
    """A cell with NumPy types converted to Python's."""
    if isinstance(cell, Mapping):
        return {name: _native(one) for name, one in cell.items()}
    return cell.tolist() if hasattr(cell, "tolist") else cell


def plain(name: object) -> str:
    """A field name normalised for comparison."""
    return re.sub(r"[^a-z0-9]", "", str(name).casefold()).replace("behaviour", "behavior")


def checked(cell: Any, name: str) -> str:
    """A cell as text, or `Unusable`."""
    if isinstance(cell, list | tuple) and len(cell) == 1:
        cell = cell[0]
    if not isinstance(cell, str):
        raise Unusable(
            f"lacks the text {name}", "" if cell is None else f"lacks the text {name}: it is {str(cell)[:40]!r}"
        )
    if not cell.strip():
        raise Unusable(f"the text {name} is empty")
    if not _is_unicode(cell):
        raise Unusable(f"the text {name} holds half of a surrogate pair")
    return cell


def convert(rows: Rows, form: Format, name: str) -> tuple[tuple[Entry, ...], tuple[Skipped, ...]]:
    """Converts rows to entries with ids `"<name>:<number>"`.

    Args:
        rows: of a file.
        form: their format.
        name: of the file, without folder and suffix.

    Returns:
        Entries and skipped rows, each in the file's order.
    """
    entries: list[Entry] = []
    skipped = list(rows.skipped)
    for record in rows.records:
        try:
            row = Row(record.value, f"{name}:{record.number}")
            if not row.is_object and record.value is not None:
                missing = f"lacks the text {form.needs[0][0]}"
                raise Unusable(missing, f"{missing}: it is of type {type(record.value).__name__}")
            entries.append(form.make(row))
        except DataError as error:
            reason = error.reason if isinstance(error, Unusable) else _reason(str(error))
            skipped.append(Skipped(record.line, reason, str(error)))
    return tuple(entries), tuple(sorted(skipped, key=lambda one: one.line))


def _reason(message: str) -> str:
    """A short reason for an item's error message, for counting."""
    known = {"differ": "equal options", "2 to 26": "not 2 to 26 options", "not empty": "an empty text"}
    return next((reason for word, reason in known.items() if word in message), "not an item")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


HEADER = re.compile(r"\n\s*(?:Choices|Options|Answers|Answer choices|Possible answers)\s*:[ \t]*\n", re.IGNORECASE)
STEM_END = re.compile(r"\s*\b(?:Choices|Options|Answers|Answer choices|Possible answers)\s*:\s*\Z", re.IGNORECASE)
STYLES = tuple(
    re.compile(rf"^[ \t]*{mark}[ \t]*", re.MULTILINE)
    for mark in (r"\(([A-Z])\)", r"([A-Z])\)", r"([A-Z])\.", r"([A-Z]):")
)
INLINE = re.compile(r"\(([A-Z])\)\s*")
TAIL = re.compile(r"\s*\bAnswer:\s*\Z|\n\s*\n(?:AI|Assistant|Answer):\s.*\Z", re.DOTALL)


def options_in(question: str) -> tuple[str, dict[str, str]] | None:
    """Splits a question into its stem and its lettered options.

    Options start with `(A)`, `A)`, `A.` or `A:` at the start of a line, optionally after a line such as "Choices:"; or
    are written `(A) ... (B) ...` in one line. Text after the last option ("Answer:", "AI: I choose (") is dropped.

    Returns:
        The stem, and the options by letter; None where there are no options.

    Raises:
        Unusable: a letter is repeated.
    """
    headers = list(HEADER.finditer(question))
    if headers:
        found = _marked(question[headers[-1].end() :], 0, STYLES)
        if found:
            return question[: headers[-1].start()], found
    for style in (*STYLES, INLINE):
        starts = [mark.start() for mark in style.finditer(question) if mark[1] == "A"]
        found = _marked(question, starts[-1], (style,)) if starts else None
        if found and len(found) > 1:
            return STEM_END.sub("", question[: starts[-1]]), found
    return None


def _marked(text: str, start: int, styles: Sequence[re.Pattern[str]]) -> dict[str, str] | None:
    """Options by letter, from the first style that marks some."""
    block = TAIL.sub("", text[start:])
    for style in styles:
        marks = list(style.finditer(block))
        if marks:
            ends = [mark.start() for mark in marks[1:]] + [len(block)]
            found: dict[str, str] = {}
            for mark, end in zip(marks, ends, strict=True):
                if mark[1] in found:
                    raise Unusable(f"the option ({mark[1]}) stands twice")
                found[mark[1]] = block[mark.end() : end].strip()
            return found
    return None
