"""Several behaviours at once, end to end on the lab, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.errors import DataError, ScoreError, SiteError
from lens_steer.evaluation.score import score_choices
from lens_steer.experiments.evaluator import Evaluator
from lens_steer.experiments.joint_steering import JointResult, JointSteering, joint_steering
from lens_steer.experiments.joint_steering.interference import interference
from lens_steer.experiments.joint_steering.points import best_strength
from lens_steer.experiments.joint_steering.schemes import individual_curves, scheme_curves
from lens_steer.extraction import extract
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector
from lens_steer.vector.compose import assign, projected_strengths

pytestmark = pytest.mark.slow

NAMES: tuple[str, ...] = ("myopic", "agreeableness", "anti_immigration")
PLACES = {name: f"resid_post@{layer}" for layer, name in enumerate(NAMES)}
SETTINGS = JointSteering(
    site="resid_post@0",
    places=PLACES,
    strengths=(0, 0.5, 1, 2),
    positions="0:20",
    n_random=4,
    resamples=99,
)
TEXTS = lab_corpus("text", train=1, validation=4, test=4)


def splits(name: str, n: int = 8) -> Splits:
    sizes: dict[Any, int] = {"train": 40, "validation": 6, "test": n}
    found: dict[str, Any] = {split: open_items(name, size, split=split) for split, size in sizes.items()}
    return Splits(**found)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def behaviours() -> dict[str, Splits]:
    return {name: splits(name) for name in NAMES}


@pytest.fixture(scope="module")
def vectors(lab: Any, behaviours: dict[str, Splits]) -> dict[str, SteeringVector]:
    contrasts = {name: contrast_from_choices(name, rows.train, answer="text") for name, rows in behaviours.items()}
    return {name: extract(lab, contrast, sites="resid_post@0:3") for name, contrast in contrasts.items()}


@pytest.fixture(scope="module")
def result(lab: Any, vectors: Any, behaviours: Any) -> JointResult:
    return joint_steering(lab, vectors, behaviours, TEXTS, SETTINGS)


def test_every_scheme_has_the_same_grid_and_is_chosen_within_the_budget_on_validation(result: JointResult) -> None:
    validation = result.configurations[result.configurations["split"] == "validation"]
    grids = validation.groupby(["scheme", "direction"])["strength"].unique().map(sorted)
    assert len(grids) == 18 and all(grid == [0.0, 0.5, 1.0, 2.0] for grid in grids)
    best = result.points[result.points["point"].eq("best") & result.points["steered"].eq("all")]
    assert len(best) == 16
    for _, row in best.iterrows():
        same = validation["scheme"].eq(row["scheme"]) & validation["direction"].eq(row["direction"])
        there = validation[same & validation["strength"].eq(row["strength"])]
        assert (there["kl"] <= SETTINGS.kl).all()


def test_equal_points_do_the_budgets_side_effect_to_validation_texts(
    lab: Any, vectors: Any, result: JointResult
) -> None:
    equal = result.points[result.points["point"].eq("equal") & result.points["steered"].eq("all")]
    assert len(equal) >= 8
    one = {name: 1.0 for name in NAMES}
    curves = scheme_curves(
        vectors, SETTINGS.site, PLACES, one, {"add": one, "subtract": one}, SETTINGS.positions, "raw", SETTINGS.ridge
    )
    items = {name: splits(name).validation[:2] for name in NAMES}
    evaluator = Evaluator(model=lab, items=items, corpora={"text": TEXTS.validation})
    for curve in curves[1:7:2]:
        chosen = equal[equal["scheme"].eq(curve.scheme) & equal["direction"].eq(curve.direction)]
        if curve.scheme != "sum weighted" and len(chosen):
            side_effect = evaluator.measure([curve.configuration(float(chosen["strength"].iloc[0]))]).side_effects[0]
            assert side_effect.kl == pytest.approx(SETTINGS.kl, rel=0.1)


def test_test_numbers_are_those_of_asking_the_test_items(lab: Any, vectors: Any, behaviours: Any, result: Any) -> None:
    rows = result.configurations[
        result.configurations["split"].eq("test") & result.configurations["point"].eq("as_published")
    ]
    row: Any = rows[rows["scheme"].eq("sum") & rows["direction"].eq("subtract") & rows["behaviour"].eq("myopic")]
    plan = assign(vectors, SETTINGS.site, -1.0).interventions(SETTINGS.positions)
    alone = score_choices(lab, behaviours["myopic"].test, plan)
    assert row["matching_rate"].item() == pytest.approx(float(alone.matches.double().mean()))
    assert row["logit_difference"].item() == pytest.approx(float(alone.logit_differences.mean()), abs=1e-3)


def test_the_mean_is_the_sum_at_a_third_of_its_strength(result: JointResult) -> None:
    equal = result.points[result.points["point"] == "equal"].set_index(["scheme", "direction"])["strength"]
    for direction in ("add", "subtract"):
        if ("mean", direction) in equal.index:
            assert equal["mean", direction] == pytest.approx(3 * equal["sum", direction], rel=0.05)


def test_individual_steering_is_as_good_alone_as_when_it_is_pooled(result: JointResult) -> None:
    alone = result.objective[result.objective["scheme"].eq("individual") & result.objective["point"].eq("best")]
    each = alone[alone["steered"].isin(NAMES)].groupby(["direction", "item"])["objective"].mean()
    pooled = alone[alone["steered"] == "each"].set_index(["direction", "item"])["objective"]
    pd.testing.assert_series_equal(each.sort_index(), pooled.sort_index(), check_names=False)


def test_what_is_predicted_is_measured_in_the_lab_and_random_directions_do_less(result: JointResult) -> None:
    pairs = result.interference[result.interference["where"] == "combined"]
    pair = pairs.set_index(["steered", "read"])
    for steered, read in (("agreeableness", "anti_immigration"), ("anti_immigration", "agreeableness")):
        row: Any = pair.loc[(steered, read)]
        assert row["predicted"] > 0 and row["measured_low"] > 0
        assert row["measured"] > row["random_high"]
    assert (pairs["cosine"] <= 1 + 1e-9).all() and set(result.agreement["where"]) == {"combined", "simultaneous"}


def test_a_planted_opposition_is_predicted_and_measured(lab: Any, vectors: Any) -> None:
    """anti_immigration's vector, made to point away from agreeableness': the lab's own two share a direction."""
    site = "resid_post@0"
    agree, other = vectors["agreeableness"].at(site), vectors["anti_immigration"].at(site)
    away = other - 3 * (other @ agree) / (agree @ agree) * agree
    planted = {
        "agreeableness": vectors["agreeableness"],
        "anti_immigration": vectors["anti_immigration"].replaced("planted", {s: away for s in vectors["myopic"].sites}),
    }
    items = {name: open_items(name, 32, split="test") for name in planted}
    evaluator = Evaluator(model=lab, items=items, corpora={"text": TEXTS.test[:1]})
    pairs, _ = interference(evaluator, planted, site, 1.0, "0:20", "raw", 4, 0)
    row: Any = pairs.set_index(["steered", "read"]).loc[("anti_immigration", "agreeableness")]
    assert row["cosine"] < -0.3 and row["predicted"] < 0
    assert row["measured_high"] < 0 and row["p"] < 0.05 and row["measured"] < row["random_low"]


def test_least_squares_placements_meet_mixed_targets_and_equal_strengths_do_not(vectors: Any) -> None:
    targets = {"myopic": 0.0, "agreeableness": 1.0, "anti_immigration": -1.0}
    one = dict.fromkeys(NAMES, 1.0)
    curves = scheme_curves(vectors, "resid_post@0", PLACES, targets, {"add": one, "subtract": one}, "all", "raw", 1e-3)
    placements = {curve.scheme: projected_strengths(curve.assignment) for curve in curves if curve.direction == "add"}
    assert placements["gram"] == pytest.approx(targets, abs=0.05)
    assert max(abs(placements["sum"][name] - targets[name]) for name in NAMES) > 0.2
    rows = [row for curve in curves if curve.scheme == "simultaneous gram" for row in curve.strength_rows()]
    assert [row["projected_strength"] for row in rows[:3]] == pytest.approx([0.0, 1.0, -1.0], abs=0.05)


def test_a_behaviour_without_a_target_is_not_steered_alone_and_has_no_share_in_the_mean(vectors: Any) -> None:
    targets, one = {"myopic": 0.0, "agreeableness": 1.0, "anti_immigration": -1.0}, dict.fromkeys(NAMES[1:], 1.0)
    alone = individual_curves(vectors, "resid_post@0", targets, "all", "raw")
    found = {(curve.steered, curve.direction): curve.assignment.strengths[curve.steered] for curve in alone}
    assert found == {
        ("agreeableness", "add"): 1.0,
        ("agreeableness", "subtract"): -1.0,
        ("anti_immigration", "add"): -1.0,
        ("anti_immigration", "subtract"): 1.0,
    }
    curves = scheme_curves(vectors, "resid_post@0", PLACES, targets, {"add": one, "subtract": one}, "all", "raw", 1e-3)
    strengths = {curve.scheme: curve.assignment.strengths for curve in curves if curve.direction == "add"}
    assert (
        strengths["mean"]
        == strengths["mean weighted"]
        == {
            "myopic": 0.0,
            "agreeableness": 0.5,
            "anti_immigration": -0.5,
        }
    )


def test_schemes_are_compared_in_pairs_of_items(result: JointResult) -> None:
    found = result.compared("sum", "best").set_index(["scheme", "direction"])
    wide = result.objective[result.objective["point"].eq("best") & result.objective["steered"].eq("all")]
    add = wide[wide["direction"] == "add"].pivot(index="item", columns="scheme", values="objective")
    assert found.loc[("gram", "add"), "difference"] == pytest.approx((add["gram"] - add["sum"]).mean())
    with pytest.raises(ScoreError, match="scheme 'none' has no 'best' point"):
        result.compared("none", "best")


def test_what_was_saved_reads_back(result: JointResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    again = JointResult.load(tmp_path)
    for name in ("configurations", "points", "objective", "placements", "interference", "agreement"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_dtype=False)
    pd.testing.assert_frame_equal(again.compared("sum", "best"), result.compared("sum", "best"))


def test_the_best_strength_breaks_neither_budget_nor_answers(lab: Any, vectors: Any, behaviours: Any) -> None:
    evaluator = Evaluator(model=lab, items={"myopic": behaviours["myopic"].test}, corpora={"text": TEXTS.test})
    one = dict.fromkeys(NAMES, 1.0)
    curve = scheme_curves(vectors, "resid_post@0", PLACES, one, {"add": one, "subtract": one}, "0:20", "raw", 1e-3)[1]
    grid = (0.0, 0.25, 1.0)
    measured = evaluator.measure([curve.configuration(strength) for strength in grid])
    kls = [side_effect.kl for side_effect in measured.side_effects]
    assert kls[0] == 0 < kls[1] < kls[2]
    assert best_strength(measured, grid, curve, kl=0.0) == 0.0
    free = max(grid, key=lambda s: float(measured.targeted(grid.index(s), curve.targets).mean()))
    assert best_strength(measured, grid, curve, kl=99.0) == free > 0
    assert torch.isfinite(measured.changes(2)).all()


def test_what_cannot_be_compared_is_refused(lab: Any, vectors: Any, behaviours: Any) -> None:
    def run(items: Any = behaviours, **changes: Any) -> JointResult:
        return joint_steering(lab, vectors, items, TEXTS, replace(SETTINGS, **changes))

    for strengths in ((0.5, 1), (0,), (-1, 0, 1)):
        with pytest.raises(ScoreError, match="give 0, the unsteered model, and sizes above it"):
            run(strengths=strengths)
    for schemes in ((), ("sum",), ("sum", "simultaneous", "product")):
        with pytest.raises(ScoreError, match="give sum and simultaneous, and any of mean, sum"):
            run(schemes=schemes)
    with pytest.raises(SiteError, match="added to the same tensor"):
        run(places=PLACES | {"myopic": "resid_post@1"})
    with pytest.raises(ScoreError, match="places: boldness unknown"):
        run(places=PLACES | {"boldness": "resid_post@1"})
    with pytest.raises(ScoreError, match="vectors: myopic unknown"):
        run({name: rows for name, rows in behaviours.items() if name != "myopic"})
    with pytest.raises(ScoreError, match="every target is 0"):
        run(targets=dict.fromkeys(NAMES, 0.0))
    with pytest.raises(DataError, match="give each behaviour the same number"):
        run(behaviours | {"myopic": splits("myopic", 5)})
    leaked = replace(behaviours["myopic"], test=behaviours["agreeableness"].train[:8])
    with pytest.raises(DataError, match="must not be judged on what they are made of"):
        run(behaviours | {"myopic": leaked})
    yes = [ChoiceItem(id=str(i), stem=f"Is {i} kind?", matching="Yes", other="No") for i in range(6)]
    label = Splits(train=tuple(yes[:2]), validation=tuple(yes[2:4]), test=tuple(yes[4:]))
    with pytest.raises(DataError, match="'Yes' matches in all of its 6 items"):
        run(behaviours | {"myopic": label})
