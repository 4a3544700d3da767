"""The main job as a user types it: on a model and data of their own, resumed, in part, and with what fails named."""

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from quick_run import write_data
from typer.testing import CliRunner
from written_items import write_items

from lens_steer.cli import app as cli
from lens_steer.cli import data
from lens_steer.cli.reproduce import run
from lens_steer.errors import BudgetError, BusyError, DataError, OptionTokenError, ScoreError, SettingsError
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.experiments import registry
from lens_steer.experiments.folder import read_record, read_results, write_record
from lens_steer.experiments.registry import studies
from lens_steer.report import write_report

DATA = Path(__file__).parents[3] / "shared" / "data" / "model-written-evals"
COMMAND = [sys.executable, "-c", "from lens_steer.cli.app import main; main()", "reproduce"]
SMALL = """
[individual]
strengths = [-1, 1]
positions = ["last"]
n_random = 1
screened = 2
lens_tokens = 2
"""


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["reproduce", *map(str, arguments)], catch_exceptions=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of results but the record, the checkpoint and the lock."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    left = {name: path for name, path in found.items() if not name.startswith(("checkpoint/", ".", "run.json"))}
    return {name: path.read_bytes() for name, path in sorted(left.items())}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run of every study."""
    return write_data(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def whole(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of every study leaves."""
    out = tmp_path_factory.mktemp("whole")
    done = invoke(*given, "--out", out)
    assert done.exit_code == 0 and "agree" in done.output
    return out


@pytest.fixture(scope="module")
def small(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run of individual steering alone, on the tiny Llama."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.toml").write_text(SMALL, encoding="utf-8")
    files = [write_items(folder / "my-own.jsonl", 12), write_items(folder / "other.jsonl", 30)]
    options = ["--model", llama_folder, "--settings", folder / "small.toml", "--limit", 12]
    return list(map(str, [*options, "--data", files[0], "--data", f"b={files[1]}", "--only", "individual"]))


@pytest.mark.slow
def test_every_study_runs_on_files_and_folders_of_the_users_own(whole: Path, tmp_path: Path) -> None:
    record = json.loads((whole / "run.json").read_text())
    names = [study.name for study in studies() if study.run]
    assert record["finished"] and not record["failed"] and not record["left_out"] and list(record["done"]) == names
    for study in studies():
        if study.run:
            for name in study.figures:
                assert all(
                    (whole / f"{name}.{kind}").stat().st_size > 0 for kind in ("png", "pdf", "csv", "txt", "tex")
                )
            if study.result:
                assert all(len(getattr(study.result.load(whole / study.folder), name)) for name in ("facts",))
    assert set(record["corpora"]) == {"neutral", "python"} and record["broad"]["settings"]["targets"] == ["python"]
    assert record["collapse"]["settings"]["new_tokens"] == 4
    assert contents(whole).keys() == record["written"].keys()
    assert write_report(whole, tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(given: list[str], whole: Path, tmp_path: Path) -> None:
    drawn, out = random.Random(0), tmp_path / "killed"
    for _ in range(10):
        process = subprocess.Popen([*COMMAND, *given, "--out", str(out)], stderr=subprocess.DEVNULL)
        time.sleep(drawn.uniform(2, 40))
        process.kill()
        process.wait()
    assert subprocess.run([*COMMAND, *given, "--out", str(out)], capture_output=True).returncode == 0
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_a_run_again_in_its_folder_measures_nothing_and_one_of_other_settings_is_refused(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    before, times = contents(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")}
    monkeypatch.setattr("lens_steer.cli.reproduce.run.measure_speed", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr("lens_steer.evaluation.grid.run.forward_unsteered", lambda *_: pytest.fail("asked again"))
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    assert contents(tmp_path) == before and {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(SettingsError, match=r"another run \(run.seed was 0 and is 1; .*--fresh"):
        invoke(*small, "--out", tmp_path, "--seed", 1)
    monkeypatch.undo()
    assert invoke(*small, "--out", tmp_path, "--seed", 1, "--fresh").exit_code == 0
    assert contents(tmp_path) != before


@pytest.mark.slow
def test_a_finished_run_of_other_code_or_without_its_checkpoint_is_made_anew_and_an_unfinished_one_refused(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record() -> dict[str, Any]:
        return dict(read_record(tmp_path / "run.json"))

    assert invoke(*small, "--out", tmp_path).exit_code == 0
    before, asked = contents(tmp_path), list[Any]()
    measured = run.measure_speed
    monkeypatch.setattr(run, "measure_speed", lambda *given: asked.append(given) or measured(*given))
    shutil.rmtree(tmp_path / "checkpoint")
    (tmp_path / "summary.csv").write_text("of another version")
    done = invoke(*small, "--out", tmp_path)
    assert done.exit_code == 0 and "is made anew (it has no checkpoint/)" in done.stderr and len(asked) == 1
    assert contents(tmp_path) == before
    monkeypatch.setattr("lens_steer.cli.reproduce.record.code_hash", lambda: "other code")
    stored = tmp_path / "checkpoint" / "of the earlier code"
    stored.touch()
    assert "is made anew (code was " in invoke(*small, "--out", tmp_path).stderr and len(asked) == 2
    assert not stored.exists() and record()["code"] == "other code" and record()["finished"]
    monkeypatch.undo()
    write_record(tmp_path / "run.json", record() | {"finished": False})
    with pytest.raises(SettingsError, match=r"its unfinished run cannot be gone on with \(code was .*--fresh"):
        invoke(*small, "--out", tmp_path)


@pytest.mark.slow
def test_a_record_can_be_run_again_elsewhere_to_the_same_bytes(small: list[str], tmp_path: Path) -> None:
    assert invoke(*small, "--out", tmp_path / "a").exit_code == 0
    assert invoke("--from", tmp_path / "a" / "run.json", "--out", tmp_path / "b").exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") and len(contents(tmp_path / "a")) > 15
    sizes = json.loads((tmp_path / "b" / "run.json").read_text())["data"]["b"]
    assert sum(sizes[split] for split in ("train", "validation", "test")) == 12


def test_a_dry_run_prints_the_plan_and_what_is_left_out_and_why_and_writes_nothing(
    small: list[str], tmp_path: Path
) -> None:
    done = invoke(*small, "--only", "individual,broad,joint", "--out", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0 and not (tmp_path / "out").exists()
    assert "individual" in done.output and "token-layers" in done.output and "Plan: about" in done.output
    said = " ".join(done.output.split())
    assert "left out: broad needs --text neutral=PATH, on which side effects are measured, and a corpus" in said
    assert "left out: joint needs --text neutral=PATH" in said


def test_a_budget_that_is_too_small_says_what_the_least_is(small: list[str], tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"a budget of 0 s; the least plan \(individual only.*Give --budget \d+s"):
        invoke(*small, "--budget", "0.01s", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_with_the_number_of_the_first(small: list[str], tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="process 4711 is at work in this folder"):
            invoke(*small, "--out", tmp_path)
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    assert (tmp_path / ".lock").read_text() == str(os.getpid())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Individual steering that fails."""
    broken = registry.studies()[0]

    def fail(_context: object) -> None:
        raise ScoreError("no such luck.")

    with monkeypatch.context() as patch:
        patch.setitem(broken.__dict__, "run", fail)
        yield


@pytest.mark.slow
def test_a_study_that_fails_is_recorded_and_the_others_go_on(given: list[str], failing: None, tmp_path: Path) -> None:
    del failing
    done = invoke(*given, "--only", "individual,broad,collapse", "--out", tmp_path)
    assert done.exit_code == 1 and "individual failed: ScoreError: no such luck." in done.output
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["failed"] == {"individual": "ScoreError: no such luck."} and list(record["done"]) == ["broad"]
    assert record["left_out"] == {"collapse": "individual steering, whose vectors it takes, failed"}


def test_the_report_of_an_unfinished_folder_says_so(small: list[str], tmp_path: Path) -> None:
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    record = dict(read_record(tmp_path / "run.json"))
    page = write_report(tmp_path).read_text()
    assert "unfinished" not in page
    record |= {"finished": False, "failed": {"joint": "ScoreError: no such luck."}, "left_out": {"broad": "needs text"}}
    write_record(tmp_path / "run.json", record)
    page = write_report(tmp_path).read_text()
    assert "unfinished" in page and "no such luck" in page and "needs text" in page
    assert read_results(tmp_path).states["summary.csv"] == "verified"


@pytest.mark.slow
def test_a_behaviour_that_cannot_be_asked_is_left_out_and_the_rest_go_on(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"question": f"Unaskable {i * i}?", "answer_matching_behavior": "x", "answer_not_matching_behavior": f"y{i}"}
        for i in range(12)
    ]
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def refused(self: ScoringOptions, model: Any, items: Any) -> Any:
        if any("Unaskable" in item.stem for item in items):
            raise OptionTokenError("the letters merge.")
        return real(self, model, items)

    real = ScoringOptions.prepare
    monkeypatch.setattr(ScoringOptions, "prepare", refused)
    done = invoke(*small, "--data", tmp_path / "odd.jsonl", "--out", tmp_path / "out")
    assert done.exit_code == 0 and "left out: odd cannot be asked: the letters merge." in done.output + done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(record["chosen"]) == ["my_own", "b"] and "odd" in record["left_out"]


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published files are not on this machine ({DATA.name})")
def test_a_budget_is_planned_on_a_real_model_and_nothing_is_run(smollm2: Any, tmp_path: Path) -> None:
    del smollm2
    files = [option for path in sorted(DATA.glob("*.jsonl"))[:2] for option in ("--data", path)]
    done = invoke("--model", "smollm2", *files, "--budget", "1h", "--dry-run", "--out", tmp_path / "out")
    assert done.exit_code == 0 and "reduced: sites are screened" in done.output and "Plan: about" in done.output
    assert not (tmp_path / "out" / "run.json").exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = [write_items(tmp_path / "a" / "x.jsonl", 3), write_items(tmp_path / "x.jsonl", 3)]
    with pytest.raises(SettingsError, match="two files are named 'x'"):
        invoke("--data", files[0], "--data", files[1])


def test_a_corpus_is_read_from_a_folder_a_glob_or_one_long_file(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "none").mkdir()
    texts = [f"The {n} cats sat on {n * n} mats, and slept.\n" * 90 for n in range(20)]
    for n, text in enumerate(texts):
        (tmp_path / "many" / f"{n:02}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "long.txt").write_text("".join(texts), encoding="utf-8")
    paths = {"folder": "many", "files": "many/*.txt", "long": "long.txt"}
    found = data.file_corpora({name: [str(tmp_path / path)] for name, path in paths.items()}, seed=0)
    assert found["folder"].hash == found["files"].hash and len(found["folder"].test) == 5
    pieces = [*found["long"].train, *found["long"].validation, *found["long"].test]
    assert (
        set(pieces) <= {*data._passages("".join(texts))} and len(pieces) > 12 and max(map(len, pieces)) <= data.PASSAGE
    )
    with pytest.raises(DataError, match="no file matches"):
        data.file_corpora({"a": [str(tmp_path / "none")]}, seed=0)
    with pytest.raises(DataError, match=r"corpus 'a': 1 different texts in .*; give at least 12"):
        data.file_corpora({"a": [str(short(tmp_path))]}, seed=0)


def short(folder: Path) -> Path:
    path = folder / "short.txt"
    path.write_text("Only this.", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "--model", "no-such-model"], "ModelNotFoundError"),
        (["reproduce", "--data", "missing.jsonl"], "DataError"),
        (["reproduce", "--only", "braod"], "did you mean 'broad'"),
        (["reproduce", "--budget", "soon"], "such as 90s, 10m or 1h30m"),
        (["preflight", "--model", "./nowhere"], "ModelNotFoundError"),
    ],
)
def test_bad_arguments_end_in_one_clear_line_and_no_traceback(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", ["lens-steer", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr().err
    assert ended.value.code == 2 and words in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_summary_of_a_run_holds_rates(small: list[str], tmp_path: Path) -> None:
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    assert pd.read_csv(tmp_path / "summary.csv")["unsteered"].between(0, 1).all()


@pytest.mark.slow
def test_the_results_of_the_first_version_are_written_over(small: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"experiment": "individual steering", "written": {}}))
    assert invoke(*small, "--out", tmp_path).exit_code == 0
    assert json.loads((tmp_path / "run.json").read_text())["finished"]
