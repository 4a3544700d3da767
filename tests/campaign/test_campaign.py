"""A small campaign: a few hundred files, a hundred programs, one kill; and that it would see what it looks for."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutated_files
import pandas as pd
import pytest
import torch
from campaign_table import document
from killed import KILLS_A_FOLDER, contents, kill_pieces
from mutated_files import FAULTS, MARKER, OUTCOMES, Watch, attack, outcome_of
from random_programs import FAULTS as BAD_PROGRAMS
from random_programs import Bench, Program, outcomes, run_programs
from subjects import Subject, write_subjects

from lens_steer.errors import DataError
from lens_steer.hooks.operators import Add

WATCH = Watch()


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    return {subject.name: subject for subject in write_subjects(tmp_path_factory.mktemp("subjects"))}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_mutated_file_is_taken_for_another_or_raises_or_runs(subjects: dict[str, Subject]) -> None:
    for subject in subjects.values():
        counts, faults = attack(subject, 25, random.Random(f"test {subject.name}"), WATCH)
        assert not faults, [f"{one.subject}: {one.mutation}: {one.outcome}: {one.detail[-800:]}" for one in faults]
        assert sum(counts.values()) == 25
        assert any(outcome in ("refused", "recomputed") for _, outcome in counts), subject.name


def bad(subject: Subject, kind: str) -> Any:
    """What a package with a fault would do with a file."""
    if kind == "raw error":
        raise KeyError("a file")
    if kind == "blow-up":
        return len([0] * (200 << 17))
    if kind == "code run":
        import os

        os.putenv(MARKER, "yes")
    if kind == "refused":
        raise DataError("no.")
    return subject.path.read_text(errors="replace") + kind


@pytest.mark.parametrize("kind", ["refused", *FAULTS])
def test_each_fault_would_be_seen(subjects: dict[str, Subject], kind: str) -> None:
    subject = subjects["vector"]
    broken = replace(subject, load=lambda: bad(subject, kind))
    assert kind in OUTCOMES and outcome_of(broken, subject.content, "original", False, WATCH)[0] == kind


def test_a_file_that_takes_too_long_is_a_blow_up(subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> str:
        while True:
            pass

    monkeypatch.setattr(mutated_files, "SECONDS", 0.05)
    endless = replace(subjects["vector"], load=load)
    assert outcome_of(endless, b"", "original", False, WATCH)[0] == "blow-up"


@pytest.mark.slow
def test_a_hundred_random_programs_are_those_of_plain_torch_hooks(bench: Bench) -> None:
    rows, faults = run_programs(bench, 100, "test")
    assert not faults, [f"{one.subject}: {one.mutation}: {one.outcome}: {one.detail[-800:]}" for one in faults]
    found = outcomes(rows)
    assert found["agree"] > 60 and sum(found.values()) == 100


def test_an_operator_that_is_a_little_wrong_is_a_mismatch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Add.__call__

    def wrong(self: Add, activation: Any, direction: Any, strength: float) -> Any:
        return right(self, activation, direction, strength * 1.01)

    monkeypatch.setattr(Add, "__call__", wrong)
    found = outcomes(run_programs(bench, 40, "test")[0])
    assert found["mismatch"] > 3 and found["agree"] > 3


def test_a_hook_that_stays_and_a_changed_weight_are_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    handles, subject = [], bench.subjects[0]
    monkeypatch.setattr(bench, "subjects", [subject])
    ran = Program.run

    def leaving(self: Program) -> Any:
        handles.append(subject.model.original_model.register_forward_hook(lambda *_: None))
        return ran(self)

    monkeypatch.setattr("random_programs.RUN", dict.fromkeys(("forward", "generation"), leaving))
    monkeypatch.setattr("random_programs.WAYS", {"forward": 1})
    assert outcomes(run_programs(bench, 1, "a")[0]) == {"hook left": 1}
    handles.pop().remove()
    weight = next(iter(subject.model.original_model.parameters()))

    def changing(_: Program) -> Any:
        with torch.no_grad():
            weight[0, 0] += 1
        return "agree", 0.0

    monkeypatch.setattr("random_programs.RUN", {"forward": changing})
    assert outcomes(run_programs(bench, 1, "a")[0]) == {"model changed": 1}
    with torch.no_grad():
        weight[0, 0] -= 1
    assert not set(BAD_PROGRAMS) - {"mismatch", "raw error", "hook left", "model changed"}


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    jobs = dict(kill_pieces(tmp_path, 1, 0))
    for name in ("extract --cache: kills 0", "extract --cache: full disk 0", "sweep: folder not writable 0"):
        rows, faults = jobs[name]()
        assert not faults and sum(n for *_, n in rows) <= KILLS_A_FOLDER
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.csv").write_text("1")
    (tmp_path / "a" / ".x.csv.tmp").write_text("2")
    assert contents(tmp_path / "a") == (("x.csv", b"1"),)


def test_the_table_sums_what_was_counted_and_puts_the_faults_last() -> None:
    columns = ["part", "seed", "piece", "subject", "variant", "outcome", "n", "seconds"]
    rows = [("files", 0, "vector 0", "vector", "bit flipped", "refused", 1_200, 1.0)]
    rows += [("files", 0, "vector 0", "vector", "truncated", "raw error", 1, 0.0)]
    rows += [("programs", 0, "programs 0", "GPT-2", "forward", "agree", 7, 1.0)]
    rows += [("programs", 0, "programs 0", "GPT-2", "worst difference", "1e-9", 900, 0.0)]
    rows += [("kills", 0, "sweep: kills 0", "sweep", "killed at a write", "same bytes", 4, 0.0)]
    text = document(pd.DataFrame(rows, columns=pd.Index(columns)))
    assert "| vector | 1,201 | 1,200 | 0 | 0 | 0 | 1 | 0 | 0 | 0 |" in text
    assert "**raw error** | **different** | **blow-up** | **code run** |" in text
    assert "GPT-2 9.0e-07" in text and "| sweep | killed at a write | 4 | 4 | 0 | 0 | 0 | 0 |" in text
