"""Function vectors beside random sums of heads: on the lab's tasks, whose heads are known to carry them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lens_steer.data.in_context import InContextTask, query_prompts
from lens_steer.errors import DataError
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.function_vectors import FunctionVectors, FunctionVectorsResult, compare_function_vectors
from lens_steer.experiments.function_vectors.verdict import QUESTION
from lens_steer.extraction.function_vector import Demonstrations, measure_heads, sum_heads
from lens_steer.extraction.in_context_answers import answer_probabilities, ask
from lens_steer.hooks import Intervention
from lens_steer.lab.skills import MAPPINGS
from lens_steer.model import load_model

SHOWN = Demonstrations(n_shots=5, n_prompts=16, n_corrupted=8, corrupted="zero_shot")
SETTINGS = FunctionVectors(n_heads=10, n_random=3, train=10, validation=6, layers=(3, 7), demonstrations=SHOWN)
NEUTRAL = ["The king went home.", "The cat sat on the mat and slept."]
TASKS = tuple(
    InContextTask(name=name, pairs=tuple(MAPPINGS[name].items()), template="{x} -> {y}\n")
    for name in ("kind", "plural")
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def result(lab: Any) -> FunctionVectorsResult:
    return compare_function_vectors(lab, TASKS, NEUTRAL, SETTINGS)


def test_a_gain_is_that_of_the_answers_log_probability_at_the_chosen_point(
    lab: Any, result: FunctionVectorsResult
) -> None:
    n = len(TASKS[0].pairs)
    shown, _, test = TASKS[0].split((10 / n, 6 / n, 1 - 16 / n))
    vector = sum_heads(lab, measure_heads(lab, shown, SHOWN), 10, (3, 7))
    row = result.chosen.query("task == 'kind' and way == 'no examples' and vector == 'steering'").iloc[0]
    asked = ask(lab, query_prompts(shown, test.pairs, 0))
    edit = Intervention.of(vector, f"resid_post@{row['layer']}", row["strength"], positions="last")
    gain = (answer_probabilities(lab, asked, edit).log() - answer_probabilities(lab, asked).log()).mean()
    assert row["gain"] == pytest.approx(float(gain), abs=1e-3) and row["n"] == n - 16
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]


def test_in_the_lab_the_heads_found_carry_their_own_task_and_not_the_other(result: FunctionVectorsResult) -> None:
    chosen = result.chosen.query("way == 'no examples'").set_index(["task", "vector"])["gain"]
    for task in ("kind", "plural"):
        assert chosen[task, "steering"] > max(chosen[task, f"random {k}"] for k in range(3))
    gains = result.others.set_index(["task", "asked"])["gain"]
    assert gains["kind", "kind"] > 0.5 > gains["kind", "plural"]


def test_random_sums_have_the_norm_of_the_vector_and_other_heads(lab: Any) -> None:
    measured = measure_heads(lab, TASKS[0], SHOWN)
    heads = measured.random(10, seed=1)
    assert len(set(heads)) == 10 and heads == tuple(sorted(heads)) == measured.random(10, seed=1)
    assert heads != measured.random(10, seed=2) and not set(heads) & set(measured.random(10, seed=1, beside=heads))
    both = sum_heads(lab, measured, heads[:1]) + sum_heads(lab, measured, heads[1:])
    whole = sum_heads(lab, measured, heads)
    assert both.cosine(whole, whole.sites[0]) == pytest.approx(1, abs=1e-5)


def test_the_verdict_says_what_the_tables_say(result: FunctionVectorsResult, tmp_path: Path) -> None:
    result.save(tmp_path / "function_vectors")
    found = {finding.subject: finding for finding in QUESTION.find(read_results(tmp_path))}
    assert set(found) == {"kind", "plural"} and "beside 3 sums of as many random heads" in found["kind"].words
    assert found["kind"].verdict == "too few random directions to tell"
    chance = result.accuracy.query("task == 'kind'")["chance"].unique().tolist()
    n = len(TASKS[0].pairs)
    _, _, test = TASKS[0].split((10 / n, 6 / n, 1 - 16 / n))
    counts = Counter(y for _, y in test.pairs)
    assert chance == [pytest.approx(max(counts.values()) / len(test.pairs))]


def test_tasks_of_one_name_and_too_few_pairs_are_refused(lab: Any) -> None:
    with pytest.raises(DataError, match="each of another name"):
        compare_function_vectors(lab, [TASKS[0], TASKS[0]], NEUTRAL, SETTINGS)
    few = InContextTask(name="few", pairs=TASKS[0].pairs[:12], template="{x} -> {y}\n")
    with pytest.raises(DataError, match="12 pairs; give at least 10 to make the vector, 6 to choose and two to test"):
        compare_function_vectors(lab, [few], NEUTRAL, SETTINGS)
