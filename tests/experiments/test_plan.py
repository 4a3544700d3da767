"""What a run costs, and what a budget leaves of it: arithmetic on counts, without a model."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.data.splits import SPLITS
from lens_steer.errors import BudgetError
from lens_steer.experiments.individual_steering import Individual
from lens_steer.experiments.individual_steering.study import STUDY as INDIVIDUAL
from lens_steer.experiments.plan import (
    LEAST_DOCUMENTS,
    LEAST_ITEMS,
    OVERHEAD,
    SHARE,
    Extent,
    Sizes,
    Work,
    clock,
    evenly_spaced,
    every_second,
    ladder,
    make_plan,
)
from lens_steer.experiments.registry import studies
from lens_steer.experiments.study import Study

KINDS = ("read", "plain", "gradient", "texts", "predicted", "generated", "asked all", "asked last", "asked 0:20")
SPEED = dict.fromkeys(KINDS, 1e-4) | {"asked last": 1e-5}
RUNNING = [study for study in studies() if study.run]


def extent(items: int = 200, tokens: int = 100) -> Extent:
    lengths = {split: (tokens,) * items for split in SPLITS}
    return Extent(
        n_layers=30,
        n_heads=9,
        prompts={"a": lengths, "b": lengths},
        documents={"neutral": lengths, "code": lengths},
        neutral="neutral",
    )


def work(study: Study, sizes: Sizes) -> Work:
    cut = extent().cut(sizes.of_items(study.setup.items), sizes.of_documents(study.setup.documents))
    return study.work(study.reduced(study.setup.settings, sizes), cut)


WORKS = {study.name: partial(work, study) for study in RUNNING}


def test_seconds_are_amounts_times_speed_and_a_fixed_time_for_each_configuration() -> None:
    both = Work({"read": 10.0}, 2) + Work({"read": 5.0, "texts": 4.0}, 1)
    assert both.amounts == {"read": 15.0, "texts": 4.0} and both.configurations == 3 and both.token_blocks == 19
    assert both.seconds({"read": 2.0, "texts": 3.0}) == pytest.approx(42 + 3 * OVERHEAD)


def test_a_configuration_costs_the_blocks_behind_its_site_and_the_unsteered_model_all_of_them() -> None:
    here = extent()
    assert here.blocks(["resid_pre@0", "resid_post@0", "resid_post@29"]) == [30, 29, 0]
    assert here.asked(100, "last", [29, 0], 4).amounts == {"plain": 100 * 30, "asked last": 100 * 4 * 29}
    found = here.texts("test", ("code",), [10], 3, most=40)
    assert found.amounts == {"texts": 200 * 40 * (30 + 3 * 10), "predicted": 200 * 40 * 4} and found.configurations == 3


def test_the_map_the_pool_and_the_test_of_individual_steering_are_counted_as_they_are_run() -> None:
    settings = Individual(
        sites="resid_post@0:2", strengths=(-1.0, 1.0), positions=("all",), n_random=3, places=1, screened=5
    )
    lengths = {"train": (7,) * 4, "validation": (7,) * 10, "test": (7,) * 20}
    here = Extent(n_layers=4, n_heads=1, prompts={"a": lengths})
    blocks, pool = 3 + 2, 4
    screening, mapped = 35 * 2 * pool * blocks, 70 * 2 * blocks
    swept, tested = 70 * 2 * pool * blocks / 2, 140 * 2 * pool * blocks / 2
    found, plain = INDIVIDUAL.work(settings, here), (35 + 70 + 70 + 140) * 4
    assert found.amounts == {"read": 28 * 4, "plain": plain, "asked all": screening + mapped + swept + tested}


def test_a_coarse_grid_is_counted_with_the_strengths_next_to_the_best_and_never_costs_more() -> None:
    sizes = tuple(sign * s for sign in (-1.0, 1.0) for s in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0))
    whole = Individual(strengths=sizes, positions=("all",), mapped=False, screening="first_order", places=1)
    coarse = INDIVIDUAL.reduced(whole, Sizes(coarse=True))
    assert coarse.coarse and coarse.strengths == sizes
    counted = [INDIVIDUAL.work(settings, extent()).amounts["asked all"] for settings in (whole, coarse)]
    pool, asked = 21, 2 * 200 * 100 * 14.5
    assert counted[0] == pool * (14 + 14) * asked
    assert counted[1] == pool * (8 + 4 + 8 + 4) * asked


def test_vectors_chosen_at_other_places_are_tested_there_at_their_two_strengths() -> None:
    one = Individual(positions=("all",), mapped=False, screening="first_order", places=1, strengths=(-1.0, 1.0))
    two = replace(one, places=2)
    asked = [INDIVIDUAL.work(settings, extent()).amounts["asked all"] for settings in (one, two)]
    assert asked[1] - asked[0] == 21 * (2 + 1) * 2 * 200 * 100 * 14.5, "twice the sweep, and one strength a vector more"


def test_studies_after_individual_steering_are_counted_at_the_rule_that_they_take_from_it() -> None:
    for study in (study for study in RUNNING if study.name in ("joint", "optimiser")):
        setup, here = study.setup, extent().cut(study.setup.items, study.setup.documents)
        given, taken = (study.work(setup.settings, replace(here, rule=rule)) for rule in ("", "last"))
        assert given.amounts["asked all"] == taken.amounts["asked last"] and "asked all" not in taken.amounts
        assert taken.seconds(SPEED) < given.seconds(SPEED)


def test_without_a_budget_nothing_is_left_out() -> None:
    plan = make_plan(WORKS, SPEED)
    assert plan.sizes == Sizes() and not plan.left_out and [s.name for s in plan.studies] == list(WORKS)


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=2))
def test_a_larger_budget_never_gives_a_smaller_plan(budgets: list[float]) -> None:
    taken = []
    for budget in sorted(budgets):
        try:
            plan = make_plan(WORKS, SPEED, budget)
        except BudgetError:
            taken.append((0, 0))
            continue
        assert plan.seconds <= SHARE * budget
        taken.append((len(plan.studies), -len(plan.left_out)))
        for study in RUNNING:
            limits = plan.sizes.of_items({"validation": 500, "test": 500})
            assert limits["test"] >= LEAST_ITEMS and limits["validation"] >= LEAST_ITEMS // 2
            assert plan.sizes.of_documents(study.setup.documents).get("test", 99) >= LEAST_DOCUMENTS
    assert taken[0] <= taken[1]


def test_a_budget_is_spent_and_the_reductions_come_in_the_stated_order() -> None:
    whole = make_plan(WORKS, SPEED).seconds
    plans = [make_plan(WORKS, SPEED, whole / SHARE * share) for share in (1.01, 0.9, 0.2, 0.05)]
    studies = [len(plan.studies) for plan in plans]
    assert not plans[0].left_out and plans[1].left_out and studies == sorted(studies, reverse=True)
    assert plans[1].left_out[0].startswith("sites are screened by their slopes")
    assert any("of the position rules only 'last', the fastest" in words for words in plans[-1].left_out)


def test_the_least_plan_is_named_where_the_budget_is_too_small() -> None:
    with pytest.raises(BudgetError, match=r"a budget of 1 s; the least plan \(individual only, 20 test items\)") as one:
        make_plan(WORKS, SPEED, 1.0)
    enough = float(str(one.value).partition("--budget ")[2].partition("s")[0])
    assert [study.name for study in make_plan(WORKS, SPEED, enough).studies] == ["individual"]
    with pytest.raises(BudgetError):
        make_plan(WORKS, SPEED, enough * 0.98)


def test_every_reduction_lessens_the_work_or_leaves_it() -> None:
    sizes, before = Sizes(), {name: count(Sizes()).seconds(SPEED) for name, count in WORKS.items()}
    for words, change in ladder("last"):
        sizes = Sizes(**{**vars(sizes), **change})
        after = {name: count(sizes).seconds(SPEED) for name, count in WORKS.items()}
        assert all(after[name] <= before[name] * (1 + 1e-9) for name in WORKS), words
        before = after


def test_small_helpers_say_what_they_mean() -> None:
    assert every_second((-2, -1, -0.5, 0, 0.5, 1, 2)) == (-2, -0.5, 0, 0.5, 2)
    assert evenly_spaced(30, 4) == ("resid_post@6", "resid_post@11", "resid_post@17", "resid_post@22")
    assert evenly_spaced(1, 4) == ("resid_post@0",)
    assert [clock(seconds) for seconds in (45.0, 720.0, 7500.0)] == ["45 s", "12 min", "2 h 5 min"]
