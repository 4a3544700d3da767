"""Low-level file reading: bytes, text, and rows with their line numbers. `lens_steer.data.readers` interprets the rows.

    bytes    plain or gzip; a folder, an archive, a PyTorch file or a Git LFS pointer raises an error that names it
    text     UTF-8, with or without byte order mark; UTF-16 and UTF-32 with one; otherwise the invalid byte is named
    rows     JSON lines, a JSON list, consecutive JSON values, JSON columns, CSV and TSV, Parquet

Lines end only at "\\n", "\\r\\n" or "\\r", because U+2028, U+2029 and U+0085 can occur inside JSON strings.
"""

import codecs
import csv
import gzip
import importlib
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from lens_steer.errors import DataError

BOMS = (  # the long ones first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
FOREIGN = (
    (b"BZh", "compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"ARROW1", "an Arrow file; load it with datasets.load_from_disk and give the dataset"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data; run git lfs pull"),
)
PARQUET = b"PAR1"
TRUNCATED = "the file may be truncated: fetch it again"
DEEPEST = 64
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Skipped:
    """An unusable entry: the line where it starts, the reason (for counting), and the detail."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Record:
    """One row of a file: its number from 1 (the line number in line formats), the line where it starts, its value."""

    number: int
    line: int
    value: Any


@dataclass(frozen=True)
class Rows:
    """The rows of a file, the container format, and the entries that could not be parsed."""

    container: str
    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...] = ()


def read_bytes(path: Path) -> bytes:
    """The content of a file, gunzipped.

    Raises:
        DataError: it is missing, a folder, or in a format that is not text or a table.
    """
    if path.is_dir():
        raise DataError(f"{path}: cannot be read as a file: it is a folder; give one of its files, or a pattern.")
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a text file, plain or gzipped.") from error
    if data.startswith(b"PK\x03\x04"):
        if b"/data.pkl" in data[:4096]:
            raise DataError(f"{path}: a PyTorch file; tensors are imported as vectors, not read as data.")
        raise DataError(f"{path}: a zip archive; unpack it and give one of its files.")
    for magic, what in FOREIGN:
        if data.startswith(magic):
            raise DataError(f"{path}: {what}.")
    return data


def stem(path: Path) -> str:
    """A file's name without folder and suffix, and without `.gz`."""
    return Path(path.name.removesuffix(".gz")).stem


def decode(data: bytes, name: str) -> str:
    """Bytes as text, without a byte order mark.

    Raises:
        DataError: bytes that are not UTF-8 (nor UTF-16 or UTF-32 with a mark), or NUL; byte and line are named.
    """
    encoding = next((encoding for mark, encoding in BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        latin = data[max(0, error.start - 10) : error.start + 10].decode("latin-1").split("\n")[-1]
        hint = f"; as Latin-1 it would read {latin!r}: write it as UTF-8 again" if encoding == "utf-8" else ""
        raise DataError(
            f"{name}, line {line}: not a text in UTF-8 or UTF-16: byte {error.start} is 0x{data[error.start]:02x}{hint}"
        ) from error
    if "\0" in text:
        at = text.index("\0")
        line = text.count("\n", 0, at) + 1
        raise DataError(
            f"{name}, line {line}: not a text in UTF-8: character {at} is NUL; it is a binary file, or UTF-16 without "
            "byte order mark."
        )
    return text


def lines(text: str) -> list[str]:
    """The lines of a text, without line ends."""
    return re.split(r"\r\n|\n|\r", text)


def with_plain_ends(text: str) -> str:
    """A text with all line ends replaced by a line feed."""
    return "\n".join(lines(text))


def read_parquet(path: Path) -> Rows:
    """The rows of a Parquet file.

    Raises:
        DataError: `pyarrow` is not installed, or the file is damaged.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: Parquet needs the package 'pyarrow'; pip install lens-steer[datasets].") from error
    try:
        values = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}).") from error
    return numbered("Parquet", values)


def numbered(container: str, values: Sequence[Any]) -> Rows:
    """Values as rows numbered from 1."""
    return Rows(container, tuple(Record(i, i, value) for i, value in enumerate(values, 1)))


def json_rows(text: str, name: str) -> Rows | None:
    """The rows of a JSON text, or None where the text is not JSON.

    Args:
        text: of the file.
        name: of the file, for errors.

    Returns:
        One record per value of JSON lines or of consecutive values, per element of a list, per row of columns
        (`{"input": [...], "output": [...]}`), or per entry of an object of texts (with the field `name`).

    Raises:
        DataError: a truncated list, or an object with several lists of rows.
    """
    start = _end_of_space(text, 0)
    if text[start : start + 1] not in ("{", "[", '"'):
        return None
    first_end = _value_end(text, start)
    if text[start] == "[" and (first_end is None or _end_of_space(text, first_end) == len(text)):
        return (
            _list_rows(text, start, name) if first_end is not None or text[start + 1 :].lstrip()[:1] in '{["' else None
        )
    if first_end is not None and "\n" in text[start:first_end]:
        found = list(_values(text, start))
        values = [value for value in found if value is not None]
        if len(values) < len(found):
            line = text.count("\n", 0, start) + 1 + values[-1][0]
            raise DataError(f"{name}, after line {line}: not valid JSON; {TRUNCATED}.")
        records = tuple(Record(i, line, value) for i, (line, value) in enumerate(values, 1))
        rows = Rows("JSON values", records)
        return (_single(values[0][1], name) or rows) if len(values) == 1 else rows
    rows = _line_rows(text)
    if text[start] != "{" and len(rows.skipped) >= len(rows.records):
        return None
    if not rows.records:
        return rows if text[start : start + 2] in ('{"', "{\n", "{\r") else None
    return _single(rows.records[0].value, name) or rows if len(rows.records) == 1 and not rows.skipped else rows


def _line_rows(text: str) -> Rows:
    """JSON lines; a line may hold several values."""
    records, skipped, several = [], [], False
    for number, line in enumerate(text.split("\n"), 1):
        found = list(_values(line, _end_of_space(line, 0))) if line.strip() else []
        several |= len(found) > 1
        for value in found:
            if value is None:
                skipped.append(
                    Skipped(number, "not valid JSON", f"not valid JSON ({line.strip()[:60]!r}); {TRUNCATED}")
                )
            else:
                records.append(Record(len(records) + 1 if several else number, number, value[1]))
    if several:
        records = [Record(i, record.line, record.value) for i, record in enumerate(records, 1)]
    return Rows("JSON values" if several else "JSON lines", tuple(records), tuple(skipped))


def _list_rows(text: str, start: int, name: str) -> Rows:
    """The elements of one JSON list, each with its line."""
    records: list[Record] = []
    at, line, counted = _end_of_space(text, start + 1), 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = _decoded(text, at)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{name}, line {line}: not valid JSON in entry {len(records) + 1} of the list; {TRUNCATED}."
            ) from error
        records.append(Record(len(records) + 1, line, value))
        at = _end_of_space(text, at)
        if text[at : at + 1] == ",":
            at = _end_of_space(text, at + 1)
    if _end_of_space(text, at + 1) < len(text):
        line += text.count("\n", counted, at)
        raise DataError(
            f"{name}, line {line}: not valid JSON: the list ends there, and the file does not; {TRUNCATED}."
        )
    return Rows("JSON list", tuple(records))


def _single(value: Any, name: str) -> Rows | None:
    """The rows of a file that holds one object: columns, rows under a name, or texts under names."""
    if not isinstance(value, Mapping) or not value:
        return None
    entries = list(value.values())
    if all(isinstance(entry, list) for entry in entries) and len({len(entry) for entry in entries}) == 1:
        if not any(isinstance(cell, Mapping) for entry in entries for cell in entry):
            return numbered("JSON columns", [dict(zip(value, row, strict=True)) for row in zip(*entries, strict=True)])
    tables = [
        key for key, entry in value.items() if isinstance(entry, list) and entry and isinstance(entry[0], Mapping)
    ]
    if len(tables) > 1:
        raise DataError(f"{name}: one object with several lists ({', '.join(tables)}); write each to its own file.")
    if tables:
        return numbered(f"JSON list {tables[0]!r}", value[tables[0]])
    if len(value) > 1 and all(isinstance(entry, str) and "\n" in entry for entry in entries):
        return numbered("JSON object of texts", [{"name": key, "text": entry} for key, entry in value.items()])
    return None


def _values(text: str, at: int) -> Iterator[tuple[int, Any] | None]:
    """Consecutive JSON values with their lines; yields None and stops where the rest is not JSON."""
    line, counted = 1, 0
    while at < len(text):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = _decoded(text, at)
        except (ValueError, RecursionError):
            yield None
            return
        yield line, value
        at = _end_of_space(text, at)


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that starts at `at`, and its end.

    Raises:
        ValueError, RecursionError: it is not valid, or nested more deeply than any data are.
    """
    value, end = _DECODER.raw_decode(text, at)
    level = [value]
    for _ in range(DEEPEST):
        level = [
            entry
            for one in level
            if isinstance(one, list | dict)
            for entry in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value, end
    raise ValueError("nested too deeply")


def _value_end(text: str, at: int) -> int | None:
    """The end of the JSON value that starts at `at`; None where there is no valid value."""
    try:
        return _decoded(text, at)[1]
    except (ValueError, RecursionError):
        return None


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def table_rows(text: str, name: str) -> Rows | None:
    """The rows of a CSV or TSV text, with the first row as column names; None where it is not a table.

    A table without header whose last column is an option letter (MMLU) gets the column names `question`, `A`, `B`, ...,
    `answer`.

    Raises:
        DataError: an unclosed quote, or a cell longer than the limit of `csv`.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    cells: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                cells.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}, line {line}: not a CSV table ({error}); mend it, or give JSON lines.") from error
    if not cells:
        return None
    header, body = first_row(text), cells[1:]
    if is_headless(header):
        header, body = ["question", *ascii_uppercase[: len(header) - 2], "answer"], cells
    if len(set(header)) < len(header) or not all(header):
        return None
    width = len(header)
    records = tuple(Record(line, line, dict(zip(header, row, strict=True))) for line, row in body if len(row) == width)
    ragged = tuple(
        Skipped(line, "another number of cells", f"{len(row)} cells; the table has {width} columns")
        for line, row in body
        if len(row) != width
    )
    return Rows("TSV" if _delimiter(text) == "\t" else "CSV", records, ragged)


def first_row(text: str) -> list[str]:
    """The cells of a table's first row."""
    found = next(csv.reader(io.StringIO(text.lstrip("\r\n")[:10_000], newline=""), delimiter=_delimiter(text)), [])
    return [cell.strip() for cell in found]


def is_headless(row: Sequence[str]) -> bool:
    """Whether the first row is data in MMLU's format: its last cell is an option letter."""
    return len(row) >= 4 and row[-1] in tuple(ascii_uppercase[: len(row) - 2])


def _delimiter(text: str) -> str:
    head = text.lstrip("\r\n").split("\n", 1)[0]
    return "\t" if "\t" in head else max(",;", key=head.count)
