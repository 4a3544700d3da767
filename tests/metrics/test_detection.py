"""Signal detection: the published split of published counts, and the identities that make it a split."""

import math
from itertools import product

import pytest
import torch
from scipy.stats import norm

from lens_steer.errors import ScoreError
from lens_steer.metrics.detection import detection, detection_of_choices, detection_of_counts


def formulas(hits: int, n_signal: int, alarms: int, n_noise: int) -> tuple[float, float]:
    """d' and c, transcribed: log-linear rates, then z."""
    h, f = (hits + 0.5) / (n_signal + 1), (alarms + 0.5) / (n_noise + 1)
    return float(norm.ppf(h) - norm.ppf(f)), float(-0.5 * (norm.ppf(h) + norm.ppf(f)))


@pytest.mark.parametrize(
    ("rate", "first", "n_signal", "n_noise", "hit", "alarm", "d_prime"),
    [
        (0.620, 31, 145, 155, 0.21, 0.00, 1.9),  # agreeableness, layer 15 x -1: "No" to everything
        (0.373, 48, 150, 150, 0.03, 0.29, -1.2),  # anti-immigration, layer 15 x +1: no steering towards it
        (0.863, 168, 147, 153, 0.93, 0.20, 2.3),  # myopic, layer 15 x +2: a real flip
    ],
)
def test_the_published_counts_split_as_the_reference_says(
    rate: float, first: int, n_signal: int, n_noise: int, hit: float, alarm: float, d_prime: float
) -> None:
    found = detection_of_counts(round(rate * (n_signal + n_noise)), first, n_signal, n_noise, faulty=0)
    assert round(found.hit_rate, 2) == hit and round(found.false_alarm_rate, 2) == alarm
    assert round(found.d_prime, 1) == d_prime


def test_counts_give_back_hits_and_false_alarms_and_the_formulas_hold() -> None:
    for hits, alarms in product(range(6), range(9)):
        matches, first = hits + (8 - alarms), hits + alarms
        found = detection_of_counts(matches, first, 5, 8, faulty=0)
        assert (found.hit_rate, found.false_alarm_rate) == (hits / 5, alarms / 8)
        assert (found.d_prime, found.criterion) == pytest.approx(formulas(hits, 5, alarms, 8))


def test_totals_with_faulty_answers_are_refused_because_they_fit_several_hit_rates() -> None:
    # 4 + 4 items, none faulty, or two faulty answers to noise items: totals agree, hits and false alarms do not.
    def totals(hits: int, alarms: int, rejections: int) -> tuple[int, int]:
        return hits + rejections, hits + alarms

    none_faulty, two_faulty = totals(hits=2, alarms=2, rejections=2), totals(hits=3, alarms=1, rejections=1)
    assert none_faulty == two_faulty == (4, 4)
    assert detection_of_counts(*none_faulty, 4, 4, faulty=0).hit_rate == 2 / 4
    for faulty in (1, 2, 8):
        with pytest.raises(ScoreError, match=rf"{faulty} faulty answers among 8: .* give them to detection\(\)"):
            detection_of_counts(*two_faulty, 4, 4, faulty=faulty)


def test_one_answer_to_everything_has_no_sensitivity_and_a_criterion_and_content_the_other_way_round() -> None:
    n = 40
    always_first, by_content = torch.ones(n, 2, dtype=torch.bool), torch.tensor([[True, False]] * n)
    stuck, steered, reversed_ = map(detection_of_choices, (always_first, by_content, ~by_content))
    assert stuck.d_prime == 0 and stuck.criterion < -2
    assert steered.d_prime > 4 and steered.criterion == pytest.approx(0, abs=1e-12)
    assert reversed_.d_prime == pytest.approx(-steered.d_prime)
    assert math.isfinite(steered.d_prime) and steered.hit_rate == 1 and steered.false_alarm_rate == 0


def test_the_matching_rate_is_that_of_the_split() -> None:
    first = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.8, 0.4])
    found = detection_of_choices(first)
    matches = first == torch.tensor([True, False])
    assert (found.hit_rate + 1 - found.false_alarm_rate) / 2 == pytest.approx(float(matches.double().mean()))


def test_one_label_only_and_impossible_counts_are_refused() -> None:
    with pytest.raises(ScoreError, match="a single label"):
        detection(3, 5, 0, 0)
    with pytest.raises(ScoreError, match="6 of 5 trials in which the first option matches"):
        detection(6, 5, 0, 5)
    with pytest.raises(ScoreError, match="these counts are inconsistent"):
        detection_of_counts(5, 5, 5, 5, faulty=0)
    with pytest.raises(ScoreError, match="both option orders"):
        detection_of_choices(torch.ones(3, 1, dtype=torch.bool))
