"""The evaluation of one vector, on the lab: every section against what its parts give when they are called alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.score import score_choices
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.evaluation import Evaluation, evaluate
from lens_steer.experiments.evaluation.verdict import QUESTION
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.reliability.judge import STEERING
from lens_steer.experiments.reliability.rules import RANDOM, SHUFFLED
from lens_steer.experiments.reliability.settings import Reliability
from lens_steer.extraction import extract, shuffled_vectors
from lens_steer.hooks import Intervention
from lens_steer.lab.items import fact_items, open_items
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector, random_like

NAME = "anti_immigration"
SETTINGS = Reliability(positions=("0:20",), strengths=(-1.0, -0.5, 0.5, 1.0), n_random=19, resamples=200)
TEXTS = [f"The {noun} went home and the day was long." for noun in "king queen cat dog man boy girl bird".split()]


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def contrast() -> ContrastSet:
    return contrast_from_choices(NAME, open_items(NAME, 16, split="train"), SETTINGS.template, SETTINGS.answer)


@pytest.fixture(scope="module")
def vector(lab: Any) -> SteeringVector:
    return extract(lab, contrast(), sites="resid_post@0")


def splits() -> Splits:
    return Splits(train=(), validation=open_items(NAME, 2, split="validation"), test=open_items(NAME, 8, split="test"))


@pytest.fixture(scope="module")
def found(lab: Any, vector: SteeringVector) -> Evaluation:
    facts, others = fact_items(10, split="test"), {"myopic": open_items("myopic", 8, split="test")}
    shuffled = shuffled_vectors(lab, vector, contrast(), n=19)
    given: Any = {"neutral": TEXTS, "capability": facts, "others": others, "shuffled": shuffled}
    return evaluate(lab, vector, splits(), settings=SETTINGS, **given)


def edit(vector: SteeringVector, strength: float) -> Intervention:
    return Intervention.of(vector, "resid_post@0", strength, positions="0:20")


def test_a_planted_behaviour_is_steerable_and_a_random_direction_is_not(
    lab: Any, vector: SteeringVector, found: Evaluation
) -> None:
    assert found.verdict == "steerable"
    assert found.summary["p_random"].item() == found.summary["p_shuffled"].item() == 0.05
    assert found.controls["kind"].value_counts().to_dict() == {STEERING: 1, RANDOM: 19, SHUFFLED: 19}
    assert evaluate(lab, random_like(vector, 7), splits(), settings=SETTINGS).verdict == "not steerable"


def test_side_effects_are_those_of_the_chosen_place_at_every_strength(
    lab: Any, vector: SteeringVector, found: Evaluation
) -> None:
    alone = measure_side_effects(lab, TEXTS, edit(vector, 0.5))
    rows: Any = found.side_effects.query("strength == 0.5").set_index("measure")["value"]
    assert rows["kl"] == pytest.approx(alone.kl, rel=1e-4)
    assert rows["relative_top1"] == pytest.approx(alone.relative_top1, rel=1e-6)
    assert len(found.side_effects) == 4 * 4 and set(found.side_effects["text"]) == {"neutral"}


def test_capability_counts_the_same_items_right_before_and_after(
    lab: Any, vector: SteeringVector, found: Evaluation
) -> None:
    items = fact_items(10, split="test")
    before, after = (score_choices(lab, items, edits).item_differences > 0 for edits in ((), [edit(vector, 1.0)]))
    row = found.capability.query("strength == 1.0").iloc[0]
    assert (row["lost"], row["gained"]) == (int((before & ~after).sum()), int((~before & after).sum()))
    assert row["before"] == pytest.approx(float(before.double().mean())) and row["family"] == "4 strengths"


def test_other_behaviours_have_their_change_and_entanglement(
    lab: Any, vector: SteeringVector, found: Evaluation
) -> None:
    items, row = open_items("myopic", 8, split="test"), found.others.iloc[0]
    plain, up, down = (score_choices(lab, items, edits) for edits in ((), [edit(vector, 1.0)], [edit(vector, -1.0)]))
    change = (up.item_differences - down.item_differences).mean() / 2
    assert row["change"] == pytest.approx(float(change), abs=1e-4)
    moved = float(up.matches.double().mean() - plain.matches.double().mean())
    assert found.summary["entanglement"].item() == pytest.approx(abs(moved))


def test_what_was_not_given_is_said_and_the_rest_is_read_back_and_told(found: Evaluation, tmp_path: Path) -> None:
    assert found.facts["left_out"] == {"related": "not given"}
    found.save(tmp_path / "evaluation")
    again = Evaluation.load(tmp_path / "evaluation")
    pd.testing.assert_frame_equal(again.summary, found.summary)
    told = {finding.subject: finding for finding in QUESTION.find(read_results(tmp_path))}
    assert list(told) == ["anti immigration", "side effects", "capability", "other behaviours", "not measured"]
    assert told["not measured"].verdict == "related" and told["anti immigration"].holds
    assert found.plot().caption.n == "8 items; 8 neutral texts"


def test_a_list_is_halved_and_too_few_items_are_refused(lab: Any, vector: SteeringVector) -> None:
    with pytest.raises(ScoreError, match="3 items to evaluate on; give at least four"):
        evaluate(lab, vector, open_items(NAME, 3, split="test"), settings=SETTINGS)
    few = replace(SETTINGS, strengths=(-1.0, 1.0))
    whole = evaluate(lab, vector, open_items(NAME, 20, split="test"), settings=few)
    assert 8 <= whole.summary["n"].item() <= 12 and torch.isnan(torch.tensor(whole.summary["entanglement"].item()))
    assert not len(whole.side_effects) and whole.plot()
