"""`run.json`: what a run was given, how it was planned, how far it has come, and the sha256 of every file it wrote.

It is written whole at the start, marked unfinished, and after each study. A run that finds the record of another one
with the same settings, data, model and libraries goes on after what that one finished; with any difference it refuses.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lens_steer._util.files import write_whole
from lens_steer.cli.reproduce.settings import RunSettings
from lens_steer.data.splits import SPLITS
from lens_steer.errors import SettingsError
from lens_steer.experiments.folder import RECORD, read_record
from lens_steer.experiments.study import Study
from lens_steer.model import fingerprint, versions

SAME = ("run", "model", "data", "corpora", "files", "versions")
"""What two runs must share for the second to go on with the first."""


class Record:
    """The record of one run; `content` is what `run.json` holds."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder, self.content = folder, content

    @classmethod
    def open(cls, folder: Path, begun: dict[str, Any], fresh: bool) -> "Record":
        """The record of a folder where it is of the same run, or a new one; version 0.1.0's is written over.

        Args:
            folder: of the results.
            begun: what the run was given.
            fresh: begin anew, whatever the folder holds.

        Raises:
            SettingsError: the folder holds another run.
        """
        path = folder / RECORD
        begun = json.loads(json.dumps(begun))
        if fresh or not path.is_file():
            return cls(folder, begun)
        earlier: Any = read_record(path)
        if "done" not in earlier:
            return cls(folder, begun)
        differing = list(_differing({k: earlier.get(k) for k in SAME}, {k: begun.get(k) for k in SAME}))
        if differing:
            said = "; ".join(differing[:4]) + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")
            raise SettingsError(
                f"{folder}: holds the results of another run ({said}). Give another --out, or --fresh to write over it."
            )
        return cls(folder, earlier)

    def write(self) -> None:
        """Writes `run.json` whole."""
        write_whole(self.folder / RECORD, (json.dumps(self.content, indent=1) + "\n").encode())

    def has(self, study: Study) -> bool:
        """Whether a study was finished, and every file of it is what was written."""
        files = self.content["done"].get(study.name, {}).get("files")
        return files is not None and all(self._is_whole(name) for name in files)

    def add(self, study: Study, files: list[Path], facts: Mapping[str, Any], seconds: float) -> None:
        """Notes a finished study, and writes the record."""
        names = {path.relative_to(self.folder).as_posix(): sha256(path) for path in files}
        self.content["done"][study.name] = {"seconds": round(seconds, 1), "files": list(names)}
        self.content["written"] |= names
        self.content["failed"].pop(study.name, None)
        self.content["left_out"].pop(study.name, None)
        self.content |= facts
        titles = self.content["experiment"].split(", ") if self.content["experiment"] else []
        self.content["experiment"] = ", ".join(dict.fromkeys([*titles, study.title]))
        self.write()

    def _is_whole(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and sha256(path) == self.content["written"].get(name)


def begin(settings: RunSettings, loaded: Any, command: list[str]) -> dict[str, Any]:
    """What a run is given, as its record begins.

    Args:
        settings: of the run.
        loaded: model, behaviours and corpora.
        command: the words that were typed.
    """
    run = {name: value for name, value in settings.to_dict().items() if name != "out"}
    behaviours, corpora = loaded.behaviours, loaded.corpora
    return {
        "command": command,
        "experiment": "",
        "finished": False,
        "run": run,
        "model": fingerprint(loaded.model).to_dict(),
        "data": {name: {"splits": splits.hash, **_sizes(splits)} for name, splits in behaviours.items()},
        "corpora": {name: {"hash": corpus.hash, **_sizes(corpus)} for name, corpus in corpora.items()},
        "files": {Path(path).name: sha256(Path(path)) for path in settings.data.values()},
        "versions": versions() | {"python": platform.python_version(), "platform": platform.platform()},
        "left_out": dict(loaded.left_out),
        "failed": {},
        "done": {},
        "written": {},
    }


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sizes(splits: Any) -> dict[str, int]:
    return {split: len(getattr(splits, split)) for split in SPLITS}


def _differing(earlier: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two nested mappings, in words."""
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*earlier, *now]):
            yield from _differing(earlier.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif earlier != now:
        yield f"{name} was {_short(earlier)} and is {_short(now)}"


def _short(value: Any) -> str:
    said = json.dumps(value)
    return said if len(said) <= 40 else f"{said[:37]}..."
