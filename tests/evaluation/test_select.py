"""Choosing a point from sweeps that were written by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from lens_steer.errors import ScoreError
from lens_steer.evaluation.select import choose_each, choose_operating_point
from lens_steer.evaluation.sweep import SweepResult
from lens_steer.hooks.sites import Site

SITES = (Site("resid_post", 0), Site("resid_post", 1))
Moves = dict[tuple[int, float], float]
"""By layer and strength s, how far +s raises and -s lowers every logit difference, in nats."""


def result(moves: Moves, name: str = "v", letter: float = 0.0, mass: float = 1.0, spread: float = 0.0) -> SweepResult:
    """A sweep of eight items in both orders.

    `letter` is what a unit of strength adds to the first letter, `mass` the steered answer probability, `spread` how
    far items differ in their moves.
    """
    strengths = tuple(sorted({0.0, *(sign * s for _, s in moves for sign in (-1, 1))}))
    rows = []
    for layer, site in enumerate(SITES):
        for strength in strengths:
            for item in range(8):
                for order, first, sign in (("matching_first", "A", 1), ("other_first", "B", -1)):
                    move = moves.get((layer, abs(strength)), 0.0) * (1 + spread * (item % 2 - 0.5))
                    value = (1 if item % 4 < 2 else -1) * 0.1 + sign * letter * strength
                    value += move if strength > 0 else -move if strength < 0 else 0
                    rows.append(
                        {
                            "site": str(site),
                            "kind": "resid_post",
                            "layer": layer,
                            "strength": strength,
                            "item": f"q{item}",
                            "order": order,
                            "matching_letter": first,
                            "chosen_letter": first if value > 0 else "BA"["AB".index(first)],
                            "logit_difference": value,
                            "answer_probability": mass if strength else 1.0,
                            "matches": value > 0,
                        }
                    )
    common: dict[str, Any] = {"vector": name, "model": "m", "method": "mean_difference", "scale": "raw"}
    common |= {"positions": "all", "path": "reused"}
    return SweepResult(**common, sites=SITES, strengths=strengths, frame=pd.DataFrame(rows))


def test_the_point_of_largest_effect_in_nats_is_chosen() -> None:
    point = choose_operating_point(result({(0, 1.0): 1.0, (0, 2.0): 1.5, (1, 1.0): 0.4, (1, 2.0): 0.5}))
    assert (point.site, point.strength, point.valid) == (SITES[0], 2.0, True)
    assert point.effect == pytest.approx(1.5) and point.band == 0


def test_a_strength_at_which_random_directions_go_as_far_is_not_chosen() -> None:
    steering = result({(0, 1.0): 1.0, (0, 2.0): 1.5, (1, 1.0): 0.0, (1, 2.0): 0.0})
    random = [result({(0, 1.0): 0.1, (0, 2.0): sign * 1.4}, f"random {sign}") for sign in (-1, 1)]
    point = choose_operating_point(steering, controls=random)
    assert point.strength == 1.0 and point.band == pytest.approx(0.1) and point.beyond == pytest.approx(0.9)


def test_every_vector_is_chosen_beside_all_the_others() -> None:
    sweeps = [result({(0, 1.0): size, (0, 2.0): 0.0}, f"v{size}") for size in (1.0, 0.6, 0.2)]
    points = choose_each([[sweep] for sweep in sweeps])
    assert [point.effect for point in points] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    assert points[0].band == pytest.approx(0.58)  # the 95th percentile of .6 and .2


def test_a_vector_that_only_moves_the_letter_has_no_effect() -> None:
    assert choose_operating_point(result({(0, 1.0): 0.0, (0, 2.0): 0.0}, letter=3.0)).effect == pytest.approx(0)


def test_within_one_standard_error_of_the_best_the_least_cost_is_chosen() -> None:
    moves = {(0, 1.0): 0.95, (0, 2.0): 1.0, (1, 1.0): 0.0, (1, 2.0): 0.0}
    assert choose_operating_point(result(moves, spread=0.5)).strength == 1.0
    assert choose_operating_point(result(moves)).strength == 2.0
    dear = choose_operating_point(result(moves, spread=0.5), cost=lambda point: -point.strength)
    assert dear.strength == 2.0


def test_a_tie_goes_to_the_smaller_strength_and_then_to_the_earlier_layer() -> None:
    point = choose_operating_point(result({(layer, s): 0.05 for layer in (0, 1) for s in (1.0, 2.0)}))
    assert (point.site, point.strength) == (SITES[0], 1.0)


def test_where_no_point_retains_its_answer_probability_the_best_is_returned_as_invalid() -> None:
    moves = {(0, 1.0): 0.05, (1, 1.0): 0.02}
    assert choose_operating_point(result(moves, mass=0.91)).valid
    point = choose_operating_point(result(moves, mass=0.89))
    assert point.site == SITES[0] and not point.valid


def test_a_collapsed_point_gives_way_to_a_valid_one() -> None:
    one_letter = result({(0, 1.0): 0.2, (0, 2.0): 0.2}, letter=0.0)
    frame = one_letter.frame.copy()
    fallen = frame["strength"].abs().eq(2.0)
    frame.loc[fallen, "chosen_letter"] = "A"
    frame.loc[fallen, "logit_difference"] += frame.loc[fallen, "strength"] * 4
    assert choose_operating_point(replace(one_letter, frame=frame)).strength == 1.0


@pytest.mark.parametrize("strengths", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_grid_without_0_or_both_signs_is_refused(strengths: tuple[float, ...]) -> None:
    whole = result({(0, 1.0): 0.1, (1, 1.0): 0.1})
    frame = pd.DataFrame(whole.frame[whole.frame["strength"].isin(strengths)])
    with pytest.raises(ScoreError, match=r"needs 0, and \+s and -s"):
        choose_operating_point(replace(whole, strengths=strengths, frame=frame))


def test_a_control_without_a_point_of_the_vector_is_refused() -> None:
    with pytest.raises(ScoreError, match="1 controls lack resid_post@0, all, strength 2"):
        choose_operating_point(result({(0, 2.0): 0.1}), controls=[result({(0, 1.0): 0.1}, "random 0")])


def test_no_sweeps_are_refused() -> None:
    with pytest.raises(ScoreError, match="no sweeps"):
        choose_operating_point()


def test_where_texts_are_scored_their_probability_together_does_not_decide() -> None:
    """By text, the right continuation becomes less probable where the vector is subtracted: that is the effect."""
    swept = result({(0, 1.0): 2.0}, mass=0.1)
    assert not choose_operating_point(swept).valid
    assert choose_operating_point(replace(swept, scoring="option_sum")).valid
