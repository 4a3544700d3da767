"""Result tables as files: one line of JSON, then CSV.

    # {"lens_steer": 3, "kind": "sweep", "rows": 12, "sha256": "...", "columns": {"site": "text", ...}, "facts": {...}}
    site,strength,...

Any CSV reader that skips lines starting with # can read it; floats are written so that they round-trip exactly. A file
that is truncated, edited, not of lens_steer or of a newer schema raises `FormatError`. A result of several tables
(`Tables`) is a folder of such files.

The checksum is of the other entries of the header and the CSV. Schema 2, whose checksum is of the CSV alone, and schema
1 are read too; the latter's names of columns, tables and facts are replaced by the current ones (`RENAMED`).
"""

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd

from lens_steer._util.files import CHECKSUM, checksum, write_whole
from lens_steer._util.shown import line, shown
from lens_steer.errors import FormatError

SCHEMA, WHOLE = 3, 3
RENAMED = {
    "letter_mass": "answer_probability",
    "effective_dose": "projected_strength",
    "dose": "projected_strength",
    "doses": "placements",
    "cell": "configuration",
    "cells": "configurations",
    "damage": "side_effect",
    "sound": "valid",
    "kept": "retained",
    "part": "split",
    "faithful": "as_published",
}
"""Names of schema 1 and their current names; matched alone or between underscores."""
_OLD = re.compile(rf"(?<![a-z])({'|'.join(RENAMED)})(?![a-z])")
T = TypeVar("T", bound="Tables")


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """A result of several tables; each field of a subclass is a data frame, saved as one file.

    `kind` names the type of result; `facts` are JSON values that apply to all of its frames. `later` are tables that
    results of earlier versions lack; they are empty then.
    """

    kind: ClassVar[str]
    later: ClassVar[tuple[str, ...]] = ()
    facts: Mapping[str, Any]

    def __init_subclass__(cls) -> None:
        setattr(cls, "__repr__", line)  # noqa: B010

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(field.name for field in fields(cls) if field.name != "facts")

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, which is that of their file."""
        return {name: getattr(self, name) for name in self.names()}

    def save(self, folder: str | Path) -> list[Path]:
        """Writes one file per frame; `load` reads them back.

        Args:
            folder: created where it does not exist.

        Returns:
            The paths written.
        """
        return [
            save_table(Path(folder) / f"{name}.csv", f"{self.kind} {name}", frame, dict(self.facts))
            for name, frame in self.tables().items()
        ]

    @classmethod
    def load(cls: type[T], folder: str | Path) -> T:
        """Reads what `save` wrote.

        Args:
            folder: of the files.

        Raises:
            FormatError: a file is missing, truncated, edited, foreign or of a newer schema; or files are of different
                results.
        """
        frames, facts = cls._read(folder)
        return cls(**frames, facts=facts)

    @classmethod
    def _read(cls, folder: str | Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        """The frames by name and their facts, for `load`, whose errors are raised."""
        old = {renamed(path.stem): path for path in sorted(Path(folder).glob("*.csv"))}
        names = [name for name in cls.names() if name in old or name not in cls.later]
        paths = {name: old.get(name, Path(folder) / f"{name}.csv") for name in names}
        read = {name: load_table(path, f"{cls.kind} {name}") for name, path in paths.items()}
        (first, (_, facts)), *others = read.items()
        if strange := [name for name, (_, other) in others if other != facts]:
            raise FormatError(
                f"{folder}: {first}.csv and {', '.join(f'{name}.csv' for name in strange)} are of different results "
                "(their headers differ in facts); save the result again in a folder of its own."
            )
        lacking = {name: pd.DataFrame() for name in cls.names() if name not in read}
        return {name: frame for name, (frame, _) in read.items()} | lacking, facts


def save_table(path: str | Path, kind: str, frame: pd.DataFrame, facts: dict[str, Any]) -> Path:
    """Writes a table with its metadata.

    Args:
        path: of the file; an existing file is replaced atomically.
        kind: the type of result.
        frame: columns of texts, numbers and booleans.
        facts: metadata of the whole table; numbers, texts, lists and dictionaries.

    Returns:
        The path written. The same table gives the same bytes.

    Raises:
        FormatError: a fact has no JSON form.
    """
    body = frame.to_csv(index=False, lineterminator="\n")
    header = {
        "lens_steer": SCHEMA,
        "kind": kind,
        "rows": len(frame),
        "columns": {str(name): _type(pd.Series(frame[name])) for name in frame.columns},
        "facts": facts,
    }
    try:
        line = json.dumps({**header, CHECKSUM: checksum(header, body.encode())}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: a {kind} cannot be saved: {error}.") from error
    return write_whole(path, f"# {line}\n{body}".encode())


def load_table(path: str | Path, kind: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads a table that `save_table` wrote.

    Args:
        path: the file.
        kind: what sort of result it must be.

    Returns:
        The table, with the column types it had, and its facts.

    Raises:
        FormatError: there is no such file, or it is truncated, edited, foreign, of another kind or of a newer schema.
    """
    path = Path(path)
    try:
        first, _, body = path.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); give a {kind} saved by lens_steer.") from error
    try:
        header = json.loads(first.removeprefix("# "))
        schema, found, digest, columns = (header[key] for key in ("lens_steer", "kind", "sha256", "columns"))
        facts, content = header["facts"], body.encode()
        true = checksum(header, content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: not a table of lens_steer (its first line is no header of it).") from error
    old = schema == 1
    if (renamed(found) != renamed(kind) if old else found != kind) or not isinstance(schema, int) or schema > SCHEMA:
        raise FormatError(
            f"{path}: holds a {found!r} of schema {schema!r}; expected a {kind!r} of schema {SCHEMA} or lower."
        )
    if (true if schema >= WHOLE else hashlib.sha256(content).hexdigest()) != digest:
        raise FormatError(f"{path}: truncated or edited (its checksum does not match); save the {kind} again.")
    try:
        frame = pd.read_csv(io.StringIO(body, newline=""), dtype=str, keep_default_na=False, lineterminator="\n")
        typed = {name: _read(pd.Series(frame[name]), column) for name, column in columns.items()}
        frame = pd.DataFrame(typed, columns=list(frame.columns))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path}: its header does not fit its rows ({error}); save the {kind} again.") from error
    return (_as_today(frame), _facts_as_today(facts)) if old else (frame, facts)


def renamed(name: str) -> str:
    """The current name of a name of schema 1; unchanged names are returned as they are."""
    return _OLD.sub(lambda match: RENAMED[match[0]], name)


def _as_today(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of schema 1 with current names, in its columns and in values that are such names."""
    return frame.rename(columns=renamed).replace({old: new for old, new in RENAMED.items() if old == "faithful"})


def _facts_as_today(facts: Any) -> Any:
    """The facts of schema 1 with current names."""
    if isinstance(facts, dict):
        return {renamed(key): _facts_as_today(value) for key, value in facts.items()}
    return facts


def _type(column: pd.Series) -> str:
    """The type of a column: boolean, integer, number or text."""
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_float_dtype(column) else "text"


def _read(column: pd.Series, sort: str) -> pd.Series:
    """A column of texts converted back to its type."""
    if sort == "boolean":
        return column == "True"
    if sort == "integer":
        return column.astype("int64")
    if sort == "number":
        return pd.Series([float(text) if text else math.nan for text in column], index=column.index, dtype="float64")
    return column
