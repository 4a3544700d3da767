"""A folder of results as it is found: record, tables, figures, and whether each file is what the run wrote.

    verified        the sha256 that run.json gives             changed         another one
    missing         in run.json, not in the folder             not recorded    in the folder, not in run.json

Tables of lens_steer are read with their checks. A plain CSV must be whole: every row as long as the first, and the last
line ended.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer._util.files import CHECKSUM, checksum, write_whole
from lens_steer.data.tables import load_table
from lens_steer.errors import FormatError

RECORD, SCHEMA_OF, SCHEMA = "run.json", "lens_steer", 1
KINDS = (".csv", ".png", ".pdf", ".safetensors")
"""What is taken for a result; of other files, only those that the record names."""
VERIFIED, CHANGED, MISSING, UNRECORDED = "verified", "changed", "missing", "not recorded"
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class ResultTable:
    """One table of a folder; `kind` and `facts` are empty where it is plain CSV."""

    path: Path
    frame: Any
    kind: str = ""
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class ResultFolder:
    """All that was found; tables, figures and `states` by path below the folder, such as `broad/points.csv`."""

    folder: Path
    record: Mapping[str, Any]
    tables: Mapping[str, ResultTable]
    figures: Mapping[str, bytes]
    states: Mapping[str, str]

    def of(self, state: str) -> list[str]:
        """The files in one state."""
        return [name for name, found in self.states.items() if found == state]


def read_results(folder: str | Path) -> ResultFolder:
    """Reads a folder that `lens-steer reproduce`, `sweep` or `benchmark` wrote.

    Args:
        folder: where the results are.

    Returns:
        Everything in it that lens_steer writes.

    Raises:
        FormatError: there is no such folder, it holds no results, or a table, a figure or the record is truncated or
            foreign; the message names the file.
    """
    folder = Path(folder)
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    paths = {name.as_posix(): path for name, path in found.items() if _left_by_a_run(name)}
    record_path = folder / RECORD
    if not paths and not record_path.exists():
        raise FormatError(
            f"{folder}: holds no results ({RECORD}, tables or figures); give a folder that lens-steer reproduce wrote."
        )
    record = read_record(record_path) if record_path.exists() else {}
    return ResultFolder(
        folder=folder,
        record=record,
        tables={name: read_table(path) for name, path in paths.items() if path.suffix == ".csv"},
        figures={name: _read_figure(paths[name]) for name in _in_order(paths, record) if name.endswith(".png")},
        states=_states(folder, paths, record.get("written", {})),
    )


def read_table(path: Path) -> ResultTable:
    """Reads a table of any kind, or a plain CSV.

    Args:
        path: the file.

    Returns:
        The table.

    Raises:
        FormatError: it is truncated, edited or not a table.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run what wrote it again.") from error
    if text.startswith("# "):
        kind = _kind(text.partition("\n")[0])
        frame, facts = load_table(path, kind)
        return ResultTable(path=path, frame=frame, kind=kind, facts=facts)
    try:
        lengths = {len(row) for row in csv.reader(io.StringIO(text, newline=""))}
    except csv.Error as error:
        raise FormatError(f"{path}: not a table that can be read ({error}); run what wrote it again.") from error
    if len(lengths) != 1 or not text.endswith("\n"):
        end = "" if text.endswith("\n") else ", and the last one does not end"
        raise FormatError(
            f"{path}: truncated or not a table (it has rows of {sorted(lengths)} cells{end}); run what wrote it again."
        )
    try:
        frame = pd.read_csv(io.StringIO(text), keep_default_na=True)
    except ValueError as error:
        raise FormatError(f"{path}: not a table that can be read ({error}); run what wrote it again.") from error
    return ResultTable(path=path, frame=frame, facts={})


def read_record(path: Path) -> Mapping[str, Any]:
    """Reads the record of a run.

    Args:
        path: of a `run.json`.

    Returns:
        What was recorded, without schema and checksum. Records of versions that wrote neither are read as they stand.

    Raises:
        FormatError: it is truncated, changed, of a newer schema or not a record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        signed = isinstance(record, dict) and _is_signed(record)
        whole = not signed or record.get(CHECKSUM) == checksum(record, b"")
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: truncated or not JSON ({error}); run what wrote it again.") from error
    if not isinstance(record, dict) or not isinstance(record.get("written", {}), dict):
        raise FormatError(f"{path}: not the record of a run; expected an object whose 'written' names files.")
    if not whole:
        raise FormatError(
            f"{path}: changed after it was written (its checksum does not match); run what wrote it again, and give "
            "other settings in a TOML file or as options."
        )
    if signed and record.get(SCHEMA_OF) != SCHEMA:
        raise FormatError(f"{path}: a record of schema {record.get(SCHEMA_OF)!r}; expected {SCHEMA}.")
    return {name: value for name, value in record.items() if name not in (SCHEMA_OF, CHECKSUM)}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the record of a run whole, with its checksum.

    Args:
        path: of a `run.json`.
        record: what was run and written; what has no JSON form is written as text.
    """
    content = {SCHEMA_OF: SCHEMA, **json.loads(json.dumps(record, default=str))}
    write_whole(path, (json.dumps({**content, CHECKSUM: checksum(content, b"")}, indent=1) + "\n").encode())


def _is_signed(record: Mapping[str, Any]) -> bool:
    """Whether a record was written with a checksum: one of its three marks is enough, the others may be broken."""
    last = str([*record.values(), None][len(record) - 1])
    return not record.keys().isdisjoint((SCHEMA_OF, CHECKSUM)) or bool(re.fullmatch("[0-9a-f]{64}", last))


def _left_by_a_run(name: Path) -> bool:
    """Whether a file, by its path below the folder, is a result."""
    return name.suffix in KINDS and not any(part.startswith(".") or part == "checkpoint" for part in name.parts)


def _in_order(paths: Mapping[str, Path], record: Mapping[str, Any]) -> list[str]:
    """What the run wrote in the order in which it did, then the rest."""
    written = [name for name in record.get("written", {}) if name in paths]
    return [*written, *(name for name in paths if name not in written)]


def _read_figure(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_PNG) or b"IEND" not in content[-12:]:
        raise FormatError(f"{path}: truncated or not a PNG; draw the figure again.")
    return content


def _kind(first_line: str) -> str:
    """The kind that a table's header claims; none where it is no header, which `load_table` then says."""
    try:
        return str(json.loads(first_line.removeprefix("# "))["kind"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "table"


def _states(folder: Path, paths: Mapping[str, Path], written: Mapping[str, str]) -> dict[str, str]:
    """The state of every result that is there, and of every file that should be."""
    states = dict.fromkeys(paths, UNRECORDED)
    for name, digest in written.items():
        path = folder / name
        if not path.is_file():
            states[name] = MISSING
        else:
            states[name] = VERIFIED if hashlib.sha256(path.read_bytes()).hexdigest() == digest else CHANGED
    return dict(sorted(states.items()))
