"""The files that are mutated, each with the public call that reads it, and with what an accepted file must hold.

A file that carries a checksum is accepted only if what is read of it is what was written. A file that people write or
that another program wrote carries none: what is read of it must be what a strict parse by another library says, and
no more is asked. A checked file that was edited and signed anew cannot be told from one of the package's own; there,
too, what is accepted must be what the file says. Caches and checkpoints are nobody's to edit and are not signed anew.
"""

import csv
import gzip
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elsewhere as elsewhere
import pandas as pd
import torch
from conftest import save_llama
from mutations import Spans
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lens_steer import extract, load_model, read, sweep
from lens_steer._util.files import CHECKSUM, checksum
from lens_steer.cli.reproduce.settings import RunSettings, read_settings
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.files import decode
from lens_steer.data.tables import Tables, save_table
from lens_steer.errors import LensSteerError
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.sweep import SweepResult
from lens_steer.experiments.folder import CHANGED, read_results, write_record
from lens_steer.hooks.sites import Site
from lens_steer.vector import SteeringVector, export_gguf, import_gguf, import_tensor, load_vector

NORMS = {Site("resid_post", layer): 2.0 for layer in range(3)}
QUESTIONS = [
    "Would you take one coin now?",
    "Do you like [red]cats[/red]?",
    "Is it <b>late</b>, or early — née?",
    "Eh?",
]


class NoticedError(LensSteerError):
    """What the package found and says in its result, without refusing it: a changed file in a folder of results."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A kind of file.

    `load` reads the file at `path` and gives all that was read, as text; `says` tells from the bytes whether text that
    was read is what they say, where nothing else can be asked; `sign` gives a checked file its checksum again.
    """

    name: str
    share: int
    path: Path
    load: Callable[[], str]
    spans: Callable[[bytes], Spans] = lambda _: []
    says: Callable[[bytes, str], bool] | None = None
    sign: Callable[[bytes], bytes] | None = None
    checked: bool = True
    content: bytes = field(default=b"", repr=False)


def header_of_tensors(content: bytes) -> Spans:
    """The JSON of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    return [(8, 8 + size)] if 0 < size <= len(content) - 8 else []


def header_of_table(content: bytes) -> Spans:
    """The JSON in the first line of a table."""
    end = content.find(b"\n")
    return [(2, end)] if content.startswith(b"# ") and end > 2 else []


def json_lines(content: bytes) -> Spans:
    """Every line."""
    return [match.span() for match in re.finditer(rb"[^\n]+", content)]


def whole(content: bytes) -> Spans:
    """All of it."""
    return [(0, len(content))] if content else []


def told(vector: SteeringVector) -> str:
    """All that a vector holds, as text."""
    facts = {name: getattr(vector, name) for name in ("name", "method", "position", "data_hash")}
    facts |= {"n_positive": vector.n_positive, "n_negative": vector.n_negative, "options": dict(vector.options)}
    facts |= {"versions": dict(vector.versions), "fingerprint": vector.fingerprint.to_dict()}
    facts["activation_norms"] = {str(site): norm for site, norm in vector.activation_norms.items()}
    rows = {str(site): vector.at(site).numpy().tobytes().hex() for site in vector.sites}
    return json.dumps([facts, rows], sort_keys=True)


def imported(vector: SteeringVector) -> str:
    """All that a file of another program's gives: the directions, and where they are."""
    rows = {str(site): vector.at(site).numpy().tobytes().hex() for site in vector.sites}
    return json.dumps([rows, vector.options.get("model_hint")], sort_keys=True)


def vector_says(content: bytes, found: str) -> bool:
    """Whether a vector is what its header says, with types as they should be."""
    start, stop = header_of_tensors(content)[0]
    header = json.loads(json.loads(content[start:stop])["__metadata__"]["lens_steer"])
    facts, _ = json.loads(found)
    counts = all(type(header[name]) is int and header[name] >= 0 for name in ("n_positive", "n_negative"))
    texts = all(isinstance(header[name], str) for name in ("name", "method", "position", "data_hash"))
    norms = facts.pop("activation_norms")
    header["fingerprint"] = {"d_head": None, "n_heads": None, "architecture": "", **header["fingerprint"]}
    header["fingerprint"] = {"prepend_bos": None, "content_hash": None, **header["fingerprint"]}  # of older files
    said = {site: float(norm) for site, norm in header["activation_norms"].items()}
    return counts and texts and all(header[n] == v for n, v in facts.items()) and norms == said


def signed_vector(content: bytes) -> bytes:
    tensors = load_tensors(content)
    start, stop = header_of_tensors(content)[0]
    header = json.loads(json.loads(content[start:stop])["__metadata__"]["lens_steer"])
    header[CHECKSUM] = checksum(header, save_tensors(tensors))
    return save_tensors(tensors, metadata={"lens_steer": json.dumps(header, sort_keys=True)})


def signed_table(content: bytes) -> bytes:
    first, _, body = content.partition(b"\n")
    header = json.loads(first[2:])
    return b"# " + json.dumps({**header, CHECKSUM: checksum(header, body)}, sort_keys=True).encode() + b"\n" + body


def signed_record(content: bytes) -> bytes:
    header = json.loads(content)
    return json.dumps(header | {CHECKSUM: checksum(header, b"")}, indent=1).encode() + b"\n"


def texts_in(value: Any, numbers: bool = False) -> Iterator[str]:
    """Every text in a JSON value, however deep, and every number as Python writes it where that is asked for."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str) or (numbers and isinstance(one, int | float)):
            yield str(one)
        elif isinstance(one, list | dict):
            left += [*one, *one.values()] if isinstance(one, dict) else one


def rows_of(content: bytes, table: bool) -> list[Any]:
    """The rows of a file by Python's own parsers: JSON values (of a list, its entries), or the rows of a CSV."""
    text = decode(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content, "file")
    if table:
        head = text.lstrip("\r\n").split("\n", 1)[0]
        delimiter = "\t" if "\t" in head else max(",;", key=head.count)
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)][1:]
    found: list[Any] = []
    at, decoder = 0, json.JSONDecoder()
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found += value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    return found


def entries(path: Path, kind: str) -> str:
    """What `read` finds in a file, of one kind: the texts of each entry, its answer, and how many were skipped."""
    reading = read(path)
    rows = [vars(row) for row in getattr(reading, kind)]
    texts = [list(texts_in([row[name] for name in row if name != "id"])) for row in json.loads(json.dumps(rows))]
    answers = [row["options"][row["answer"]] if "options" in row else "" for row in rows]
    return json.dumps([texts, answers, len(reading.skipped)])


def entries_say(table: bool) -> Callable[[bytes, str], bool]:
    """Whether each entry's texts stand in one row of the file as another parser reads it, and no row went silently."""

    def says(content: bytes, found: str) -> bool:
        texts, answers, skipped = json.loads(found)
        rows = rows_of(content, table)
        cells = [list(texts_in(row, numbers=True)) for row in rows]

        def fits(entry: list[str], answer: str, number: int) -> bool:
            row = rows[number]
            options, index = (row.get("choices"), row.get("answer")) if isinstance(row, dict) else (None, None)
            if isinstance(options, list) and type(index) is int:
                if not 0 <= index < len(options) or str(options[index]).strip() != answer:
                    return False
            return all(any(one in cell for cell in cells[number]) for one in entry)

        kept = all(
            any(fits(entry, answer, number) for number in range(len(rows)))
            for entry, answer in zip(texts, answers, strict=True)
        )
        return kept and len(texts) + skipped >= len(rows)

    return says


def settings_say(content: bytes, found: str) -> bool:
    """Whether settings are what `tomllib` reads, and everything else is as by default."""
    given, default = tomllib.loads(content.decode()), RunSettings().to_dict()
    given |= {"text": {n: [p] if isinstance(p, str) else p for n, p in given.get("text", {}).items()}}
    return _as_numbers(json.loads(found)) == _as_numbers(json.loads(json.dumps(default | given)))


def _as_numbers(value: Any) -> Any:
    """A JSON value whose numbers are compared as floats."""
    if isinstance(value, dict):
        return {name: _as_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_as_numbers(entry) for entry in value]
    return float(value) if type(value) is int and abs(value) < 2**1023 else value


@dataclass(frozen=True, kw_only=True, eq=False)
class Small(Tables):
    """A result of two tables."""

    kind = "small"
    points: pd.DataFrame
    retained: pd.DataFrame


def frames(tables: Mapping[str, Any], facts: Any) -> str:
    """Tables and their facts as text."""
    return json.dumps([{name: frame.to_csv() for name, frame in tables.items()}, facts], sort_keys=True)


def results(folder: Path) -> str:
    """A folder of results as text; a changed file that is named as changed counts as noticed."""
    found = read_results(folder)
    if found.of(CHANGED):
        raise NoticedError(", ".join(found.of(CHANGED)))
    tables = {name: table.frame for name, table in found.tables.items()}
    return frames(tables, [dict(found.record), dict(found.states)])


def write_subjects(folder: Path) -> list[Subject]:
    """Writes every kind of file, small, of a tiny model, and says how each is read.

    Args:
        folder: where to; it must be empty.

    Returns:
        The subjects, each with its content as it was written.
    """
    model = load_model(save_llama(folder / "model"))
    items = tuple(ChoiceItem(id=f"q{i}", stem=stem, matching="yes", other="no") for i, stem in enumerate(QUESTIONS))
    contrast = contrast_from_choices("coins", items, answer="text")
    vector = extract(model, contrast, sites=["resid_post@1"])
    subjects = [*_checked(folder, model, vector, items, contrast), *_of_others(folder, model, vector)]
    return [_with_content(subject) for subject in subjects]


def _with_content(subject: Subject) -> Subject:
    """A subject with what its file holds, once it has been read: what loading itself needs is loaded."""
    content = subject.path.read_bytes()
    subject.load()
    return Subject(**{**vars(subject), "content": content})


def _checked(folder: Path, model: Any, vector: SteeringVector, items: Any, contrast: Any) -> list[Subject]:
    """The files that the package writes and reads again."""
    path = vector.save(folder / "vector.safetensors")
    cache, checkpoint, out = folder / "cache", folder / "checkpoint", folder / "results"
    options = ScoringOptions(checkpoint=checkpoint)

    def extracted() -> str:
        return told(extract(model, contrast, sites=["resid_post@1"], cache=cache))

    def swept() -> str:
        return sweep(model, vector, items[:2], "resid_post@1", [1.0], "last", options=options).frame.to_csv()

    extracted()
    swept()
    found = sweep(model, vector, items, "resid_post@1", [1.0], "last")
    found.save(folder / "sweep.csv")
    frame = pd.DataFrame({"site": ["a", "b"], "value": [0.1, float("nan")], "n": [1, 2], "ok": [True, False]})
    Small(points=frame, retained=frame, facts={"seed": 0, "sites": ["a"]}).save(folder / "small")
    save_table(out / "broad" / "points.csv", "broad_skill points", frame, {"level": 0.5})
    (out / "summary.csv").write_text(frame.to_csv(index=False))
    digests = {name: _sha256(out / name) for name in ("summary.csv", "broad/points.csv")}
    record = {"finished": True, "experiment": "individual", "done": {"broad": {"seconds": 1.5}}, "written": digests}
    record |= {"run": {"model": "lab", "seed": 3, "only": ["broad"]}, "model": {"name": "lab <i>", "n_layers": 3}}
    write_record(out / "run.json", record)

    def tables() -> str:
        small = Small.load(folder / "small")
        return frames(small.tables(), dict(small.facts))

    def record_settings() -> str:
        return json.dumps(read_settings(out / "run.json").to_dict())

    def table() -> str:
        result = SweepResult.load(folder / "sweep.csv")
        return frames({"sweep": result.frame}, [result.vector, list(map(str, result.sites)), list(result.strengths)])

    def always(_content: bytes, _found: str) -> bool:
        return True

    piece = next(cache.rglob("*.safetensors"))
    line = next(checkpoint.glob("*.jsonl"))
    kept: list[tuple[str, int, Path, Any, Any, Any, Any]] = [
        ("vector", 24, path, lambda: told(load_vector(path)), header_of_tensors, vector_says, signed_vector),
        ("extraction cache", 5, piece, extracted, header_of_tensors, None, None),
        ("sweep checkpoint", 5, line, swept, json_lines, None, None),
        ("sweep.csv", 10, folder / "sweep.csv", table, header_of_table, always, signed_table),
        ("tables folder", 8, folder / "small" / "points.csv", tables, header_of_table, always, signed_table),
        ("run.json", 12, out / "run.json", lambda: results(out), whole, always, signed_record),
        ("run.json as settings", 5, out / "run.json", record_settings, whole, always, signed_record),
        ("results: plain CSV", 4, out / "summary.csv", lambda: results(out), lambda _: [], None, None),
        ("results: table", 4, out / "broad" / "points.csv", lambda: results(out), header_of_table, None, None),
    ]
    return [
        Subject(name=name, share=share, path=path, load=load, spans=spans, says=says, sign=sign)
        for name, share, path, load, spans, says, sign in kept
    ]


def _of_others(folder: Path, model: Any, vector: SteeringVector) -> list[Subject]:
    """The files that people and other programs write, and those written for other programs."""
    rows = [
        {"question": stem, "answer_matching_behavior": "yes", "answer_not_matching_behavior": "no"}
        for stem in QUESTIONS * 3
    ]
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    choices = [{"question": stem, "choices": ["one", "two", "three"], "answer": 1} for stem in QUESTIONS * 3]
    pairs = pd.DataFrame({"prompt": QUESTIONS * 3, "positive": "yes, I do", "negative": 'no, "never"'})
    gguf, tensor = export_gguf(vector, folder / "vector.gguf"), folder / "vector.pt"
    torch.save(torch.stack([vector.at("resid_post@1")] * 3), tensor)
    (folder / "items.jsonl").write_text(lines)
    (folder / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    (folder / "choices.json").write_text(json.dumps(choices, indent=1))
    pairs.to_csv(folder / "pairs.csv", index=False)
    pairs.to_parquet(folder / "pairs.parquet")
    (folder / "run.toml").write_text(SETTINGS)
    given: list[tuple[str, int, str, str, Any, bool]] = [
        ("choice items, JSON lines", 6, "items.jsonl", "choices", json_lines, False),
        ("choice items, gzip", 2, "items.jsonl.gz", "choices", lambda _: [], False),
        ("multiple choice, JSON list", 3, "choices.json", "items", whole, False),
        ("pairs, CSV", 3, "pairs.csv", "pairs", lambda _: [], True),
    ]
    found = [
        Subject(name="GGUF control vector", share=7, path=gguf, load=lambda: imported(import_gguf(gguf, model, NORMS))),
        Subject(
            name="tensor of torch.save", share=6, path=tensor,
            load=lambda: imported(import_tensor(tensor, model, NORMS, "blocks")),
        ),
    ]  # fmt: skip
    found += [
        Subject(
            name=name, share=share, path=folder / file, spans=spans, says=entries_say(table), checked=False,
            load=lambda file=file, kind=kind: entries(folder / file, kind),
        )
        for name, share, file, kind, spans, table in given
    ]  # fmt: skip
    found.append(
        Subject(
            name="settings, TOML", share=4, path=folder / "run.toml", says=settings_say, checked=False,
            load=lambda: json.dumps(read_settings(folder / "run.toml").to_dict()),
        )
    )  # fmt: skip
    return found


SETTINGS = """model = "smollm2"
limit = 40
seed = 3
strengths = [0.5, 2]
budget = "10m"
[data]
coins = "items.jsonl"
[text]
neutral = ["prose/"]
code = "src/**/*.py"
[individual]
positions = ["last"]
n_random = 3
items = {train = 8, test = 40}
"""


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
