"""`painless` on the lab: a behaviour gains, knowledge is left alone, the leak is there on request alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lens_steer
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import split_items
from lens_steer.errors import ContrastError, DataError, MismatchError, ScoreError, SteeringWarning
from lens_steer.evaluation.automatic import SelectOptions
from lens_steer.evaluation.grid import Pool
from lens_steer.evaluation.painless import Painless, PainlessOptions, painless, run
from lens_steer.evaluation.score import ScoringOptions, score_choices
from lens_steer.lab.items import fact_items, open_items
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.metrics.significance import holm
from lens_steer.model import load_model

SELECT = SelectOptions(sites="resid_post@0:3", positions="all", places=2, ranked=8, strengths=(0.4, 0.8))
OPTIONS = PainlessOptions(seeds=(0, 1), near=None, select=SELECT)
LEAK = PainlessOptions(
    seeds=(0, 1, 4),
    methods=("pas_full",),
    near=None,
    orders="by_run",
    select=SelectOptions(sites="resid_post@4:7", places=2, ranked=8, strengths=(0.4, 0.8)),
)
ONE_LETTER = pytest.mark.filterwarnings("ignore:.*the model answers . to")


def different(items: Any) -> tuple[ChoiceItem, ...]:
    return tuple({item.content: item for item in items}.values())


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def items() -> tuple[ChoiceItem, ...]:
    return different(open_items("wealth_seeking", 80, split="train"))


@pytest.fixture(scope="module")
def asked() -> list[list[str]]:
    """The ids of every list of questions that was prepared, in order."""
    return []


@pytest.fixture(scope="module")
def result(lab: Any, items: Any, asked: list[list[str]]) -> Painless:
    prepare = ScoringOptions.prepare

    def spied(self: ScoringOptions, model: Any, given: Any) -> Any:
        asked.append([item.id for item in given])
        return prepare(self, model, given)

    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="score texts instead"):
        patch.setattr(ScoringOptions, "prepare", spied)
        return painless(lab, items, OPTIONS, "wealth")


def test_a_behaviour_gains_on_test_items_beyond_random_vectors(result: Painless) -> None:
    tests: Any = result.tests.set_index("method")
    assert list(tests.index) == [*OPTIONS.methods, "best", "random"]
    assert tests.loc["best", "gain"] > 0.25 and tests.loc["best", "beyond"] > 0.15
    assert tests.loc["best", "steered"] - tests.loc["best", "unsteered"] == pytest.approx(tests.loc["best", "gain"])


def test_test_items_are_asked_once_and_after_everything_is_chosen(
    result: Painless, items: Any, asked: list[list[str]]
) -> None:
    assert sorted(asked[0]) == sorted(item.id for item in items) and len(result.runs)
    for number, seed in enumerate(OPTIONS.seeds):
        splits = split_items(items, OPTIONS.fractions, seed, None)
        validation, ranked, sloped, test = asked[1 + 4 * number : 5 + 4 * number]
        assert set(validation) == {item.id for item in splits.validation}
        assert set(ranked) == set(sloped) <= set(validation) and len(ranked) == 8
        assert set(test) == {item.id for item in splits.test} and not set(test) & set(validation)
    assert len(asked) == 1 + 4 * len(OPTIONS.seeds)


def test_vectors_are_made_of_training_items_and_their_own_answers(result: Painless, items: Any) -> None:
    right = result.answers.set_index("item")["right"]
    for seed, own in result.runs.groupby("seed"):
        train = [item.id for item in split_items(items, OPTIONS.fractions, int(str(seed)), None).train]
        sizes = own.set_index("method")[["n_positive", "n_negative"]]
        hits = int(right[train].sum())
        assert tuple(sizes.loc["pas_full"]) == tuple(sizes.loc["ipas_all"]) == (hits, len(train) - hits)
        assert tuple(sizes.loc["ipas_wrong_only"]) == (len(train) - hits,) * 2
        assert tuple(sizes.loc["caa"]) == (len(train),) * 2


def test_the_answers_are_those_in_the_order_in_which_an_item_is_shown(lab: Any, items: Any, result: Painless) -> None:
    scores = score_choices(lab, items)
    listing = run._listing(OPTIONS, 0)
    for number, item in enumerate(items):
        _, indices, place = listing.arranged(item)
        assert indices == (0, 1)
        assert result.answers["answer"][number] == int(scores.chosen[number, place])


def test_random_vectors_go_through_the_same_selection(result: Painless) -> None:
    for _, own in result.points.groupby("seed"):
        counts = own.groupby("method").size()
        assert set(counts) == {1 + 2 * 2}
        assert set(own.groupby("method")["chosen"].sum()) == {1}
    assert result.runs["passes"].nunique() == 1


def test_tests_are_those_of_the_gains_of_each_seed(result: Painless) -> None:
    runs = result.runs[result.runs["method"] == "caa"]
    found = splits_test(torch.tensor(runs["gain"].to_numpy()), runs["n_test"].mean(), 0.8 * len(result.answers))
    row: Any = result.tests.set_index("method").loc["caa"]
    assert row["gain_low"] == pytest.approx(found.low, abs=0.02) and row["p_t"] == pytest.approx(found.p_t)
    own = result.tests[result.tests["method"] != "random"]
    assert own["p_corrected_holm"].tolist() == pytest.approx(holm(own["p_corrected"].tolist()))
    assert bool(result.tests.loc[result.tests["method"] == "random", ["p_t", "p_flips"]].isna().to_numpy().all())


def test_the_best_vector_steers_while_it_is_on_and_not_afterwards(lab: Any, items: Any, result: Painless) -> None:
    test = split_items(items, OPTIONS.fractions, 0, None).test
    before = score_choices(lab, test)
    with result.on(lab):
        during = score_choices(lab, test)
    row = result.runs[(result.runs["seed"] == 0) & (result.runs["method"] == "best")].iloc[0]
    assert float((during.chosen == 0).float().mean()) == pytest.approx(row["steered"])
    assert torch.equal(score_choices(lab, test).scores, before.scores)


def test_a_result_is_read_back_with_its_vector_and_refuses_another_model(
    lab: Any, llama: Any, result: Painless, tmp_path: Path
) -> None:
    written = result.save(tmp_path)
    assert {path.name for path in written} == {
        *("runs.csv", "points.csv", "tests.csv", "answers.csv"),
        "vector.safetensors",
    }
    again = Painless.load(tmp_path, lab)
    for name, frame in result.tables().items():
        pd.testing.assert_frame_equal(again.tables()[name], frame, check_dtype=False)
    one, other = result.intervention, again.intervention
    assert one is not None and other is not None and torch.equal(one.direction, other.direction)
    assert (one.site, one.strength, str(one.positions)) == (other.site, other.strength, str(other.positions))
    with pytest.raises(MismatchError):
        Painless.load(tmp_path, llama)


@pytest.mark.slow
@ONE_LETTER
def test_the_same_seeds_give_the_same_tables(lab: Any, items: Any, result: Painless) -> None:
    again = painless(lab, items, OPTIONS, "wealth")
    for name, frame in result.tables().items():
        pd.testing.assert_frame_equal(again.tables()[name], frame)


def test_knowledge_is_not_steered_and_says_so(lab: Any, tmp_path: Path) -> None:
    facts = different(fact_items(120, split="train"))
    options = replace(OPTIONS, seeds=(0,), select=replace(SELECT, strengths=(0.4,)))
    found = painless(lab, facts, options, "facts")
    assert found.vector is None and found.facts["point"]["strength"] == 0
    best = found.tests.set_index("method").loc["best"]
    assert (best["gain"], best["p_corrected"]) == (0, 1)
    why = found.runs.set_index("method")["why"]
    assert all("answers all" in why[method] for method in OPTIONS.methods[:3]) and why["caa"] == ""
    assert found.tests.set_index("method").loc["pas_full", "seeds"] == 0
    found.save(tmp_path)
    again = Painless.load(tmp_path)
    with pytest.warns(SteeringWarning, match="the answer is not to steer"), again.on(lab):
        assert bool((score_choices(lab, facts[:4]).chosen == 0).all())


def steered(lab: Any, options: PainlessOptions) -> pd.DataFrame:
    items = different(open_items("boldness", 80, split="train"))
    runs = painless(lab, items, options, "boldness").runs
    return runs[runs["method"] == "pas_full"]


@pytest.mark.slow
@ONE_LETTER
def test_with_one_order_a_run_a_behaviour_that_cannot_be_steered_seems_to_be_and_by_default_it_does_not(
    lab: Any,
) -> None:
    """Half of the items of `boldness` mean the opposite: no vector can do better than one half, but a letter can."""
    leaked, fair = steered(lab, LEAK), steered(lab, replace(LEAK, orders="by_item"))
    assert leaked["steered"].mean() > 0.8 and leaked["gain"].mean() > 0.4
    assert fair["steered"].mean() < 0.6


def test_too_few_items_or_no_vector_at_all_or_mixed_numbers_of_options_are_refused(lab: Any) -> None:
    facts = different(fact_items(60, split="train"))
    with pytest.raises(DataError, match=r"make splits of \[2, 0, 0\]|make splits of"):
        painless(lab, facts[:2], replace(OPTIONS, methods=("caa",)))
    with pytest.raises(ContrastError, match="answers all"):
        painless(lab, facts[:12], replace(OPTIONS, methods=("pas_full", "ipas_all")))
    with pytest.raises(ContrastError, match=r"no vector can be built\. caa: 6 texts on one side; at least 20"):
        painless(lab, facts[:10], replace(OPTIONS, methods=("caa",), fewest=20))
    three = lens_steer.read([{"question": f"{n}?", "choices": ["a", "b", "c"], "answer": 1} for n in range(9)]).items
    with pytest.raises(ScoreError, match=r"items with \[2, 3\] options"):
        painless(lab, [*facts[:4], *three])


@ONE_LETTER
def test_workers_that_run_the_sweeps_change_nothing_and_are_not_written_down(lab: Any, items: Any) -> None:
    few = replace(OPTIONS, seeds=(0,), methods=("pas_full",), n_random=0, select=replace(SELECT, sites="resid_post@0"))
    shards: list[Any] = []
    with ThreadPoolExecutor(1) as executor:
        send = executor.submit
        executor.submit = lambda *given: shards.append(given) or send(*given)
        pool = Pool(executor=executor, load=partial(load_model, "lab"))
        shared = replace(few, select=replace(few.select, scoring=replace(few.select.scoring, pool=pool)))
        found = painless(lab, items[:40], shared)
    alone = painless(lab, items[:40], few)
    pd.testing.assert_frame_equal(found.points, alone.points)
    pd.testing.assert_frame_equal(found.runs, alone.runs)
    assert shards and found.facts == alone.facts
