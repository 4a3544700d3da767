"""The commands `extract`, `sweep`, `painless` and `study`: data in, files out, and on again where they were ended."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner
from written_items import write_items

from lens_steer.cli import app as cli
from lens_steer.cli import runs
from lens_steer.cli.data import read_items
from lens_steer.cli.reproduce.settings import read_settings
from lens_steer.cli.source import ModelSource
from lens_steer.data.balance import option_contrast
from lens_steer.data.splits import SPLITS
from lens_steer.errors import (
    BudgetError,
    DataError,
    FormatError,
    LensSteerError,
    MismatchError,
    ScoreError,
    SettingsError,
)
from lens_steer.evaluation.automatic import correct
from lens_steer.evaluation.grid import passes
from lens_steer.evaluation.score import score_choices
from lens_steer.evaluation.sweep import SweepResult
from lens_steer.experiments.inspect_task import InspectTaskResult
from lens_steer.experiments.painless import PainlessResult
from lens_steer.experiments.text_lists import TextListsResult
from lens_steer.extraction import extract
from lens_steer.lab import world
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import fact_items, open_items
from lens_steer.model import load_model
from lens_steer.vector import load_vector

SWEPT = {"sweep.csv", "summary.csv", "run.json"}
SWEPT |= {
    f"{name}.{kind}" for name in ("layer_strength_map", "steering_curves") for kind in ("png", "pdf", "csv", "txt")
}


class Killed(BaseException):
    """An end that nothing catches."""


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def files(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny Llama's folder, a file of items, and the vector that the command makes of it."""
    folder = tmp_path_factory.mktemp("runs")
    data, vector = write_items(folder / "my-coins.jsonl", 20), folder / "vector.safetensors"
    arguments = ["--model", llama_folder, "--data", data, "--sites", "resid_post@*", "--sites", "z@1.*"]
    done = invoke("extract", *arguments, "--method", "pca_of_differences", "--out", vector, "--cache", folder / "cache")
    assert done.exit_code == 0 and "pca_of_differences of 16 + 16 activations" in done.output
    assert list((folder / "cache").rglob("*.safetensors"))
    return {"model": llama_folder, "data": data, "vector": vector}


def sweep_into(files: dict[str, Path], out: Path, *more: object) -> Any:
    arguments = ["--model", files["model"], "--data", files["data"], "--vector", files["vector"], "--out", out]
    return invoke("sweep", *arguments, "--positions", "last", *more)


def test_a_vector_made_by_the_command_is_that_of_the_library(files: dict[str, Path], llama: Any) -> None:
    vector = load_vector(files["vector"], llama)
    assert [str(site) for site in vector.sites] == ["resid_post@0", "resid_post@1", "resid_post@2", "z@1.0", "z@1.1"]
    again = runs.extract_to_file(
        ModelSource(str(files["model"])),
        f"{files['data']}#train",
        files["data"].parent / "b",
        method="pca_of_differences",
    )
    assert again.data_hash == vector.data_hash and again.at("resid_post@1").equal(vector.at("resid_post@1"))


def test_a_sweep_writes_its_rows_figures_and_provenance(files: dict[str, Path], tmp_path: Path) -> None:
    done = sweep_into(files, tmp_path, "--strengths", "1,-2,1")
    assert done.exit_code == 0 and "5 sites (reused)" in done.output
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == SWEPT and all((tmp_path / name).stat().st_size > 0 for name in SWEPT)
    result = SweepResult.load(tmp_path / "sweep.csv")
    assert result.strengths == (-2.0, -1.0, 0.0, 1.0, 2.0) and len(result.sites) == 5
    assert len(result.frame) == 5 * 5 * 2 * 2, "sites, strengths, validation items, orders"
    configurations = pd.read_csv(tmp_path / "layer_strength_map.csv")
    assert list(dict.fromkeys(configurations["behaviour"])) == ["my_coins resid_post", "my_coins z.0", "my_coins z.1"]
    assert [rows["chosen"].tolist().count(True) for _, rows in configurations.groupby("behaviour")] == [1, 1, 1]
    curve = pd.read_csv(tmp_path / "steering_curves.csv")
    assert set(curve["n"]) == {10} and curve["site"].nunique() == 1, "the curve is of test items, at the point"
    record = json.loads((tmp_path / "run.json").read_text())
    assert (
        record["path"] == "reused"
        and (record["items"], record["test_items"]) == (2, 10)
        and record["model"]["name"] == "tiny-llama"
    )


@pytest.mark.slow
def test_a_sweep_that_was_ended_goes_on_and_writes_the_same_bytes(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    assert sweep_into(files, whole).exit_code == 0
    calls = 0
    with monkeypatch.context() as patch:
        real = runs_of_parts()

        def stop(*given: Any) -> Any:
            nonlocal calls
            for split in real(*given):
                calls += 1
                if calls == 3:
                    raise KeyboardInterrupt
                yield split

        patch.setattr("lens_steer.evaluation.grid.run.reused_passes", stop)
        assert sweep_into(files, ended).exit_code != 0
    assert [path.name for path in ended.iterdir()] == ["checkpoint"] and list((ended / "checkpoint").iterdir())
    assert sweep_into(files, ended).exit_code == 0
    for name in SWEPT:
        assert (ended / name).read_bytes() == (whole / name).read_bytes(), name


def runs_of_parts() -> Any:
    from lens_steer.evaluation.grid import run

    return run.reused_passes


def test_items_are_named_by_behaviour_or_file_and_split(tmp_path: Path) -> None:
    path = write_items(tmp_path / "x.jsonl", 20)
    parts = {split: read_items(f"{path}#{split}", "train")[1] for split in (*SPLITS, "all")}
    assert [len(items) for items in parts.values()] == [8, 2, 10, 20]
    assert not {item.id for item in parts["train"]} & {item.id for item in parts["validation"] + parts["test"]}
    assert read_items(str(path), "test") == ("x", parts["test"])
    name, items = read_items("lab:myopic", "validation")
    assert name == "myopic" and len(items) == 20 and items != read_items("lab:myopic#test", "validation")[1][:20]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (("--data", "lab:greed"), DataError, "the lab has no behaviour 'greed'; give one of"),
        (("--data", "lab:myopic#tset"), DataError, "there is no split 'tset'"),
        (("--data", "lab:myopic#test"), DataError, "nothing is chosen on test items"),
        (("--data", "lab:myopic#all"), DataError, "nothing is chosen on test items"),
        (("--data", "missing.jsonl"), DataError, "cannot be read"),
        (("--strengths", "1;2"), ScoreError, "give numbers separated by commas"),
        (("--strengths", "nan"), ScoreError, "give finite numbers"),
        (("--model", "lab"), MismatchError, "of different models"),
    ],
)
def test_what_cannot_be_swept_is_said(
    files: dict[str, Path], tmp_path: Path, more: tuple[str, str], error: type[LensSteerError], words: str
) -> None:
    with pytest.raises(error, match=words):
        sweep_into(files, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_split_without_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the split 'validation' is empty"):
        read_items(f"{write_items(tmp_path / 'one.jsonl', 1)}#validation", "train")


def yes_no_file(path: Path, yes: int, no: int) -> Path:
    """Questions of which `yes` match with Yes and `no` with No."""
    rows = [
        {
            "question": f"Do you like number {i * i}, friend?",
            "answer_matching_behavior": " Yes" if i < yes else " No",
            "answer_not_matching_behavior": " No" if i < yes else " Yes",
        }
        for i in range(yes + no)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_what_gives_the_answers_away_is_said_and_can_be_left_out_or_taken_out(
    llama_folder: Path, llama: Any, tmp_path: Path
) -> None:
    data = yes_no_file(tmp_path / "likes.jsonl", yes=30, no=10)
    arguments = ["extract", "--model", llama_folder, "--data", f"{data}#all"]
    done = [
        invoke(*arguments, "--balance", balance, "--out", tmp_path / f"{balance}.safetensors")
        for balance in ("none", "subset", "residual")
    ]
    assert "40 items, model-written evals" in done[0].stderr
    assert "'no' is the matching answer in 25% of 40 questions (expected 50%)" in done[0].stderr
    plain, subset, residual = (
        load_vector(tmp_path / f"{balance}.safetensors", llama) for balance in ("none", "subset", "residual")
    )
    assert (plain.n_positive, subset.n_positive, residual.n_positive) == (80, 40, 80)
    axis = extract(llama, option_contrast(read_items(f"{data}#all", "train")[1]))
    assert all(abs(residual.cosine(axis, site)) < 1e-4 < abs(plain.cosine(axis, site)) for site in plain.sites)


def test_bad_data_and_vectors_are_refused_before_the_model_is_loaded(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelSource, "load", lambda _: pytest.fail("the model was loaded"))
    (tmp_path / "half.safetensors").write_bytes(files["vector"].read_bytes()[:100])
    model = ModelSource(str(files["model"]))
    with pytest.raises(DataError):
        runs.extract_to_file(model, str(tmp_path / "missing.jsonl"), tmp_path / "v")
    with pytest.raises(DataError):
        runs.sweep_to_folder(model, files["vector"], str(tmp_path / "missing.jsonl"), tmp_path / "out")
    with pytest.raises(LensSteerError):
        runs.sweep_to_folder(model, tmp_path / "half.safetensors", str(files["data"]), tmp_path / "out")


def test_every_command_with_a_model_takes_device_dtype_device_map_and_bos(
    files: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ["extract", "--model", files["model"], "--data", files["data"], "--out", tmp_path / "v"]
    with pytest.raises(LensSteerError, match="dtype 'int4' is not one"):
        invoke(*arguments, "--dtype", "int4")
    with pytest.raises(LensSteerError, match="device 'cuda:9' is not there"):
        invoke(*arguments, "--device", "cuda:9")
    assert invoke(*arguments, "--dtype", "bfloat16", "--device-map", "auto").exit_code == 0
    assert load_vector(tmp_path / "v").fingerprint.dtype == "bfloat16"
    assert load_vector(tmp_path / "v").fingerprint.prepend_bos is True  # as the tokenizer does it
    assert invoke(*arguments, "--no-prepend-bos").exit_code == 0
    assert load_vector(tmp_path / "v").fingerprint.prepend_bos is False
    top: Any = typer.main.get_command(cli.app)
    commands = [*top.commands.values(), *top.commands["lab"].commands.values()]
    for command in commands:
        options = {option.name for option in command.params}
        assert "model" not in options or {"device", "dtype", "device_map", "prepend_bos"} <= options, command.name


@pytest.mark.slow
def test_a_labelled_data_set_becomes_a_vector_that_steers_as_its_table_says_and_facts_do_not(tmp_path: Path) -> None:
    lab = load_model("lab")
    options = ["--sites", "resid_post@0", "--strengths", "0.4,0.8", "--positions", "all", "--seeds", 1]
    done = invoke("painless", "--data", "lab:sycophancy", *options, "--methods", "caa", "--out", tmp_path / "a")
    assert done.exit_code == 0 and "steer at resid_post@0, strength 0." in done.output
    found = PainlessResult.load(tmp_path / "a" / "painless", lab).task("sycophancy")
    row: Any = found.tests.set_index("method").loc["best"]
    assert row["steered"] - row["unsteered"] == pytest.approx(row["gain"]) and row["gain"] > 0.1
    items = read_items("lab:sycophancy", "test")[1]
    unsteered = correct(score_choices(lab, items)).mean()
    with found.on(lab):
        assert correct(score_choices(lab, items)).mean() > unsteered + 0.1

    known = [
        {"question": item.stem, "choices": [item.matching, item.other], "answer": 0}
        for item in fact_items(60, split="train")
    ]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, known)), encoding="utf-8")
    more = ["--methods", "caa", "--limit", 48, "--out", tmp_path / "b"]
    done = invoke("painless", "--data", tmp_path / "facts.jsonl", *options, *more)
    assert done.exit_code == 0 and "do not steer" in done.output
    assert not list((tmp_path / "b").rglob("vectors"))
    facts = PainlessResult.load(tmp_path / "b" / "painless").task("facts")
    assert len(facts.answers) == 47 and facts.vector is None and facts.intervention is None
    with pytest.raises(DataError, match="no chosen point of a task 'sycophancy'; those that there are: facts"):
        PainlessResult.load(tmp_path / "b" / "painless").task("sycophancy")


@pytest.mark.slow
def test_a_painless_run_is_planned_kept_within_a_budget_resumed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["painless", "--data", "lab:sycophancy", "--sites", "resid_post@0", "--sites", "resid_post@1", "--seeds", 4]
    words += ["--positions", "all", "--methods", "caa", "--limit", 60]
    planned = invoke(*words, "--out", tmp_path / "a", "--dry-run")
    assert planned.exit_code == 0 and "Plan: about" in planned.output and not list(tmp_path.rglob("*.csv"))
    with pytest.raises(BudgetError, match=r"the least plan \(painless only, 20 test items\) needs"):
        invoke(*words, "--out", tmp_path / "a", "--budget", "0.1s")

    asked, plain = [], passes.last_logits

    def counted(*given: Any, **how: Any) -> Any:
        if list(tmp_path.glob("*/run.json")):  # what measures the speed is not counted
            asked.append(len(given[1]))
            if len(asked) == 6:
                raise Killed
        return plain(*given, **how)

    monkeypatch.setattr(passes, "last_logits", counted)
    monkeypatch.setattr("sys.argv", ["lens-steer", *map(str, words)])
    with pytest.raises(Killed):
        invoke(*words, "--out", tmp_path / "a")
    assert json.loads((tmp_path / "a" / "run.json").read_text())["finished"] is False
    assert invoke(*words, "--out", tmp_path / "a").exit_code == 0
    resumed = len(asked) - 6
    assert invoke(*words, "--out", tmp_path / "b").exit_code == 0
    assert resumed < len(asked) - 6 - resumed, "finished passes were asked again"
    for path in (tmp_path / "b" / "painless").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "a" / path.relative_to(tmp_path / "b")).read_bytes(), path
    page = (tmp_path / "a" / "report.html").read_text()
    assert "painless vectors" in page and "sycophancy" in page
    with pytest.raises(FormatError, match="is of another command; run lens-steer painless --data lab:sycophancy"):
        read_settings(tmp_path / "a" / "run.json")


@pytest.mark.slow
def test_painless_takes_questions_with_four_options(tmp_path: Path) -> None:
    rng, lines = random.Random("four"), []
    for item in open_items("wealth_seeking", 60, split="train"):
        options = [item.matching, item.other, item.other + " now", item.other + " then"]
        lines.append(json.dumps({"question": item.stem, "choices": options, "answer": 0, "n": rng.random()}))
    (tmp_path / "four.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ["--sites", "resid_post@0", "--positions", "all", "--seeds", 1, "--methods", "caa", "--out", tmp_path / "a"]
    done = invoke("painless", "--data", tmp_path / "four.jsonl", "--scoring", "option_token", *words)
    assert done.exit_code == 0
    found = PainlessResult.load(tmp_path / "a" / "painless").task("four")
    assert found.answers["answer"].isin(range(4)).all() and found.answers["answer"].nunique() > 1


def test_a_labelled_data_set_is_used_whole_and_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave out the '#'"):
        invoke("painless", "--data", "lab:sycophancy#train", "--out", tmp_path)
    with pytest.raises(SettingsError, match=r"strengths \[-1.0\], 5 seeds; give strengths above 0"):
        invoke("painless", "--data", "lab:sycophancy", "--strengths", "-1", "--out", tmp_path)
    with pytest.raises(SettingsError, match="expected one of 'pas_full', 'ipas_all'"):
        invoke("painless", "--data", "lab:sycophancy", "--methods", "pasf", "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def voices(folder: Path) -> tuple[Path, Path]:
    """Files of lines of speakers with a trait, and without it."""
    found = []
    for bit in (True, False):
        rng, lines = random.Random(f"voices:{bit}"), dict[str, None]()
        while len(lines) < 20:
            speaker = world.draw_speaker_with(rng, "myopic", bit)
            lines[world.preamble(rng, speaker, "myopic", "clear").strip()] = None
        found.append(folder / f"{'hasty' if bit else 'calm'}.txt")
        found[-1].write_text("\n".join(lines), encoding="utf-8")
    return found[0], found[1]


def test_two_lists_of_texts_become_a_verdict_a_vector_and_a_report(tmp_path: Path) -> None:
    hasty, calm = voices(tmp_path)
    neutral, out = tmp_path / "neutral.jsonl", tmp_path / "out"
    lines = [json.dumps({"text": text}) for text in lab_corpus("text", 60, 1, 1).train]
    neutral.write_text("\n".join(lines), encoding="utf-8")
    words = ["study", "--positive", hasty, "--negative", calm, "--out", out, "--sites", "resid_post@7"]
    words += ["--strengths", "0.2", "--text", f"neutral={neutral}", "--prompt", "The king", "--prompt", "Once upon a"]
    done = invoke(*words)
    assert done.exit_code == 0 and "steerable: beyond vectors of shuffled labels and random directions" in done.output
    record, page = json.loads((out / "run.json").read_text()), (out / "report.html").read_text()
    assert record["finished"] and record["experiment"] == "two lists of texts" and "hasty.txt" in record["files"]
    assert "Two lists of texts: does the vector between them steer?" in page and (out / "text_lists.png").is_file()
    found = TextListsResult.load(out / "text_lists", load_model("lab"))
    assert str(found.vector.sites[0]) == "resid_post@7" and set(found.generations["prompt"]) == {
        "The king",
        "Once upon a",
    }
    with pytest.raises(SettingsError, match="holds the results of another run"):
        invoke(*words, "--seed", 1)


INSPECT = """from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes

@task
def words(n: int = 12) -> Task:
    data = MemoryDataset([Sample(input=f"{k} times", target="e") for k in range(n)])
    return Task(dataset=data, scorer=includes(), config=GenerateConfig(max_tokens=4))
"""


@pytest.mark.usefixtures("contained")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_of_inspect_is_run_in_every_arm_and_reported(tmp_path: Path) -> None:
    task, vector, out = tmp_path / "words.py", tmp_path / "v.safetensors", tmp_path / "out"
    task.write_text(INSPECT)
    runs.extract_to_file(ModelSource(), "lab:myopic", vector, ["resid_post@0"])
    words = ["evaluate", "--task", task, "--vector", vector, "--site", "resid_post@0", "--strength", 1]
    done = invoke(*words, "--random", 1, "-T", "n=9", "--out", out)
    assert done.exit_code == 0 and "includes" in done.output and "random 0" in done.output
    page, record = (out / "report.html").read_text(), json.loads((out / "run.json").read_text())
    assert "does the vector change its score?" in page and (out / "inspect_task.png").is_file() and record["finished"]
    assert InspectTaskResult.load(out / "inspect_task").arms["n"].eq(9).all()
    with pytest.raises(SettingsError, match="-T n=24"):
        invoke(*words, "-T", "n", "--out", tmp_path / "other")
    with pytest.raises(SettingsError, match="holds the results of another run"):
        invoke(*words, "--random", 2, "--out", out)


def test_bad_files_of_texts_and_a_folder_of_other_content_are_refused(tmp_path: Path) -> None:
    hasty, calm = voices(tmp_path)
    empty, few = tmp_path / "empty.txt", tmp_path / "few.txt"
    empty.write_text("\n \n")
    few.write_text("One line.\nAnother one.\n")

    def refused(positive: Path, negative: Path, match: str, kind: type = DataError, *more: object) -> None:
        with pytest.raises(kind, match=match):
            invoke("study", "--positive", positive, "--negative", negative, "--out", tmp_path / "out", *more)

    refused(hasty, hasty, "is given twice; give one file of positive and another one of negative texts")
    refused(hasty, empty, "empty")
    refused(hasty, few, "2 different texts of 2 .* give at least 12")
    refused(hasty, calm, "side effects are measured on --text neutral=PATH alone", DataError, "--text", f"code={few}")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    refused(hasty, calm, "is not empty and holds no run; give another --out", SettingsError)


def test_workers_share_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        with ModelSource().workers(2) as pool:
            assert pool is not None
            assert {pool.executor.submit(torch.get_num_threads).result() for _ in range(4)} == {3}
    finally:
        torch.set_num_threads(before)
