"""The collapse rule."""

import math

import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.collapse import collapse, collapse_of_responses

FULL = torch.ones(10, 2)
BY_CONTENT = torch.tensor([[True, False]]).expand(10, 2)


def test_answering_by_content_however_surely_is_no_collapse() -> None:
    found = collapse(BY_CONTENT, FULL)
    assert (found.collapsed, found.modal_letter_share, found.reason) == (False, 0.5, "")


@pytest.mark.parametrize("letter", [True, False])
def test_one_letter_whatever_is_asked_is_collapse(letter: bool) -> None:
    found = collapse(torch.full((10, 2), letter), FULL)
    assert found.collapsed and found.modal_letter_share == 1 and "one letter in 1.000" in found.reason


def test_the_limit_itself_is_no_collapse() -> None:
    chosen = torch.ones(10, 2, dtype=torch.bool)
    chosen[0, 0] = False
    assert collapse(chosen, FULL).modal_letter_share == pytest.approx(0.95)
    assert not collapse(chosen, FULL).collapsed


def test_little_answer_probability_is_collapse_whatever_the_letters() -> None:
    found = collapse(BY_CONTENT, FULL * 0.4)
    assert found.collapsed and found.reason == "mean answer probability 0.400 < 0.5"


def test_scores_that_are_not_finite_are_collapse() -> None:
    mass = FULL.clone()
    mass[0, 0] = float("nan")
    assert collapse(BY_CONTENT, mass).reason == "scores are not finite"


def test_one_option_order_is_not_enough() -> None:
    with pytest.raises(ScoreError, match="in both option orders"):
        collapse(BY_CONTENT[:, :1], FULL[:, :1])


def test_faulty_answers_are_collapse_where_they_are_known_and_nan_where_not() -> None:
    faulty = torch.zeros(10, 2, dtype=torch.bool)
    assert not collapse(BY_CONTENT, FULL, faulty).collapsed and math.isnan(collapse(BY_CONTENT, FULL).faulty_share)
    faulty[:2, 0] = True
    found = collapse(BY_CONTENT, FULL, faulty)
    assert found.reason == "no letter in 0.100 of the answers > 0.05" and found.faulty_share == pytest.approx(0.1)


def test_entropy_stands_beside_that_of_the_gold_labels() -> None:
    chosen = BY_CONTENT.clone()
    chosen[:5, 0] = False
    assert collapse(chosen, FULL).answer_entropy == pytest.approx(-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75))
    assert (collapse(BY_CONTENT, FULL).answer_entropy, collapse(BY_CONTENT, FULL).gold_entropy) == (1, 1)
    assert collapse(torch.ones(4, 2, dtype=torch.bool), FULL[:4]).answer_entropy == 0


def test_stored_responses_are_judged_by_the_same_rule() -> None:
    gold = ["A", "B"] * 50
    assert not collapse_of_responses(gold, gold).collapsed
    assert "one letter in 0.960" in collapse_of_responses(["B"] * 96 + ["A"] * 4, gold).reason
    found = collapse_of_responses(["A", "B"] * 46 + ["?"] * 8, ["A", "A", "A", "B"] * 25)
    assert (
        found.reason == "no letter in 0.080 of the answers > 0.05"
        and found.mean_answer_probability == pytest.approx(0.92)
    )
    assert found.gold_entropy == pytest.approx(0.811278)
    with pytest.raises(ScoreError, match="one gold answer per response"):
        collapse_of_responses(["A"], gold)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.96, 1.0])
@pytest.mark.parametrize("mass", [0.3, 0.5, 1.0, float("nan")])
def test_the_margin_is_above_0_exactly_where_the_rule_says_collapsed(share: float, mass: float) -> None:
    chosen = (torch.arange(200) < round(200 * share)).reshape(100, 2)
    scores = torch.full((100, 2), mass)
    found = collapse(chosen, scores)
    assert (found.margin > 0) == found.collapsed
