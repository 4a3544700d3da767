"""Reading a folder of results: what is in it, what has changed, and what is broken."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lens_steer.errors import FormatError
from lens_steer.experiments.folder import (
    CHANGED,
    MISSING,
    UNRECORDED,
    VERIFIED,
    read_record,
    read_results,
    write_record,
)


def test_a_folder_is_read_whole_and_every_file_verified(results: Path) -> None:
    found = read_results(results)
    assert set(found.figures) == {"steering_curves.png", "logit_lens.png"}
    assert list(found.figures) == ["steering_curves.png", "logit_lens.png"]  # as the run wrote them
    assert found.tables["broad/retained.csv"].kind == "broad_skill retained" and found.tables["summary.csv"].kind == ""
    assert found.tables["broad/retained.csv"].facts["settings"]["level"] == 0.5
    assert set(found.states.values()) == {VERIFIED} and "steering_curves.pdf" in found.states


def test_changed_missing_and_unrecorded_files_are_told_apart(results: Path) -> None:
    table = pd.read_csv(results / "summary.csv").assign(added=1.0)
    table.to_csv(results / "summary.csv", index=False)
    (results / "logit_lens.pdf").unlink()
    table.to_csv(results / "own.csv", index=False)
    found = read_results(results)
    assert (found.of(CHANGED), found.of(MISSING)) == (["summary.csv"], ["logit_lens.pdf"])
    assert found.of(UNRECORDED) == ["own.csv"] and len(found.of(VERIFIED)) == len(found.states) - 3


def test_a_recorded_file_of_any_kind_is_verified(results: Path) -> None:
    record = json.loads((results / "run.json").read_text(encoding="utf-8"))
    for name in ("logit_lens.txt", "gone.txt"):
        (results / name).write_text("A caption.", encoding="utf-8")
        record["written"][name] = hashlib.sha256(b"A caption.").hexdigest()
    (results / "gone.txt").unlink()
    (results / "run.json").write_text(json.dumps(record), encoding="utf-8")
    found = read_results(results)
    assert found.states["logit_lens.txt"] == VERIFIED and found.of(MISSING) == ["gone.txt"]


def test_hidden_files_checkpoints_and_other_kinds_are_not_results(results: Path) -> None:
    for name in (".x.csv", "checkpoint/a.csv", "notes.txt", "report.html"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text("no table", encoding="utf-8")
    assert not {".x.csv", "checkpoint/a.csv", "notes.txt", "report.html"} & set(read_results(results).states)


def test_a_folder_below_a_hidden_one_is_read(results: Path, tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    assert read_results(results.rename(tmp_path / ".cache" / "results")).figures


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def unended(content: bytes) -> bytes:
    return content.rstrip(b"\n")


def ragged(content: bytes) -> bytes:
    return content + b"one,two\n"


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("summary.csv", cut, "truncated or not a table"),
        ("summary.csv", unended, "truncated or not a table"),
        ("summary.csv", ragged, "truncated or not a table"),
        ("summary.csv", lambda _: b"", "truncated or not a table"),
        ("summary.csv", lambda _: b"\xff\xfe\n", "cannot be read"),
        ("summary.csv", lambda _: b"x\n" + b"y" * 200_000 + b"\n", "not a table that can be read"),
        ("summary.csv", lambda _: b'x\n"y\n', "not a table that can be read"),
        ("broad/retained.csv", cut, "truncated or edited"),
        ("broad/retained.csv", lambda content: b"# {" + content, "not a table of lens_steer"),
        ("logit_lens.png", cut, "truncated or not a PNG"),
        ("run.json", cut, "truncated or not JSON"),
        ("run.json", lambda _: b"[]", "not the record of a run"),
    ],
)
def test_a_broken_file_is_named(results: Path, name: str, harm: Callable[[bytes], bytes], words: str) -> None:
    path = results / name
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(FormatError, match=words) as caught:
        read_results(results)
    assert path.name in str(caught.value)


def test_no_changed_bit_of_a_record_goes_unnoticed_and_a_record_of_before_checksums_is_read(results: Path) -> None:
    path, rng = results / "run.json", random.Random(0)
    unsigned = read_record(path)
    assert unsigned == json.loads(path.read_text(encoding="utf-8"))
    write_record(path, unsigned)
    assert read_record(path) == unsigned
    content = path.read_bytes()
    for place in range(len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        if content[place : place + 1].isspace() and changed[place : place + 1].isspace():
            continue
        with pytest.raises(FormatError):
            read_record(path)
    path.write_bytes(content.replace(b'"experiment": "individual', b'"experiment": "broad'))
    with pytest.raises(FormatError, match=r"changed after it was written.*give other settings in a TOML file"):
        read_results(results)
    for mark, key in ((b"lens_steer", b"sha256"), (b"lens_speer", b"sha256"), (b"lens_speer", b"sha265")):
        path.write_bytes(content.replace(b"individual", b"broad").replace(b"lens_steer", mark).replace(b"sha256", key))
        with pytest.raises(FormatError, match="changed after it was written"):
            read_record(path)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FormatError, match="holds no results"):
            read_results(folder)


def test_a_record_of_a_sweep_names_no_files_and_none_is_called_verified(results: Path) -> None:
    (results / "run.json").write_text(json.dumps({"model": {"name": "lab"}}), encoding="utf-8")
    assert set(read_results(results).states.values()) == {UNRECORDED}
