"""In-context vectors against function vectors, on the tasks that the lab has learnt and the voices of its speakers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lens_steer.errors import DataError
from lens_steer.experiments.finding import TOO_FEW
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.in_context import InContext, InContextResult, in_context
from lens_steer.experiments.in_context.experiment import first_word
from lens_steer.experiments.in_context.methods import Compared, compared_methods
from lens_steer.experiments.in_context.tasks import SplitTask, chosen_tasks
from lens_steer.experiments.in_context.verdict import QUESTION
from lens_steer.hooks import steer
from lens_steer.lab.corpora import lab_corpus
from lens_steer.model import load_model, tokenize

SETTINGS = InContext(
    source="lab",
    tasks=("plural", "hasty_voice"),
    layer=3,
    n_heads=10,
    corrupted="zero_shot",
    prompts=16,
    corrupted_prompts=10,
    n_random=2,
    most_validation=4,
    most_test=8,
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def tasks() -> dict[str, SplitTask]:
    return chosen_tasks(SETTINGS)


@pytest.fixture(scope="module")
def methods(lab: Any, tasks: dict[str, SplitTask]) -> dict[str, Compared]:
    return {method.name: method for method in compared_methods(lab, tasks["plural"].train, False, SETTINGS)}


@pytest.fixture(scope="module")
def result(lab: Any, tasks: dict[str, SplitTask]) -> InContextResult:
    return in_context(lab, tasks, lab_corpus("text", 1, 1, 4).test, SETTINGS)


def row(frame: Any, **where: Any) -> Any:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame.to_string()
    return frame.iloc[0]


def test_the_function_vector_does_the_functional_task_and_the_in_context_vector_does_not(
    result: InContextResult,
) -> None:
    place = {"task": "plural", "vector": "steering", "condition": "zero_shot"}
    function, last = (row(result.effects, method=name, **place) for name in ("function_vector", "icv_last"))
    assert function["change_low"] > 0 and function["change"] > last["change"]
    assert function["accuracy"] > function["unsteered_accuracy"] == 0


def test_the_in_context_vector_moves_the_voice_and_the_function_vector_does_not(result: InContextResult) -> None:
    place = {"task": "hasty_voice", "vector": "steering", "condition": "zero_shot"}
    function, last = (row(result.effects, method=name, **place) for name in ("function_vector", "icv_last"))
    assert last["margin_low"] > 0 and last["margin"] > function["margin"]


def test_few_right_examples_do_the_task_and_every_answer_is_kept(result: InContextResult) -> None:
    plural = result.answers[result.answers["task"] == "plural"]
    rates = plural.groupby(["condition", "method"])["right"].mean()
    assert rates["few_shot", "unsteered"] == 1 and rates["zero_shot", "unsteered"] == 0
    assert (plural.groupby(["condition", "method"]).size() == 8).all() and len(rates) == 2 * 5 + 1
    said = plural[plural["condition"] == "zero_shot"]
    assert (said["right"] == [first_word(t) == y for t, y in zip(said["text"], said["y"], strict=True)]).all()


def test_log_likelihoods_are_those_of_one_plain_pass_an_answer(
    lab: Any, result: InContextResult, methods: dict[str, Compared]
) -> None:
    for name in ("unsteered", "icv_last", "icv_last_four", "function_vector", "mean_difference"):
        own = result.answers[(result.answers["task"] == "plural") & (result.answers["method"] == name)]
        found = own[own["condition"] == "zero_shot"].iloc[0]
        edits = []
        if name != "unsteered":
            place = {"task": "plural", "vector": "steering", "condition": "zero_shot"}
            edits = methods[name].edits(float(row(result.effects, method=name, **place)["strength"]))
        (begun,), (whole,) = tokenize(lab, [found["prompt"]]), tokenize(lab, [f"{found['prompt']} {found['y']}"])
        with torch.no_grad(), steer(lab, *edits, prompt_lengths=[len(begun)]):
            table = lab(torch.tensor([whole])).double().log_softmax(-1)[0]
        places = range(len(begun), len(whole))
        expected = sum(float(table[place - 1, whole[place]]) for place in places) / len(places)
        assert found["log_likelihood"] == pytest.approx(expected, abs=1e-3), name


def test_changes_and_p_are_those_of_the_answers_and_controls_beside_them(result: InContextResult) -> None:
    place = {"task": "plural", "condition": "zero_shot"}
    answers = result.answers[(result.answers["task"] == "plural") & (result.answers["condition"] == "zero_shot")]
    means = answers.groupby("method")["log_likelihood"].mean()
    for name in ("icv_last", "icv_last_four", "function_vector", "mean_difference"):
        own = result.effects[(result.effects["method"] == name) & (result.effects["task"] == "plural")]
        own = own[own["condition"] == "zero_shot"].set_index("vector")
        assert list(own.index) == ["steering", "control 0", "control 1"] or set(own.index) == {
            "steering", "control 0", "control 1"}  # fmt: skip
        change = row(result.effects, method=name, vector="steering", **place)["change"]
        assert change == pytest.approx(means[name] - means["unsteered"], abs=1e-6)
        others = own.drop("steering")["change"]
        assert own.loc["steering", "p"] == pytest.approx((1 + (others >= change).sum()) / 3)
        assert own.drop("steering")["p"].isna().all()


def test_strengths_are_those_at_which_validation_likelihood_is_highest_and_side_effects_grow(
    result: InContextResult,
) -> None:
    for (task, method), own in result.strengths.groupby(["task", "method"]):
        assert own["chosen"].sum() == 1
        best: Any = own.loc[own["change"] == own["change"].max()].iloc[0]
        assert bool(best["chosen"]) and own["kl"].is_monotonic_increasing, (task, method)
        used = row(result.effects, task=task, method=method, vector="steering", condition="shuffled_shot")
        assert used["strength"] == best["strength"]


def test_controls_are_other_heads_of_the_same_norm_and_random_directions(methods: dict[str, Compared]) -> None:
    function, difference = methods["function_vector"], methods["mean_difference"]
    for method in (function, difference):
        (own,) = method.edits(1.0)
        for control in method.controls:
            (other,) = control(1.0)
            assert other.site == own.site and other.positions == own.positions
            assert float(other.direction.norm()) == pytest.approx(float(own.direction.norm()), rel=1e-4)
            assert not torch.allclose(other.direction, own.direction)
    assert not methods["icv_last_four"].controls and methods["icv_last_four"].shares == "icv_last"
    sites = [str(edit.site) for edit in methods["icv_last"].edits(0.1)]
    assert sites == [f"mlp_out@{layer}" for layer in range(len(sites))] and len(sites) > 4


def test_parts_of_a_task_share_no_pair_and_an_unknown_task_is_refused(tasks: dict[str, SplitTask]) -> None:
    for task in tasks.values():
        parts = [set(part.pairs) for part in (task.train, task.validation, task.test)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert [task.kind for task in tasks.values()] == ["functional", "transfer"]
    assert list(chosen_tasks(InContext()))[-1] == "sentiment_transfer"
    with pytest.raises(DataError, match="no in-context task 'synonym'"):
        chosen_tasks(InContext(tasks=("synonym",)))


@pytest.mark.parametrize(
    ("text", "word"), [(" cold.\nQ:", "cold"), ("", ""), ('"Paris", of course', "Paris"), (" Cold", "Cold")]
)
def test_the_first_word_is_read_without_punctuation_and_with_its_case(text: str, word: str) -> None:
    assert first_word(text) == word


def test_a_result_is_read_back_and_its_verdict_compares_both_kinds(result: InContextResult, tmp_path: Path) -> None:
    result.save(tmp_path / "in_context")
    again = InContextResult.load(tmp_path / "in_context")
    assert again.effects["change"].tolist() == result.effects["change"].tolist()
    found = {finding.subject: finding for finding in QUESTION.find(read_results(tmp_path))}
    assert list(found) == ["functional tasks", "transfer tasks", "plural", "hasty voice"]
    assert found["functional tasks"].verdict == "function vectors go further"
    assert found["plural"].verdict == TOO_FEW and found["plural"].holds is False
    assert "100\N{NO-BREAK SPACE}% behind right examples (8 test pairs)" in found["plural"].words
