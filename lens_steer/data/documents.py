"""Documents from files and from datasets on the Hub, as fixed tuples.

    read_documents    whole text files, or one document per line of JSON lines       paths and globs
    hub_documents     the first n documents of a shuffled stream                     the `datasets` package

A stream is read once into a tuple, so that every strength, site and vector is evaluated on the same documents.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lens_steer.data.files import decode, json_rows, read_bytes, with_plain_ends
from lens_steer.errors import DataError

BUFFER = 10_000


def read_documents(patterns: str | Path | Sequence[str | Path], field: str = "text") -> tuple[str, ...]:
    """Documents of local files.

    Args:
        patterns: paths or globs (`"src/**/*.py"`); a `.jsonl` file has one document per line, any other file is one
            document; both may be gzipped.
        field: the field of a JSON line with the document.

    Returns:
        The documents, in the order of the patterns and of the sorted file names; empty ones are left out.

    Raises:
        DataError: a pattern matches no file, a file is not UTF-8 text, or a line lacks the field.
    """
    documents: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str | Path) else patterns:
        path = Path(pattern)
        root = Path(path.anchor or ".")
        paths = sorted(found for found in root.glob(str(path.relative_to(path.anchor))) if found.is_file())
        if not paths:
            raise DataError(f"{pattern}: no such file; give a path or a glob that matches files.")
        documents += [text for path in paths for text in _file(path, field)]
    return tuple(text for text in documents if text.strip())


def hub_documents(
    name: str,
    n: int,
    field: str = "text",
    split: str = "train",
    config: str | None = None,
    keep: Callable[[Mapping[str, Any]], bool] | None = None,
    seed: int = 13,
) -> tuple[str, ...]:
    """The first documents of a shuffled, streamed dataset.

    Args:
        name: of a dataset on the Hub, or a local folder that `datasets.load_dataset` reads.
        n: the number of documents.
        field: the column with the document.
        split: of the dataset.
        config: the dataset's configuration, where it has several.
        keep: selects rows, such as `lambda row: row["meta"]["pile_set_name"] == "Github"`; all where absent.
        seed: of the streaming shuffle (buffer of 10,000 rows); 13 is the seed of van der Weij et al. 2024.

    Returns:
        n distinct documents, none of them empty.

    Raises:
        DataError: `datasets` is not installed, the dataset cannot be read, has no such column, or has too few.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name!r}: reading datasets needs the package 'datasets'; pip install lens-steer[datasets], or give local "
            "files to read_documents."
        ) from error
    try:
        stream = datasets.load_dataset(name, config, split=split, streaming=True).shuffle(seed=seed, buffer_size=BUFFER)
        documents = tuple(islice(_different(_texts(stream, name, field, keep)), n))
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"dataset {name!r}, split {split!r}: cannot be read ({error}).") from error
    if len(documents) < n:
        raise DataError(f"dataset {name!r}, split {split!r}: {len(documents)} distinct documents, fewer than n={n}.")
    return documents


def _file(path: Path, field: str) -> list[str]:
    """The documents of one file."""
    text = decode(read_bytes(path), str(path))
    if ".jsonl" not in path.suffixes or not text.strip():
        return [with_plain_ends(text)]
    rows = json_rows(text, str(path))
    if rows is None or rows.skipped:
        where = f"{path}, line {rows.skipped[0].line}" if rows else f"{path}"
        raise DataError(f"{where}: not JSON lines; mend the file, or let lens_steer.data.read.read skip such lines.")
    return list(_texts((record.value for record in rows.records), str(path), field, None))


def _texts(
    rows: Iterable[Any], name: str, field: str, keep: Callable[[Mapping[str, Any]], bool] | None
) -> Iterable[str]:
    """The documents of the selected rows."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not isinstance(row.get(field), str):
            has = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
            raise DataError(f"{name}, row {number}: no text in field {field!r} (it has {has}); name the right field.")
        if keep is None or keep(row):
            yield row[field]


def _different(texts: Iterable[str]) -> Iterable[str]:
    """The distinct non-empty texts."""
    seen: set[str] = set()
    for text in texts:
        if text.strip() and text not in seen:
            seen.add(text)
            yield text
