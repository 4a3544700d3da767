"""`read`: reads a published file, a table with named columns, a folder or a dataset, and detects its format.

    format = the first entry of `FORMATS` whose fields most of the first rows have      (by content, not by file name)

Unusable entries are counted by reason and listed with their lines; above the share `max_skipped`, reading fails.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.contrast import ContrastPair
from lens_steer.data.files import (
    PARQUET,
    Record,
    Rows,
    Skipped,
    decode,
    first_row,
    is_headless,
    json_rows,
    numbered,
    read_bytes,
    read_parquet,
    stem,
    table_rows,
)
from lens_steer.data.in_context import TEMPLATE, InContextTask
from lens_steer.data.readers import bbq, ethics, examples, model_written, multiple_choice, pairs, texts, truthful_qa
from lens_steer.data.readers.core import Document, Entry, Format, Row, convert, plain
from lens_steer.errors import DataError

FORMATS: tuple[Format, ...] = (
    model_written.FORMAT, bbq.FORMAT, truthful_qa.CHOICES, truthful_qa.TABLE, multiple_choice.FORMAT,
    multiple_choice.ARC, ethics.COMMONSENSE, ethics.SCENARIOS, *pairs.FORMATS, examples.FORMAT, texts.FORMAT,
)  # fmt: skip
SAMPLE, LISTED = 50, 3


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The result of `read`: entries of one kind, their source, and the skipped entries.

    `entries` are multiple-choice items, contrast pairs or documents; `items`, `choices`, `pairs`, `texts` and `task`
    return them as the input of other functions, and raise `DataError` where the file has entries of another kind.
    """

    source: str
    name: str
    format: str
    container: str
    sha256: str
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...] = ()

    def _line(self) -> str:
        what = {MultipleChoiceItem: "items", ContrastPair: "pairs", Document: "texts"}[type(self.entries[0])]
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.skipped_by_reason.items())
        left = f"{len(self.skipped)} skipped{f' ({reasons})' if reasons else ''}"
        return f"Reading({self.name}: {len(self.entries)} {what}, {self.format}, {self.container}, {left})"

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """The number of skipped entries by reason, most frequent first."""
        return dict(Counter(one.reason for one in self.skipped).most_common())

    @property
    def items(self) -> tuple[MultipleChoiceItem, ...]:
        """The questions with all options, in published order; pairs that end in option letters are converted."""
        if all(isinstance(entry, ContrastPair) and entry.group and entry.prompt for entry in self.entries):
            return tuple(model_written.pair_item(pair) for pair in self.pairs)
        return self._only(MultipleChoiceItem, "questions with options")

    @property
    def choices(self) -> tuple[ChoiceItem, ...]:
        """One two-choice item per question: the answer and the first option it is contrasted with."""
        found = [(item, item.choice_items()[0]) for item in self.items]
        return tuple(
            ChoiceItem(id=item.id, stem=choice.stem, matching=choice.matching, other=choice.other)
            for item, choice in found
        )

    @property
    def pairs(self) -> tuple[ContrastPair, ...]:
        """The contrast pairs."""
        return self._only(ContrastPair, "contrast pairs")

    def texts(self, group: str | None = None) -> tuple[str, ...]:
        """The texts of the documents, optionally of one group (label, category or file suffix)."""
        documents = self._only(Document, "texts")
        found = tuple(one.text for one in documents if group in (None, one.group))
        if not found:
            groups = ", ".join(sorted({repr(one.group) for one in documents}))
            raise DataError(f"{self.source}: no text of group {group!r}; there are {groups}.")
        return found

    def task(self, template: str = TEMPLATE) -> InContextTask:
        """Inputs with outputs as an in-context task; a repeated input keeps its first output.

        Args:
            template: the format of one pair.
        """
        documents = [one for one in self._only(Document, "inputs with outputs") if one.answer]
        found = {one.text: one.answer for one in reversed(documents)}
        if not found:
            raise DataError(
                f"{self.source}: holds texts without outputs; a task needs fields such as input and output."
            )
        return InContextTask(name=self.name, pairs=tuple(reversed(found.items())), template=template)

    def to_frame(self) -> pd.DataFrame:
        """One row an entry, with the fields of its kind and the source."""
        rows = [{**vars(entry), "format": self.format, "source": self.source} for entry in self.entries]
        return pd.DataFrame(rows)

    def skipped_frame(self) -> pd.DataFrame:
        """One row a skipped entry: line, reason, detail."""
        return pd.DataFrame([vars(one) for one in self.skipped], columns=["line", "reason", "detail"])

    def _only(self, kind: type, what: str) -> Any:
        if not isinstance(self.entries[0], kind):
            raise DataError(
                f"{self.source}: asked for {what}, but the format is {self.format!r}: its entries are "
                f"{type(self.entries[0]).__name__}s; name the columns you mean with columns={{...}}."
            )
        return self.entries


def read(
    source: Any,
    *,
    format: str | None = None,
    columns: Mapping[str, str | list[str]] | None = None,
    max_skipped: float | int = 0.05,
    pattern: str | Sequence[str] | None = None,
    each: Literal["file", "line"] = "file",
) -> Reading:
    """Reads questions, contrast pairs or texts from a file, a folder or a dataset.

    Args:
        source: a path (also gzipped), an open file, a folder with a `pattern`, a `datasets.Dataset`, a data frame or a
            list of rows.
        format: the name of one of `FORMATS`; detected from the content where absent.
        columns: maps fields to the file's columns: `{"question": "q", "options": ["a", "b"], "answer": "key"}`,
            `{"positive": "good", "negative": "bad"}`, `{"input": "x", "output": "y"}` or `{"text": "body"}`.
        max_skipped: the largest allowed share of unusable entries.
        pattern: the files of a folder, such as `"**/*.py"`, each one document; or several patterns, of which those
            that begin with `!` leave files or folders out, such as `("**/*.py", "!**/tests")`.
        each: whether a document of plain text is the whole file or a line.

    Returns:
        The entries with their provenance and the skipped entries.

    Raises:
        DataError: no usable entry, more than `max_skipped` unusable, or an unknown source; file and line are named.

    Example:
        >>> found = read([{"question": "2 + 2?", "choices": ["3", "4", "5"], "answer": 1}])
        >>> found.format, found.items[0].options[found.items[0].answer]
        ('multiple choice', '4')
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir() and pattern is not None:
            patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
            entries, skipped, digest = texts.folder(path, patterns)
            container = f"folder, {' '.join(patterns)}"
            return Reading(
                source=str(path), name=path.name, format="files", container=container, sha256=digest,
                entries=entries, skipped=skipped,
            )  # fmt: skip
        where, name = str(path), stem(path)
        data = read_bytes(path)
        if path.is_file() and not data.strip(b" \t\r\n\xef\xbb\xbf"):
            raise DataError(f"{where}: the file is empty.")
        rows = (
            read_parquet(path) if data.startswith(PARQUET) else _rows_of_text(path, decode(data, where), columns, each)
        )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    elif hasattr(source, "read"):
        content = source.read()
        where = str(getattr(source, "name", "stream"))
        name, data = stem(Path(where)), content.encode() if isinstance(content, str) else content
        rows = _rows_of_text(Path(where), decode(data, where), columns, each)
        digest = hashlib.sha256(data).hexdigest()
    else:
        rows, where = _rows_of_object(source), f"{type(source).__name__}"
        name = where
        content = json.dumps([record.value for record in rows.records], ensure_ascii=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()
    rows = _named(_prompts(rows), columns, where)
    form = _format(rows, format, where)
    entries, skipped = convert(rows, form, name)
    _require_usable(entries, skipped, form.name, max_skipped, where)
    return Reading(
        source=where, name=name, format=form.name, container=rows.container, sha256=digest, entries=entries,
        skipped=skipped,
    )  # fmt: skip


def _require_usable(
    entries: Sequence[Any], skipped: Sequence[Skipped], form: str, max_skipped: float, where: str
) -> None:
    """Raises where no entry is usable, or more than `max_skipped` are not."""
    n = len(entries) + len(skipped)
    if not entries or len(skipped) > max_skipped * n:
        reasons = Counter(one.reason for one in skipped)
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        first = "; ".join(f"line {one.line}: {one.detail}" for one in skipped[:LISTED]).rstrip(".")
        raise DataError(
            f"{where}: {len(skipped)} of {n} entries cannot be used as {form} ({said}): {first}. "
            f"{'No entry is left' if not entries else f'More than max_skipped={max_skipped}'}; mend the file, name its "
            "columns, or allow more."
        )


def _rows_of_text(path: Path, text: str, columns: Mapping[str, Any] | None, each: str) -> Rows:
    """The rows of a text: JSON, a table with known columns, or documents."""
    rows = json_rows(text, str(path))
    if rows is not None:
        return rows
    header, is_table = first_row(text), Path(path.name.removesuffix(".gz")).suffix.lower() in (".csv", ".tsv")
    fields = Row(dict.fromkeys(header, ""), "")
    known = any(form.fits(fields) for form in FORMATS if is_table or form is not texts.FORMAT) or is_headless(header)
    if known or columns is not None:
        table = table_rows(text, str(path))
        if table is not None and (table.records or table.skipped):
            return table
    if is_table:
        raise DataError(
            f"{path}, line 1: a table without rows, or of no known format; name its columns ({', '.join(header)}) with "
            "columns={...}."
        )
    return texts.plain_rows(text, each)


def _rows_of_object(source: Any) -> Rows:
    """The rows of a data frame, a dataset, or any sequence of rows."""
    if isinstance(source, pd.DataFrame):
        return numbered("data frame", source.to_dict("records"))
    if isinstance(source, Mapping):
        raise DataError(
            f"an object with {', '.join(map(str, source))}; give one split of it, such as dataset['train']."
        )
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise DataError(f"{type(source).__name__}: give a path, a dataset, a data frame or a list of rows.")
    return numbered("dataset" if hasattr(source, "column_names") else "rows", list(source))


def _prompts(rows: Rows) -> Rows:
    """Splits few-shot prompts into their questions; returns other rows unchanged."""
    if rows.container != "JSON object of texts":
        return rows
    found = [multiple_choice.shots(record.value["name"], record.value["text"]) for record in rows.records]
    shots = [shot for some in found if some for shot in some]
    return numbered("few-shot prompts", shots) if all(found) else rows


def _named(rows: Rows, columns: Mapping[str, str | list[str]] | None, where: str) -> Rows:
    """Rows with the columns renamed to fields."""
    if columns is None or not rows.records:
        return rows
    there = {
        plain(name) for record in rows.records[:SAMPLE] if isinstance(record.value, Mapping) for name in record.value
    }
    asked = [one for names in columns.values() for one in ([names] if isinstance(names, str) else names)]
    missing = [name for name in asked if plain(name) not in there]
    if missing:
        raise DataError(f"{where}: there is no column {', '.join(missing)}; it has {', '.join(sorted(there))}.")

    def renamed(value: Any) -> Any:
        row = Row(value, "")
        return {
            ours: row.get(names) if isinstance(names, str) else [row.get(name) for name in names]
            for ours, names in columns.items()
        }

    return Rows(
        rows.container, tuple(Record(one.number, one.line, renamed(one.value)) for one in rows.records), rows.skipped
    )


def _format(rows: Rows, name: str | None, where: str) -> Format:
    """The format of this name, or the first format that fits most of the first rows."""
    if name is not None:
        named = [form for form in FORMATS if form.name == name]
        if not named:
            raise DataError(
                f"{where}: no format {name!r}; there are {', '.join(dict.fromkeys(f.name for f in FORMATS))}."
            )
        return max(named, key=lambda form: sum(form.fits(Row(record.value, "")) for record in rows.records[:SAMPLE]))
    sample = [Row(record.value, "") for record in rows.records[:SAMPLE]]
    for form in FORMATS:
        if sample and 2 * sum(form.fits(row) for row in sample) > len(sample):
            return form
    if not sample:
        said = "".join(f"; {len(rows.skipped)} unusable, line {one.line}: {one.detail}" for one in rows.skipped[:1])
        raise DataError(f"{where}: holds no entry{said.rstrip('.')}.")
    first = rows.records[0]
    fields = ", ".join(map(str, first.value)) if isinstance(first.value, Mapping) else type(first.value).__name__
    raise DataError(
        f"{where}, line {first.line}: rows with the fields {fields} are of no known format; name them with "
        "columns={'question': ..., 'options': [...], 'answer': ...}, {'positive': ..., 'negative': ...}, {'text': ...}."
    )
