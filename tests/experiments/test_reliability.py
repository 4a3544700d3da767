"""The study of reliability on the lab: numbers against their definitions, controls, and every planted truth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.evaluation.score import ScoringOptions, score_choices
from lens_steer.evaluation.sweep import sweep
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.reliability import Reliability, ReliabilityResult, judge, judge_vector, reliability
from lens_steer.experiments.reliability.experiment import behaviour_vector
from lens_steer.experiments.reliability.judge import STEERING
from lens_steer.experiments.reliability.measure import Asked
from lens_steer.experiments.reliability.rules import RANDOM, SHUFFLED
from lens_steer.experiments.reliability.study import LAB, lab_persona, run, work
from lens_steer.experiments.reliability.verdict import find_predictors, find_verdicts
from lens_steer.experiments.speed import extent_of
from lens_steer.experiments.study import StudyContext
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS, DECOY, FLIPPED, POSITION_BIASED
from lens_steer.model import load_model
from lens_steer.vector import random_like

NAME = "anti_immigration"
SETTINGS = Reliability(
    sites=("resid_post@0", "resid_post@1"),
    positions=("0:20",),
    strengths=(-1.0, -0.5, 0.5, 1.0),
    n_random=19,
    shifted=4,
    varied=4,
    resamples=200,
)


def items_of(name: str, test: int = 8) -> Splits:
    sizes = {"train": 16, "validation": 2, "test": test}
    return Splits(**{split: open_items(name, n, split=split) for split, n in sizes.items()})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def result(lab: Any) -> ReliabilityResult:
    untrained = replace(items_of("myopic"), train=())
    behaviours = {NAME: items_of(NAME), "untrained": untrained}
    return reliability(lab, behaviours, SETTINGS, {NAME: lab_persona(NAME)})


def of(frame: pd.DataFrame, name: str = NAME) -> pd.DataFrame:
    return pd.DataFrame(frame[frame["behaviour"] == name])


def agresti_coull_high(k: int, n: int) -> float:
    z = norm.ppf(0.975)
    middle = (k + z**2 / 2) / (n + z**2)
    return float(min(1.0, middle + z * np.sqrt(middle * (1 - middle) / (n + z**2))))


def test_slopes_shares_and_fits_are_those_of_an_ordinary_sweep(lab: Any, result: ReliabilityResult) -> None:
    splits, row = items_of(NAME), of(result.behaviours).iloc[0]
    vector = behaviour_vector(lab, NAME, splits, SETTINGS)
    swept = sweep(lab, vector, splits.test, [row["site"]], SETTINGS.strengths, row["positions"])
    curves = swept.differences(row["site"]).numpy()
    slopes = np.polyfit(swept.strengths, curves.T, 1)[0]
    assert of(result.items)["slope"].tolist() == pytest.approx(list(slopes), abs=1e-4)
    assert row["steerability"] == pytest.approx(slopes.mean(), abs=1e-4)
    assert row["effect"] == pytest.approx(((curves[:, -1] - curves[:, 0]) / 2).mean(), abs=1e-4)
    assert row["spread"] == pytest.approx(np.sqrt((((curves[:, -1] - curves[:, 0]) / 2) ** 2).mean()), abs=1e-4)
    anti = int((slopes < 0).sum())
    assert row["anti_share"] == anti / 8 and row["anti_high"] == pytest.approx(agresti_coull_high(anti, 8))
    assert of(result.curves)["propensity"].tolist() == pytest.approx(list(curves.mean(axis=0)), abs=1e-4)


def test_p_counts_the_controls_of_either_kind_that_go_as_far_each_at_its_own_place(result: ReliabilityResult) -> None:
    controls, row = of(result.controls).set_index("vector"), of(result.behaviours).iloc[0]
    for name, column, kind, n in (
        ("p_random", "effect", RANDOM, 19),
        ("p_shuffled", "effect", SHUFFLED, 20),
        ("spread_p", "spread", RANDOM, 19),
    ):
        others = controls[controls["kind"] == kind]
        assert len(others) == n and set(others["site"]) <= set(SETTINGS.sites)
        far = (others[column] >= controls.loc[STEERING, column]).sum()
        assert row[name] == pytest.approx((1 + far) / (1 + n))
    assert row["p"] == max(row["p_random"], row["p_shuffled"])
    assert row["p_holm"] == row["p"]


def test_what_shuffled_labels_do_as_well_is_not_called_steerable(lab: Any) -> None:
    splits, few = items_of(NAME, test=4), replace(SETTINGS, strengths=(-1.0, 1.0), sites=("resid_post@0",))
    vector = behaviour_vector(lab, NAME, splits, few)
    alike = [vector.replaced(f"shuffled {k}", vector.directions) for k in range(19)]
    judged = judge_vector(lab, vector, splits, few, alike)
    assert judged.row["p_random"] == 0.05 and judged.row["p_shuffled"] == judged.row["p"] == 1
    assert (judged.verdict, judged.row["why"]) == ("not steerable", "not beyond vectors of shuffled labels")
    with pytest.raises(ScoreError, match="18 vectors of shuffled labels"):
        judge_vector(lab, vector, splits, few, alike[1:])


def test_a_planted_behaviour_is_steerable_and_one_that_fails_is_named(result: ReliabilityResult) -> None:
    assert result.behaviours.set_index("behaviour")["verdict"].to_dict() == {NAME: "steerable"}
    assert list(result.facts["failed"]) == ["untrained"] and "ContrastError" in result.facts["failed"]["untrained"]


def test_the_same_setting_has_relative_steerability_one_and_no_gap_and_the_persona_moves_propensity(
    result: ReliabilityResult,
) -> None:
    shift = of(result.shift)
    assert len(shift) == 25
    same = shift[shift["trained"] == shift["asked"]]
    assert same["relative"].tolist() == pytest.approx([1] * 5) and same["propensity_gap"].eq(0).all()
    said = shift.drop_duplicates("asked").set_index("asked")["propensity"]
    assert said["system positive"] > said["baseline"] + 1 > said["system negative"] + 2
    assert said["user positive"] > said["user negative"] + 1


def test_the_orders_are_variants_whose_mean_is_the_steerability_of_the_items_as_they_are(
    result: ReliabilityResult,
) -> None:
    found = of(result.variants).set_index("variant")
    both = found.loc[["matching option first", "matching option second"], "steerability"].mean()
    assert found.loc["as it is", "steerability"] == pytest.approx(both)
    as_it_is: Any = found.loc["as it is"]
    assert [as_it_is[name] for name in ("change", "correlation", "same_sign")] == [0, 1, 1]
    assert set(found.index) >= {"paraphrase", "template", "typing errors"}


@pytest.mark.slow
def test_neither_the_decoy_nor_a_vector_of_noise_is_called_steerable_and_too_few_controls_are_refused(lab: Any) -> None:
    few = replace(SETTINGS, strengths=(-1.0, 1.0), sites=("resid_post@0",))
    splits, decoy = items_of("myopic"), items_of(DECOY)
    vector = random_like(behaviour_vector(lab, "myopic", splits, few), 99)
    assert judge_vector(lab, vector, splits, few).verdict == "not steerable"
    assert judge_vector(lab, behaviour_vector(lab, DECOY, decoy, few), decoy, few).verdict == "not steerable"
    with pytest.raises(ScoreError, match="at least 19"):
        judge_vector(lab, vector, splits, replace(few, n_random=18))
    with pytest.raises(ScoreError, match="holds it with both signs"):
        judge_vector(lab, vector, splits, replace(few, reference=3.0))
    with pytest.raises(ScoreError, match="give at least one"):
        reliability(lab, {}, few)


def test_a_reference_above_a_strength_that_is_not_valid_does_not_count_and_says_which(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = items_of(NAME)
    vector = behaviour_vector(lab, NAME, splits, SETTINGS)
    unsteered = score_choices(lab, splits.test)
    broken = replace(unsteered, log_probs=unsteered.log_probs - 1)
    scores = {-1.0: unsteered, -0.5: broken, 0.0: unsteered, 0.5: unsteered, 1.0: unsteered}
    asked = Asked(prompts=prepare_choices(lab, splits.test), scores=scores)
    assert asked.valid() == (0.0,)
    assert "answer probability 0.368" in asked.reason(-0.5) and asked.reason(1).endswith("at strength -0.5")
    monkeypatch.setattr(judge, "ask", lambda _, __, vectors, *___: [asked] * len(vectors))
    found = judge_vector(lab, vector, splits, SETTINGS)
    assert found.verdict == "collapsed before effect" and "at strength -0.5" in found.row["why"]
    assert found.curves["valid"].tolist() == [False] * 5 and all(found.curves["reason"][found.curves["strength"] != 0])


def test_a_strength_at_which_no_letter_is_answered_is_collapse_before_any_effect(lab: Any) -> None:
    splits = items_of(NAME, test=4)
    vector = behaviour_vector(lab, NAME, splits, replace(SETTINGS, sites=("resid_post@1",))) * 4
    alone = replace(SETTINGS, sites=("resid_post@1",), positions=("all",), strengths=(-1.0, 1.0))
    judged = judge_vector(lab, vector, splits, alone)
    assert judged.verdict == "collapsed before effect" and judged.row["largest_valid"] == 0
    assert "answer probability" in str(judged.row["reason"]) or "letter" in str(judged.row["reason"])


def test_texts_are_judged_by_likelihood_without_letters(lab: Any) -> None:
    few = replace(SETTINGS, scoring="option_sum", strengths=(-1.0, 1.0), sites=("resid_post@0",))
    splits = items_of(NAME, test=4)
    row = judge_vector(lab, behaviour_vector(lab, NAME, splits, few), splits, few).row
    assert np.isnan([row["explained_letter"], row["steerability_first"], row["explained_yes"]]).all()
    assert row["position_bias"] == 0 and row["unexplained"] == 1 and row["steerability"] > 0


def test_a_result_is_read_back_and_its_findings_are_told(result: ReliabilityResult, tmp_path: Path) -> None:
    result.save(tmp_path / "reliability")
    again = ReliabilityResult.load(tmp_path / "reliability")
    for name in ReliabilityResult.names():
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_dtype=False)
    results = read_results(tmp_path)
    first, *each, failed = find_verdicts(results)
    assert first.verdict == "1 of 1 steerable" and [finding.holds for finding in each] == [True]
    assert failed.verdict == "failed" and "0 % [0, 37] of the items are anti-steerable" in each[0].words.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert find_predictors(results) == []


def test_the_work_grows_with_everything_that_is_asked(lab: Any) -> None:
    extent = extent_of(lab, {NAME: items_of(NAME)}, {}, "text", ScoringOptions())
    small = work(LAB.settings, extent).token_blocks
    for change in ({"n_random": 40}, {"shifted": 0}, {"planted": ()}, {"sites": ("resid_post@0",)}):
        assert (work(replace(LAB.settings, **change), extent).token_blocks > small) == ("n_random" in change)


@pytest.mark.slow
def test_every_planted_truth_of_the_lab_is_found(lab: Any) -> None:
    sizes = LAB.items
    behaviours = {
        name: Splits(**{split: open_items(name, n, split=split) for split, n in sizes.items()})  # type: ignore[arg-type]
        for name in BEHAVIOURS
    }
    settings = replace(LAB.settings, shifted=0, varied=0)
    context = StudyContext(model=lab, behaviours=behaviours, corpora={}, neutral="text", settings=settings)
    found: Any = run(context).behaviours.set_index("behaviour")
    planted = dict.fromkeys(BEHAVIOURS, "steerable")
    planted |= {FLIPPED: "unreliable", POSITION_BIASED: "biased", DECOY: "not steerable"}
    assert found["verdict"].to_dict() == planted
    assert 0.3 <= found.loc[FLIPPED, "anti_share"] <= 0.7
    assert torch.tensor(found.loc[list(BEHAVIOURS), "anti_share"].tolist()).max() < 0.1
