"""`run.json`: what a run was given, how it was planned, how far it has come, and the sha256 of every file it wrote.

It is written whole at the start, marked unfinished, and after each study. What a run does that finds another's record:

    settings, data and model differ                  it refuses
    code and libraries are the same                  it goes on after what was finished; `checkpoint/` holds the rest
    they differ, or the folder has no checkpoint     a finished run is made anew, an unfinished one is refused

So no record mixes the numbers of two versions, and a folder that came without its checkpoint (with a clone of a
repository, say) is computed in full.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lens_steer.cli.reproduce.settings import RunSettings
from lens_steer.data.splits import SPLITS
from lens_steer.errors import SettingsError
from lens_steer.experiments.folder import RECORD, read_record, write_record
from lens_steer.experiments.study import Study
from lens_steer.model import SteerableModel, fingerprint, versions

SAME = ("run", "model", "data", "corpora", "files")
"""What two runs in one folder share."""
COMPUTED_BY = ("code", "versions")
"""What two runs must share, too, for the second to go on with the first."""
CHECKPOINT = "checkpoint"
_INSTEAD = "Give another --out, or --fresh to write over it."


class Record:
    """The record of one run; `content` is what `run.json` holds.

    `resumed` is whether it is an earlier run's; `replaces` says in words which finished run is made anew.
    """

    def __init__(self, folder: Path, content: dict[str, Any], *, resumed: bool = False, replaces: str = "") -> None:
        self.folder, self.content, self.resumed, self.replaces = folder, content, resumed, replaces

    @classmethod
    def open(cls, folder: Path, begun: dict[str, Any], fresh: bool) -> "Record":
        """The record of a folder where this run goes on with it, or a new one; version 0.1.0's is written over.

        Args:
            folder: of the results.
            begun: what the run was given.
            fresh: begin anew, whatever the folder holds.

        Raises:
            SettingsError: the folder holds another run, or an unfinished one that this one cannot go on with.
        """
        path = folder / RECORD
        begun = json.loads(json.dumps(begun))
        if fresh or not path.is_file():
            return cls(folder, begun)
        earlier: Any = read_record(path)
        if "done" not in earlier:
            return cls(folder, begun)
        if differing := _differing_in(SAME, earlier, begun):
            raise SettingsError(f"{folder}: holds the results of another run ({differing}). {_INSTEAD}")
        obstacle = _differing_in(COMPUTED_BY, earlier, begun)
        if not obstacle and not (folder / CHECKPOINT).is_dir():
            obstacle = f"it has no {CHECKPOINT}/"
        if not obstacle:
            return cls(folder, earlier, resumed=True)
        if not earlier["finished"]:
            raise SettingsError(f"{folder}: its unfinished run cannot be gone on with ({obstacle}). {_INSTEAD}")
        return cls(folder, begun, replaces=f"the finished run in {folder} is made anew ({obstacle})")

    def prepare(self) -> None:
        """Makes the folder ready; a new run's holds nothing that was stored for another."""
        if not self.resumed:
            shutil.rmtree(self.folder / CHECKPOINT, ignore_errors=True)
        (self.folder / CHECKPOINT).mkdir(exist_ok=True)

    def write(self) -> None:
        """Writes `run.json` whole."""
        write_record(self.folder / RECORD, self.content)

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
    paths = [Path(path) for path in settings.data.values()]
    files = {path.name: sha256(path) for path in paths if path.is_file()}
    found = begun(loaded.model, run, files, command)
    found["data"] = {name: {"splits": splits.hash, **_sizes(splits)} for name, splits in loaded.behaviours.items()}
    found["corpora"] = {name: {"hash": corpus.hash, **_sizes(corpus)} for name, corpus in loaded.corpora.items()}
    found["left_out"] = dict(loaded.left_out)
    return found


def begun(
    model: SteerableModel, run: Mapping[str, Any], files: Mapping[str, str], command: Sequence[str]
) -> dict[str, Any]:
    """A record as it begins, without the data.

    Args:
        model: that is run.
        run: the settings.
        files: the sha256 of each file of data, by name.
        command: the words that were typed.
    """
    return {
        "command": list(command),
        "experiment": "",
        "finished": False,
        "run": dict(run),
        "model": fingerprint(model).to_dict(),
        "data": {},
        "corpora": {},
        "files": dict(files),
        "code": code_hash(),
        "versions": versions() | {"python": platform.python_version(), "platform": platform.platform()},
        "left_out": {},
        "failed": {},
        "done": {},
        "written": {},
    }


@cache
def code_hash() -> str:
    """The sha256 of the package's source: every module's path and content."""
    root, found = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sizes(splits: Any) -> dict[str, int]:
    return {split: len(getattr(splits, split)) for split in SPLITS}


def _differing_in(names: tuple[str, ...], earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first four differences of two records in some entries, in words; "" where there is none."""
    differing = list(_differing({name: earlier.get(name) for name in names}, {name: now.get(name) for name in names}))
    return "; ".join(differing[:4]) + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")


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
