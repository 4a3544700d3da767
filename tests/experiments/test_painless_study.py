"""Automatically made vectors as a study, on a behaviour of the lab and on what it knows."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
import torch

from lens_steer.data.own_answers import Listing
from lens_steer.data.splits import split_items
from lens_steer.errors import ContrastError, SettingsError
from lens_steer.evaluation.automatic import correct
from lens_steer.evaluation.score import ScoringOptions, score_choices
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.painless import PainlessResult, PainlessTasks, painless_tasks, study
from lens_steer.experiments.painless.full_grid import STRENGTHS, published_choice
from lens_steer.experiments.painless.on_top import BASES, Base, compared, lessons, prefix_of
from lens_steer.experiments.painless.settings import options_of
from lens_steer.experiments.painless.study import LAB, STUDY, _different, _facts
from lens_steer.experiments.painless.verdict import CHOICE, COST, GAIN, ON_TOP
from lens_steer.experiments.plan import Sizes, evenly_spaced
from lens_steer.extraction.finetune import Tuning, train_adapter
from lens_steer.lab.items import open_items
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.metrics.significance import holm
from lens_steer.model import adapted, load_model

pytestmark = pytest.mark.slow
SETTINGS = replace(
    LAB.settings, sites=("resid_post@0",), strengths=(0.4,), places=1, methods=("ipas_wrong_only", "caa"),
    seeds=3, n_random=1, sizes=(8,), sized=("ipas_wrong_only", "caa"), shots=2, full_grid=1, knowledge=24,
    tuned_seeds=2, tuning_steps=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    return {"wealth": _different(list(open_items("wealth_seeking", 70, split="train"))), "facts": _facts(24)}


@pytest.fixture(scope="module")
def result(lab: Any, tasks: dict[str, Any]) -> PainlessResult:
    return painless_tasks(lab, tasks, SETTINGS, tasks["facts"])


@pytest.fixture(scope="module")
def folder(result: PainlessResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    result.save(out / "painless")
    return out


def test_the_behaviour_gains_and_knowledge_does_not(result: PainlessResult) -> None:
    best: Any = result.gains[result.gains["method"] == "best"].set_index("task")
    assert best.loc["wealth", "gain"] > 0.25 and best.loc["wealth", "p_corrected"] < 0.05
    assert (best.loc["facts", "gain"], best.loc["facts", "steers"]) == (0, 0)


def test_p_values_are_corrected_over_all_tasks_and_methods(result: PainlessResult) -> None:
    for p in ("p_t", "p_corrected", "p_flips"):
        assert result.gains[f"{p}_holm"].dropna().tolist() == pytest.approx(holm(result.gains[p].dropna().tolist()))
    assert result.gains["family"].unique().tolist() == ["5 tasks and methods"]


def test_sizes_are_the_training_items_that_were_used(result: PainlessResult, tasks: dict[str, Any]) -> None:
    own = result.sizes[result.sizes["task"] == "wealth"]
    train = [len(split_items(tasks["wealth"], (0.6, 0.2, 0.2), seed, None).train) for seed in range(3)]
    assert sorted(own["n_train"].unique()) == [8, sorted(train)[1]]
    whole = own[own["n_train"] > 8].set_index("method")["gain"]
    table = result.gains[result.gains["task"] == "wealth"].set_index("method")["gain"]
    assert all(whole[method] == table[method] for method in ("ipas_wrong_only", "caa"))


def test_the_full_grid_tries_every_point_and_ends_where_the_paper_does(result: PainlessResult) -> None:
    grid = result.grid[result.grid["task"] == "wealth"]
    assert result.grid["task"].unique().tolist() == ["wealth", "facts"] and len(grid) == 2 * len(STRENGTHS)
    (chosen,) = grid[grid["chosen"]].to_dict("records")
    ties = grid[grid["objective"] == grid["objective"].max()]
    assert chosen["objective"] == ties["objective"].iloc[0]
    assert chosen["strength"] == ties["strength"].min()


def test_of_equal_points_the_paper_takes_the_highest_layer_then_the_least_strength() -> None:
    rows = [
        ("resid_post@2", 1.0, 0.5),
        ("resid_post@10", 4.0, 0.8),
        ("resid_post@10", 2.0, 0.8),
        ("mlp_out@9", 1.0, 0.8),
    ]
    assert published_choice(pd.DataFrame(rows, columns=["site", "strength", "objective"])) == 2


def test_both_choices_are_tested_on_the_same_items_and_cost_what_was_forwarded(
    result: PainlessResult, tasks: dict[str, Any]
) -> None:
    row: Any = result.choices.set_index("task").loc["wealth"]
    runs = result.runs[(result.runs["task"] == "wealth") & (result.runs["seed"] == 0)].set_index("method")
    assert row["automatic"] == pytest.approx(runs.loc["best", "gain"])
    assert row["automatic_passes"] == runs.loc[["ipas_wrong_only", "caa"], "passes"].sum()
    splits = split_items(tasks["wealth"], (0.6, 0.2, 0.2), 0, None)
    assert row["full_grid_passes"] == 2 * len(splits.validation) * (1 + 2 * len(STRENGTHS))
    assert row["fewer_passes"] == pytest.approx(row["full_grid_passes"] / row["automatic_passes"])
    assert row["difference"] == pytest.approx(row["automatic"] - row["full_grid"])
    grid = result.grid[result.grid["task"] == "wealth"]
    assert row["full_grid"] > 0.1 and grid["gain"].max() > 0.1 > grid["gain"].min()


def test_the_prefix_stands_before_the_question_and_every_condition_is_on_the_same_items(
    lab: Any, result: PainlessResult, tasks: dict[str, Any]
) -> None:
    rows: Any = result.on_top[result.on_top["task"] == "wealth"].set_index("condition")
    assert list(rows.index) == ["unsteered", "vector", "prefix", "prefix and vector", "adapter", "adapter and vector"]
    best = result.gains[(result.gains["task"] == "wealth") & (result.gains["method"] == "best")].iloc[0]
    assert rows.loc["vector", "gain"] == pytest.approx(best["gain"])
    assert rows.loc["vector", "gain_p"] == pytest.approx(best["p_corrected"], rel=0.05)
    assert (rows.loc["unsteered", "gain"], rows.loc["prefix", "over_prefix"]) == (0, 0)
    difference = rows.loc["prefix and vector", "accuracy"] - rows.loc["prefix", "accuracy"]
    assert rows.loc["prefix and vector", "over_prefix"] == pytest.approx(difference)
    plain = [
        float(correct(score_choices(lab, split_items(tasks["wealth"], (0.6, 0.2, 0.2), seed, None).test)).mean())
        for seed in range(3)
    ]
    assert rows.loc["unsteered", "accuracy"] == pytest.approx(sum(plain) / 3)


def test_a_prefix_is_answered_questions_as_they_are_asked(tasks: dict[str, Any]) -> None:
    item = tasks["facts"][0]
    listing = Listing()
    place = listing.order(item).index(0)
    options = [item.other, item.other]
    options[place] = item.matching
    expected = f"{item.stem}\n(A) {options[0]}\n(B) {options[1]}\nAnswer: ({'AB'[place]}) {item.matching}\n\n"
    assert prefix_of([item], listing, ScoringOptions()) == expected
    text = ScoringOptions(scoring="option_token")
    assert prefix_of([item], listing, text) == f"{item.stem}\nAnswer: {item.matching}\n\n"
    assert prefix_of([], listing, text) == ""


def test_a_model_fine_tuned_on_the_training_items_answers_better_and_the_vector_is_put_on_top(
    lab: Any, result: PainlessResult, tasks: dict[str, Any]
) -> None:
    rows: Any = result.on_top[result.on_top["task"] == "wealth"].set_index("condition")
    assert rows["seeds"].tolist() == [3, 3, 3, 3, 2, 2]
    assert rows.loc["adapter", "gain"] > 0.2 and rows.loc["adapter", "over_adapter"] == 0
    difference = rows.loc["adapter and vector", "accuracy"] - rows.loc["adapter", "accuracy"]
    assert rows.loc["adapter and vector", "over_adapter"] == pytest.approx(difference)
    again = []
    for seed in (0, 1):
        splits = split_items(tasks["wealth"], (0.6, 0.2, 0.2), seed, None)
        lesson = lessons(splits.train, options_of(lab, SETTINGS))
        adapter = train_adapter(lab, lesson, Tuning(steps=SETTINGS.tuning_steps, seed=seed))
        with adapted(lab, adapter):
            again.append(float(correct(score_choices(lab, splits.test)).mean()))
    assert rows.loc["adapter", "accuracy"] == pytest.approx(sum(again) / 2)


def test_conditions_are_compared_over_the_seeds_that_both_have() -> None:
    plain = Base("unsteered", ((0.2, 0.4), (0.3, 0.3), (0.1, 0.5)), (True, False, True))
    tuned = Base("adapter", ((0.9, 0.8), (0.7, 0.9)), (True, True))
    rows = compared([plain, tuned], 10, 40).set_index("condition")
    assert rows["seeds"].tolist() == [3, 3, 2, 2] and rows.loc["vector", "steers"] == pytest.approx(2 / 3)
    assert rows.loc["adapter", "gain"] == pytest.approx(0.8 - 0.25)
    assert rows.loc["vector", "over_adapter"] == pytest.approx(0.35 - 0.8)
    found = splits_test(torch.tensor([0.6, 0.6]), 10, 40)
    assert rows.loc["adapter and vector", "gain_low"] == pytest.approx(found.low, nan_ok=True)
    assert rows["over_prefix"].isna().all() and BASES[1] not in rows.index


def test_a_lesson_is_the_question_as_it_is_asked_with_the_right_answer(lab: Any, tasks: dict[str, Any]) -> None:
    item, options = tasks["facts"][0], options_of(lab, SETTINGS)
    (pair,) = lessons([item], options).pairs
    place = Listing().order(item).index(0)
    assert pair.prompt == Listing().write(item) and (pair.positive, pair.negative) == ("AB"[place], "BA"[place])
    text = options_of(lab, replace(SETTINGS, scoring="option_token"))
    (pair,) = lessons([item], text).pairs
    assert (pair.prompt, pair.positive) == (f"{item.stem}\nAnswer:", f" {item.matching}")


def test_where_nothing_can_be_fine_tuned_the_report_says_why(
    lab: Any, tasks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    own = replace(SETTINGS, methods=("caa",), seeds=2, sizes=(), full_grid=0, n_random=0)
    found = painless_tasks(lab, {"wealth": tasks["wealth"]}, own)
    assert set(found.on_top["condition"]) == {"unsteered", "vector", "prefix", "prefix and vector"}
    found.save(tmp_path / "painless")
    (said,) = ON_TOP.find(read_results(tmp_path))
    assert "Not fine-tuned: an adapter needs the package peft" in said.words


def test_capability_is_asked_where_the_vector_steers_and_of_the_adapter(result: PainlessResult) -> None:
    own = result.capability[result.capability["task"] == "wealth"]
    assert set(own["method"]) > {"adapter"} and len(own) == 2
    assert result.capability[result.capability["task"] == "facts"]["method"].tolist() == ["adapter"]
    for row in result.capability.to_dict("records"):
        assert row["n"] == 24 and row["change"] == pytest.approx(row["steered"] - row["unsteered"])
        assert row["unsteered"] == 1


def test_questions_of_another_task_are_asked_before_and_after(
    lab: Any, result: PainlessResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviours = {
        name: split_items(open_items(name, 20, split="train"), near=None) for name in ("wealth_seeking", "myopic")
    }
    given: list[Any] = []
    monkeypatch.setattr(study, "painless_tasks", lambda *what: given.append(what))
    context = SimpleNamespace(model=lab, behaviours=behaviours, settings=PainlessTasks(asked="myopic"), progress=False)
    STUDY.run(cast(Any, context))  # type: ignore[misc]
    (_, tasks, _, asked, _) = given[0]
    assert set(tasks) == set(behaviours) and asked is tasks["myopic"] and len(asked) == 20
    context.settings = PainlessTasks(asked="mmlu")
    with pytest.raises(SettingsError, match="no task 'mmlu'; those that there are: wealth_seeking, myopic"):
        STUDY.run(cast(Any, context))  # type: ignore[misc]
    facts = {**result.facts, "settings": {**result.facts["settings"], "asked": "some_questions"}}
    replace(result, facts=facts).save(tmp_path / "painless")
    assert "Of 24 questions about some questions" in COST.find(read_results(tmp_path))[0].words


def test_verdicts_name_the_gain_and_leave_knowledge_alone(folder: Path) -> None:
    found = {finding.subject: finding for finding in GAIN.find(read_results(folder))}
    assert found["facts"].verdict == "do not steer" and found["facts"].holds is False
    assert "Could not be built: ipas wrong only" in found["facts"].words
    assert found["wealth"].verdict in ("gains", "gains, not beyond random vectors")
    assert "score texts instead" in found["wealth"].words
    assert {finding.subject for finding in ON_TOP.find(read_results(folder))} == {"wealth", "facts"}
    whole, *each = CHOICE.find(read_results(folder))
    assert whole.subject == "all tasks" and "times fewer passes" in whole.words and len(each) == 2
    assert [finding.subject for finding in COST.find(read_results(folder))] == [
        "wealth",
        "wealth, adapter",
        "facts, adapter",
    ]


def test_a_gain_that_random_vectors_have_too_is_not_called_one(result: PainlessResult, tmp_path: Path) -> None:
    rows = result.gains["method"] == "best"
    gains = result.gains.assign(
        beyond_low=result.gains["beyond_low"].mask(rows, -0.1), p_corrected_holm=result.gains["p_corrected_holm"].mask(
            rows & result.gains["task"].eq("wealth"), 0.001))  # fmt: skip
    replace(result, gains=gains).save(tmp_path / "painless")
    found = {finding.subject: finding for finding in GAIN.find(read_results(tmp_path))}
    assert found["wealth"].verdict == "gains, not beyond random vectors" and found["wealth"].holds is False


def test_a_result_is_read_back(result: PainlessResult, folder: Path) -> None:
    again = PainlessResult.load(folder / "painless")
    for name, frame in result.tables().items():
        pd.testing.assert_frame_equal(again.tables()[name], frame, check_dtype=False)
    own = again.task("wealth")
    ((site, direction),) = result.vectors["wealth"].directions.items()
    assert own.vector is not None and torch.equal(own.vector.directions[site], direction)
    assert str(site) == own.facts["point"]["site"] and own.facts["point"]["strength"] == 0.4
    assert own.runs["method"].tolist() == result.runs.loc[result.runs["task"] == "wealth", "method"].tolist()
    (folder / "painless" / "answers.csv").unlink()
    assert PainlessResult.load(folder / "painless").answers.empty, "results of before have none"


def test_tasks_without_a_vector_are_said_and_a_study_of_none_is_refused(lab: Any, tasks: dict[str, Any]) -> None:
    own = replace(SETTINGS, methods=("ipas_wrong_only",), seeds=1, sizes=(), shots=0, tuned_seeds=0)
    found = painless_tasks(lab, tasks, own)
    assert "answers all 24 items right" in found.facts["failed"]["facts"]
    assert found.gains["task"].unique().tolist() == ["wealth"] and found.capability.empty and found.on_top.empty
    again = painless_tasks(lab, {"wealth": tasks["wealth"]}, replace(own, asked="wealth"), tasks["facts"])
    assert (
        again.capability.empty
        and not painless_tasks(
            lab, {"wealth": tasks["wealth"]}, replace(own, asked="facts"), tasks["facts"]
        ).capability.empty
    )
    with pytest.raises(ContrastError, match=r"no task gives a vector\. facts: facts: the model answers all"):
        painless_tasks(lab, {"facts": tasks["facts"]}, own)


def test_the_sites_of_a_model_are_spread_over_its_layers_where_none_are_named(lab: Any) -> None:
    options = options_of(lab, PainlessTasks(seed=3, seeds=2))
    assert options.seeds == (3, 4) and options.select.sites == evenly_spaced(8, 6)
    assert STUDY.reduced(PainlessTasks(), Sizes(coarse=True)).seeds == 3
    assert STUDY.reduced(PainlessTasks(), Sizes()) == PainlessTasks()


def test_each_gain_is_tested_against_its_own_splits(result: PainlessResult) -> None:
    runs = result.runs[(result.runs["task"] == "wealth") & (result.runs["method"] == "best")]
    rest = float((runs["n_train"] + runs["n_validation"]).mean())
    found = splits_test(torch.tensor(runs["gain"].to_numpy()), float(runs["n_test"].mean()), rest)
    row = result.gains[(result.gains["task"] == "wealth") & (result.gains["method"] == "best")].iloc[0]
    assert row["p_corrected"] == pytest.approx(found.p_corrected) and row["gain_high"] == pytest.approx(found.high)
