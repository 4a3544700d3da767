"""The settings of a run: from a TOML file, from the record of an earlier run, and from options, the later ones first.

    model = "smollm2"                          [data]                            [text]
    budget = "10m"                             sycophancy = "items.jsonl"        neutral = ["prose/"]
    only = ["individual", "broad"]                                               code = ["src/**/*.py", "lib/"]

    [individual]                               one table a study: the fields of its settings, and
    positions = ["last"]                       items = {test = 40}    documents = {test = 20}     the most of each split

Unknown keys and wrong types are refused with the nearest that there is. Where neither data nor texts are given, the
lab's are used, with the lab's settings of each study.
"""

import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lens_steer.cli.source import ModelSource
from lens_steer.data.splits import SPLITS
from lens_steer.errors import BudgetError, FormatError, SettingsError
from lens_steer.evaluation.prompts import Scoring
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.experiments.folder import read_record
from lens_steer.experiments.registry import studies
from lens_steer.experiments.study import Setup, Study

LARGEST = sys.float_info.max
OF_RUN = ("checkpoint",)
"""Fields of a study's settings that the run itself sets."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What is run, on what; `tables` holds what each study's table says, by study.

    `data` are files of questions by behaviour, `text` files, folders or globs of texts by corpus; side effects are
    measured on the corpus `neutral`. `limit` is the most items of one file. `sites`, `strengths` and `positions` are
    those of individual steering; `scoring` and `chat`, how questions are asked, are of all studies. `only` names the
    studies; all where it is empty. `budget` is a time, such as `10m`.
    """

    model: str = "lab"
    device: str = "cpu"
    dtype: str = "float32"
    device_map: str = ""
    prepend_bos: bool | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    text: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    neutral: str = "neutral"
    limit: int = 300
    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    positions: tuple[str, ...] = ()
    scoring: Scoring = "letter"
    chat: bool = False
    seed: int = 0
    only: tuple[str, ...] = ()
    budget: str = ""
    out: str = "figures"
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def on_lab(self) -> bool:
        """Whether the lab's own data are used."""
        return not self.data and not self.text

    def to_dict(self) -> dict[str, Any]:
        """As `settings_from` takes it: the tables beside the other settings."""
        plain = {name: value for name, value in asdict(self).items() if name != "tables"}
        return json.loads(json.dumps({**plain, **self.tables}))

    @property
    def source(self) -> ModelSource:
        """The model."""
        return ModelSource(self.model, self.device, self.dtype, self.device_map, self.prepend_bos)

    @property
    def asking(self) -> ScoringOptions:
        """How questions are asked."""
        return ScoringOptions(scoring=self.scoring, chat=self.chat)

    def setup(self, study: Study) -> Setup:
        """The settings and limits of a study: its own, or those for the lab's data, and what the tables change.

        Raises:
            SettingsError: a key or value that the study has not.
        """
        given = study.lab if self.on_lab and study.lab is not None else study.setup
        has = {entry.name for entry in fields(given.settings)} if given.settings is not None else set()
        table = {name: getattr(self, name) for name in ("seed", "scoring", "chat") if name in has}
        table |= dict(self.tables.get(study.name, {}))
        if study.name == "individual":
            own = {name: getattr(self, name) for name in ("sites", "strengths", "positions")}
            table = {name: value for name, value in own.items() if value} | table
        limits = {
            name: {**getattr(given, name), **_limits(table.pop(name, {}), f"[{study.name}] {name}")}
            for name in ("items", "documents")
        }
        return Setup(settings=_changed(given.settings, table, f"[{study.name}]"), **limits)


def settings_from(given: Mapping[str, Any], where: str) -> RunSettings:
    """Settings from a mapping, such as a TOML file.

    Args:
        given: by name; a table for each study.
        where: what holds them, for messages.

    Raises:
        SettingsError: an unknown key, or a value of the wrong type.
    """
    names = {study.name for study in studies() if study.run}
    tables = {name: value for name, value in given.items() if name in names}
    plain = {name: value for name, value in given.items() if name not in names}
    if isinstance(plain.get("text"), Mapping):
        texts = plain["text"].items()
        plain["text"] = {name: [paths] if isinstance(paths, str) else paths for name, paths in texts}
    known = [entry.name for entry in fields(RunSettings) if entry.name != "tables"]
    for name in plain:
        _known(name, [*known, *names], where)
    found = replace(_changed(RunSettings(), plain, where), tables=tables)
    for name in found.only:
        _known(name, sorted(names), f"{where}: only", "study")
    for study in studies():
        if study.run:
            found.setup(study)
    budget_seconds(found.budget)
    return found


def read_settings(path: str | Path) -> RunSettings:
    """Settings of a TOML file, or those that a `run.json` records.

    Args:
        path: a file that ends in `.toml` or `.json`.

    Raises:
        FormatError: it cannot be read, or records no settings.
        SettingsError: as `settings_from`.
    """
    return settings_from(_read(Path(path)), str(path))


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of settings."""
    try:
        if path.suffix != ".json":
            return tomllib.loads(path.read_text(encoding="utf-8"))
        record = read_record(path)
        found, others = dict(record["run"]), [*record.get("command", [])][:1] not in ([], ["reproduce"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"{path}: cannot be read as settings ({error}); give a TOML file, or a run.json of lens-steer reproduce."
        ) from error
    if others:
        raise FormatError(f"{path}: is of another command; run lens-steer {' '.join(record['command'])} again.")
    return found


def merged(files: Sequence[Path | None], options: Mapping[str, Any]) -> RunSettings:
    """Settings of files, then options, the later ones first; tables of a study are merged key by key.

    Args:
        files: TOML files or records; those that are absent are passed over.
        options: by name.

    Raises:
        FormatError, SettingsError, BudgetError: as `read_settings`.
    """
    given: dict[str, Any] = {}
    for path in files:
        found = _read(path) if path is not None else {}
        nested = {name: given[name] | found[name] for name in given.keys() & found if isinstance(given[name], dict)}
        given |= found | nested
        if path is not None:
            settings_from(found, str(path))
    return settings_from(given | dict(options), "the command line")


def budget_seconds(words: str) -> float | None:
    """A time such as `90s`, `10m` or `1h30m` in seconds; None of no words.

    Raises:
        BudgetError: it is none.
    """
    if not words:
        return None
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", words.strip())
    parts = [float(part or 0) for part in found.groups()] if found else []
    if not sum(parts) > 0:
        raise BudgetError(f"a budget of {words!r}; give a time above 0, such as 90s, 10m or 1h30m.")
    return 3600 * parts[0] + 60 * parts[1] + parts[2]


def named(words: Sequence[str], what: str, repeated: bool = True) -> dict[str, list[str]]:
    """Arguments `NAME=PATH` by name, in order; a name given twice adds. Without a name: the file's stem.

    Args:
        words: what was typed.
        what: the option, for messages.
        repeated: whether a name may be given more than once.

    Raises:
        SettingsError: a name or a path is empty, or a name is given twice that must not be.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        name, path = (name, path) if equals else (Path(word).stem.replace("-", "_"), word)
        if not name or not path:
            raise SettingsError(f"{what} {word!r}; give NAME=PATH, such as {what} code=src/.")
        if name in found and not repeated:
            raise SettingsError(f"{what}: two files are named {name!r}; give each its own name, {what} NAME=FILE.")
        found.setdefault(name, []).append(path)
    return found


def changed_by(path: Path, settings: Any) -> Any:
    """A dataclass with the fields changed that a TOML file names.

    Args:
        path: the file.
        settings: what it changes.

    Raises:
        FormatError, SettingsError: as `read_settings`.
    """
    return _changed(settings, _read(path), str(path))


def _changed(settings: Any, table: Mapping[str, Any], where: str) -> Any:
    """A dataclass with some fields changed, each of its type; of those that are dataclasses, some fields too."""
    if settings is None:
        return settings
    hints = get_type_hints(type(settings))
    known = [entry.name for entry in fields(settings) if entry.name not in OF_RUN]
    for name in table:
        _known(name, [*known, "items", "documents"] if where.endswith("]") else known, where)
    found = {}
    for name, value in table.items():
        own, place = getattr(settings, name), f"{where} {name}"
        nested = is_dataclass(own) and isinstance(value, Mapping)
        found[name] = _changed(own, value, place) if nested else _typed(hints[name], value, place)
    return replace(settings, **found)


def _known(name: str, names: Sequence[str], where: str, what: str = "setting") -> None:
    if name not in names:
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"those that there are: {', '.join(names)}."
        raise SettingsError(f"{where}: there is no {what} {name!r}; {hint}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A value as the type of a field wants it; lists become tuples."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for one in inner:
            try:
                return _typed(one, value, where)
            except SettingsError:
                continue
    elif origin is Literal and value in inner:
        return value
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(inner[0], entry, where) for entry in value)
    elif origin is Mapping and isinstance(value, Mapping):
        return {str(name): _typed(inner[1], entry, f"{where}.{name}") for name, entry in value.items()}
    elif hint is NoneType and value is None:
        return None
    elif hint in (str, bool) and isinstance(value, hint):
        return value
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return float(value)
    raise SettingsError(f"{where}: {value!r}; expected {_said(hint)}.")


def _said(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_said(one) for one in inner if one is not NoneType))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is tuple:
        return f"a list of which each entry is {_said(inner[0])}"
    words = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(hint, "a table")


def _limits(given: Any, where: str) -> dict[str, int]:
    """The most entries of each split."""
    limits = _typed(Mapping[str, int], given, where)
    for split, n in limits.items():
        _known(split, SPLITS, where, "split")
        if n < 1:
            raise SettingsError(f"{where}: {n} of {split}; give at least 1.")
    return limits
