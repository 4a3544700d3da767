"""Individual steering end to end, on the lab model."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.score import score_choices
from lens_steer.experiments.individual_steering import Individual, IndividualResult, individual_steering, p_value
from lens_steer.experiments.individual_steering.experiment import between_strengths
from lens_steer.hooks import Intervention
from lens_steer.lab.items import open_items
from lens_steer.model import load_model
from lens_steer.vector import random_like

SETTINGS = Individual(
    sites=("resid_post@0", "resid_post@6"), strengths=(-1.0, 1.0), positions=("0:20",), n_random=3, lens_tokens=3
)
NAMES = ("wealth_seeking", "sycophancy")


def behaviours() -> dict[str, Splits]:
    sizes = {"train": 30, "validation": 8, "test": 8}
    return {
        name: Splits(**{split: open_items(name, n, split=split) for split, n in sizes.items()})  # pyright: ignore
        for name in NAMES
    }


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def result(lab: Any) -> IndividualResult:
    return individual_steering(lab, behaviours(), SETTINGS)


def test_the_chosen_point_moves_test_answers_both_ways_and_random_directions_do_not(result: IndividualResult) -> None:
    summary = result.summary().set_index("behaviour")
    assert tuple(summary.index) == NAMES
    moved = summary["added"] - summary["subtracted"]
    assert (moved > 0.5).all(), summary.to_string()
    assert (summary["added"] > summary["random_high"]).all(), summary.to_string()


def test_the_late_layer_of_the_lab_model_is_not_chosen(result: IndividualResult) -> None:
    assert {str(point.site) for point in result.points.values()} == {"resid_post@0"}


def test_curves_are_what_scoring_the_test_items_gives(result: IndividualResult, lab: Any) -> None:
    point = result.points["sycophancy"]
    edit = Intervention.of(result.vectors["sycophancy"], point.site, 1.0, positions=point.positions)
    alone = score_choices(lab, behaviours()["sycophancy"].test, [edit])
    rows = result.curves.query("behaviour == 'sycophancy' and vector == 'steering' and strength == 1.0")
    assert rows["matching_rate"].item() == pytest.approx(float(alone.matches.double().mean()))


def test_every_frame_has_all_behaviours_and_every_control_its_own_curve(result: IndividualResult) -> None:
    for frame in (result.validation, result.curves, result.answers, result.lens):
        assert list(frame["behaviour"].unique()) == list(NAMES)
    assert result.curves.groupby("behaviour")["vector"].nunique().tolist() == [4, 4]
    assert result.validation.groupby("behaviour")["chosen"].sum().tolist() == [1, 1]
    assert len(result.lens) == 2 * 2 * SETTINGS.lens_tokens
    assert (result.curves["strength"] == 0).sum() == 8


def test_the_same_seed_gives_the_same_bytes_twice(lab: Any) -> None:
    settings = replace(SETTINGS, sites=("resid_post@0",), n_random=1, mapped=False)
    one, other = (individual_steering(lab, {NAMES[1]: behaviours()[NAMES[1]]}, settings) for _ in range(2))
    for name in ("validation", "curves", "answers", "cosines", "lens"):
        assert getattr(one, name).to_csv() == getattr(other, name).to_csv(), name
    pd.testing.assert_frame_equal(one.summary(), other.summary(), check_exact=True)


def test_random_directions_have_the_norms_of_the_vector_and_depend_on_the_seed_alone(result: IndividualResult) -> None:
    vector = result.vectors["sycophancy"]
    first, again, other = (random_like(vector, seed) for seed in (0, 0, 1))
    for site in vector.sites:
        assert first.norm(site) == pytest.approx(vector.norm(site), rel=1e-5)
        assert torch.equal(first.at(site), again.at(site)) and not torch.equal(first.at(site), other.at(site))
        assert abs(first.cosine(vector, site)) < 0.4


def test_no_behaviours_is_refused(lab: Any) -> None:
    with pytest.raises(ScoreError, match="no behaviours"):
        individual_steering(lab, {})


def test_random_directions_go_through_the_same_choice_and_none_goes_as_far(result: IndividualResult) -> None:
    for name, rows in result.chosen.groupby("behaviour"):
        assert list(rows["vector"]) == ["steering", "random 0", "random 1", "random 2"], name
        assert set(rows["strength"]) <= {1.0} and p_value(pd.DataFrame(rows)) == 0.25
    row: Any = result.summary().set_index("behaviour").loc["sycophancy"]
    steering: Any = result.chosen.query("behaviour == 'sycophancy' and vector == 'steering'").iloc[0]
    assert row["effect"] == steering["effect"] == pytest.approx(steering["excess"] + steering["band"])
    answers = result.answers[result.answers["behaviour"] == "sycophancy"]
    means: Any = answers.groupby("strength")["logit_difference"].mean()
    assert row["effect"] == pytest.approx((means.loc[1.0] - means.loc[-1.0]) / 2)


def test_the_controls_have_a_rate_at_every_strength_of_the_curve(result: IndividualResult) -> None:
    counts = result.curves.groupby(["behaviour", "strength"])["vector"].nunique()
    assert set(counts) == {4} and set(counts.index.get_level_values("strength")) == {-1.0, 0.0, 1.0}


def test_a_vector_that_is_a_random_direction_is_exchangeable_with_its_controls(
    lab: Any, result: IndividualResult
) -> None:
    splits, vector = behaviours()["sycophancy"], result.vectors["sycophancy"]
    found = individual_steering(lab, {"sycophancy": splits}, SETTINGS, vectors={"sycophancy": random_like(vector, 99)})
    assert found.summary()["effect"].abs().item() < 0.3
    assert found.chosen["excess"].abs().max() < 0.3


def test_p_counts_the_vector_itself_and_leaves_invalid_controls_out() -> None:
    rows = [("steering", True, 1.0), ("random 0", True, 1.0), ("random 1", True, 0.5), ("random 2", False, 2.0)]
    chosen = pd.DataFrame(rows, columns=["vector", "valid", "excess"])
    assert p_value(chosen) == 2 / 4
    assert p_value(chosen.assign(valid=[False, True, True, True])) == 1.0


@pytest.mark.parametrize("screening", ["exact", "first_order"])
def test_screening_leaves_as_many_places_as_wanted(lab: Any, screening: Any) -> None:
    few = replace(SETTINGS, places=1, screening=screening, mapped=False)
    found = individual_steering(lab, {"sycophancy": behaviours()["sycophancy"]}, few)
    assert set(found.validation["site"]) == {"resid_post@0"} and set(found.chosen["site"]) == {"resid_post@0"}


@pytest.mark.slow
def test_strengths_next_to_the_best_of_a_coarse_grid_are_swept_for_the_vector_and_its_controls_alike(lab: Any) -> None:
    grid = tuple(sign * s for sign in (-1.0, 1.0) for s in (0.25, 0.5, 1.0, 2.0, 4.0))
    coarse = replace(SETTINGS, strengths=grid, coarse=True, mapped=False, sites="resid_post@0")
    found = individual_steering(lab, {"sycophancy": behaviours()["sycophancy"]}, coarse)
    sizes = {abs(strength) for strength in found.validation["strength"]} - {0.0}
    first, more = {0.25, 1.0, 4.0}, {0.5, 2.0}
    assert first < sizes <= first | more
    assert not found.validation.duplicated(["site", "positions", "strength"]).any()
    assert found.validation["chosen"].sum() == 1
    drawn = found.curves.groupby("vector")["strength"].apply(lambda column: {abs(s) for s in column} - {0.0})
    assert len(drawn) == 4 and all(own == sizes for own in drawn)
    assert set(found.chosen["strength"]) <= sizes


@pytest.mark.parametrize(
    ("best", "between"), [(0.5, [-1.0, 1.0]), (2.0, [-1.0, -4.0, 1.0, 4.0]), (8.0, [-4.0, 4.0]), (3.0, [-4.0, 4.0])]
)
def test_only_strengths_of_both_signs_next_to_the_best_are_added(best: float, between: list[float]) -> None:
    strengths = [-8.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0]
    known = [-8.0, -2.0, -0.5, 0.5, 2.0, 3.0, 8.0]
    assert between_strengths(best, strengths, known) == between
