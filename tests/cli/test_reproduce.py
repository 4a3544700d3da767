"""The main job and the command line, as a user types them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner
from written_items import write_items

from lens_steer.cli import app as cli
from lens_steer.cli import data
from lens_steer.cli.reproduce import reproduce, run
from lens_steer.cli.source import ModelSource
from lens_steer.errors import DataError
from lens_steer.experiments import study
from lens_steer.experiments.broad_skill import BroadSkill, BroadSkillResult
from lens_steer.experiments.broad_skill import study as broad_study
from lens_steer.experiments.collapse_check import CollapseCheck
from lens_steer.experiments.collapse_check import study as collapse_study
from lens_steer.experiments.individual_steering import Individual
from lens_steer.experiments.joint_steering import JointResult, JointSteering
from lens_steer.experiments.joint_steering import study as joint_study
from lens_steer.experiments.optimiser import Optimise, OptimiseResult
from lens_steer.experiments.optimiser import study as optimiser_study

DATA = Path(__file__).parents[3] / "shared" / "data" / "model-written-evals"
QUICK = Individual(sites="resid_post@*", strengths=(-1.0, 1.0), positions=("all",), n_random=2, lens_tokens=2)
QUICK_BROAD = BroadSkill(
    sites="resid_post@1", strengths=(-1, 0, 4), n_random=1, n_permuted=1, max_tokens=24, resamples=9
)
QUICK_OPTIMISED = Optimise(
    sites="resid_post@0:5", schemes=("simultaneous",), configurations=20, n_random=2, resamples=99
)
QUICK_JOINT = JointSteering(site="", places={}, strengths=(0, 0.5, 1), n_random=2, resamples=99)
FIGURES = (
    "steering_curves",
    "layer_strength_map",
    "cosine_map",
    "logit_lens",
    "selectivity",
    "text_retained",
    "collapse",
)
FIGURES += ("individual_bars", "combined_bars", "simultaneous", "schemes", "interference", "detection", "pareto_front")


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Individual", lambda: QUICK)
        patch.setattr(data, "LAB_SIZES", {"train": 6, "validation": 4, "test": 4})
        patch.setattr(broad_study, "DOCUMENTS", {"train": 4, "validation": 2, "test": 2})
        patch.setattr(broad_study, "LAB", QUICK_BROAD)
        patch.setattr(joint_study, "LAB", QUICK_JOINT)
        patch.setattr(optimiser_study, "LAB", QUICK_OPTIMISED)
        patch.setattr(collapse_study, "LAB", CollapseCheck(site="", strengths=(-2, 0, 2), new_tokens=6))
        patch.setattr(study, "ITEMS", {"validation": 2, "test": 2})
        patch.setattr(study, "TEXTS", {"train": 1, "validation": 2, "test": 2})
        yield


@pytest.fixture(scope="module")
def once(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves."""
    del quick
    out = tmp_path_factory.mktemp("once")
    done = CliRunner().invoke(cli.app, ["reproduce", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0 and "sycophancy" in done.output
    return out


@pytest.mark.slow
def test_reproduce_writes_figures_their_data_and_full_provenance(once: Path) -> None:
    for name in FIGURES:
        assert all((once / f"{name}.{kind}").stat().st_size > 0 for kind in ("png", "pdf", "csv", "txt"))
    record = json.loads((once / "run.json").read_text())
    assert record["model"]["name"] == "lab" and record["settings"]["n_random"] == 2
    assert set(record["chosen"]) == set(record["data"]) and len(record["data"]) == 5
    assert {"torch", "transformer-lens", "python"} <= set(record["versions"])
    assert set(record["broad"]["corpora"]) == {"text", "code", "python", "javascript"}
    assert record["collapse"]["settings"]["new_tokens"] == 6
    assert set(record["joint"]["data"]) == set(record["data"])
    assert len(set(JointResult.load(once / "joint").points["scheme"])) == 9
    assert set(OptimiseResult.load(once / "optimiser").configurations["scheme"]) == {"optimised", "simultaneous"}
    assert len(BroadSkillResult.load(once / "broad").points) == 8
    written = {path.relative_to(once).as_posix() for path in once.rglob("*") if path.is_file()}
    assert written == {*record["written"], "run.json"}
    tables = {name for name in written if name.endswith(".csv")}
    assert len(tables) > 20 and {name.replace(".csv", ".tex") for name in tables} <= written


@pytest.mark.slow
def test_the_same_seed_gives_byte_identical_tables_twice(once: Path, tmp_path: Path) -> None:
    reproduce(ModelSource(), [], tmp_path)
    first, second = (json.loads((folder / "run.json").read_text())["written"] for folder in (once, tmp_path))
    assert first == second and len(first) > 15


def test_files_of_the_published_format_run_on_a_local_model_folder(
    quick: None, llama_folder: Path, tmp_path: Path
) -> None:
    del quick
    files = [write_items(tmp_path / "my-own.jsonl", 12), write_items(tmp_path / "other.jsonl", 30)]
    result = reproduce(ModelSource(str(llama_folder)), files, tmp_path / "out", limit=12)
    assert list(result.points) == ["my_own", "other"]
    assert {path.stem for path in tmp_path.rglob("*.csv")} == {path.stem for path in tmp_path.rglob("*.tex")}
    sizes = json.loads((tmp_path / "out" / "run.json").read_text())["data"]["other"]
    assert sum(sizes[split] for split in ("train", "validation", "test")) == 12


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published files are not on this machine ({DATA.name})")
def test_each_published_file_runs_on_a_local_model_folder(quick: None, llama_folder: Path, tmp_path: Path) -> None:
    del quick
    files = sorted(DATA.glob("*.jsonl"))
    result = reproduce(ModelSource(str(llama_folder)), files[:2], tmp_path, limit=20)
    assert len(result.points) == 2
    assert pd.read_csv(tmp_path / "summary.csv")["unsteered"].between(0, 1).all()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = [write_items(tmp_path / "a" / "x.jsonl", 3), write_items(tmp_path / "x.jsonl", 3)]
    with pytest.raises(DataError, match="two files are named 'x'"):
        data.file_behaviours(files, limit=3, seed=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "--model", "no-such-model"], "ModelNotFoundError"),
        (["reproduce", "--data", "missing.jsonl"], "DataError"),
        (["preflight", "--model", "./nowhere"], "ModelNotFoundError"),
    ],
)
def test_bad_arguments_end_in_one_clear_line_and_no_traceback(arguments: list[str], words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from lens_steer.cli.app import main; main()", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"HF_HUB_OFFLINE": "1", "PATH": ""}
    )
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
