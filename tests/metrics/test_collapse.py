"""The collapse rule."""

import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.collapse import collapse

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


def test_little_letter_mass_is_collapse_whatever_the_letters() -> None:
    found = collapse(BY_CONTENT, FULL * 0.4)
    assert found.collapsed and found.reason == "mean letter mass 0.400 < 0.5"


def test_scores_that_are_not_finite_are_collapse() -> None:
    mass = FULL.clone()
    mass[0, 0] = float("nan")
    assert collapse(BY_CONTENT, mass).reason == "scores are not finite"


def test_one_option_order_is_not_enough() -> None:
    with pytest.raises(ScoreError, match="in both option orders"):
        collapse(BY_CONTENT[:, :1], FULL[:, :1])
