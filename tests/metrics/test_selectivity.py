"""Curves read off at levels: against numbers of the paper, and against the formula written out."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.selectivity import retained_at, selectivity, selectivity_difference

# van der Weij et al. 2024, layer 15, Python: strength, relative accuracy of Python and of text, per cent.
PUBLISHED = [(0, 100, 100), (1, 96.1, 99.3), (1.2, 86.9, 95.5), (1.4, 79.4, 92.8), (1.6, 70.7, 88.3), (1.8, 59.7, 79.8)]
PUBLISHED += [(2, 45.6, 70.5), (2.5, 24.2, 37.3), (3, 18.1, 20.7)]


def curve(rows: Sequence[tuple[float, float, float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    strengths, target, text = torch.tensor(rows, dtype=torch.float64).T
    return strengths, target[None] / 100, text[None] / 100


def literal(rows: Sequence[tuple[float, float, float]], level: float) -> tuple[float, float]:
    for (s, a, x), (t, b, y) in pairwise(rows):
        if b <= 100 * level:
            share = (a - 100 * level) / (a - b)
            return s + share * (t - s), (x + share * (y - x)) / 100
    return math.nan, math.nan


@pytest.mark.parametrize("level", [0.95, 0.9, 0.8, 0.5, 0.2])
def test_what_is_retained_is_the_interpolation_written_out(level: float) -> None:
    strength, retained = retained_at(*curve(PUBLISHED), level)
    assert (float(strength), float(retained)) == pytest.approx(literal(PUBLISHED, level))


def test_the_published_table_is_read_off_the_published_curve() -> None:
    strength, retained = retained_at(*curve(PUBLISHED), 0.8)
    assert float(strength) == pytest.approx(1.39, abs=0.01) and float(retained) == pytest.approx(0.930, abs=0.001)


def test_the_first_crossing_counts_and_a_level_never_reached_is_nan() -> None:
    rows = [(0, 100, 100), (1, 40, 80), (2, 60, 60), (3, 30, 20)]
    assert (
        float(retained_at(*curve(rows), 0.5)[1]) == pytest.approx(literal(rows, 0.5)[1]) and literal(rows, 0.5)[0] < 1
    )
    assert all(bool(found.isnan()) for found in retained_at(*curve(rows), 0.2))


def test_intervals_hold_the_value_and_documents_that_agree_give_width_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    fall, stay = torch.tensor([1.0, 0.6, 0.2]), torch.tensor([1.0, 0.9, 0.7])
    alike = selectivity([0, 1, 2], (fall[:, None] * 100).repeat(1, 8), (stay[:, None] * 50).repeat(1, 8), [0.5])[0]
    assert alike.low == pytest.approx(alike.retained) == pytest.approx(alike.high) == pytest.approx(0.9 - 0.25 * 0.2)
    noise = 1 + 0.3 * torch.rand(3, 12, generator=generator)
    found = selectivity([0, 1, 2], fall[:, None] * 100 * noise, stay[:, None] * 50 * noise.flip(1), [0.5, 0.1])
    assert found[0].low < found[0].retained < found[0].high and found[0].reached == 1
    assert math.isnan(found[1].retained) and found[1].reached == 0 and math.isnan(found[1].low)
    again = selectivity([0, 1, 2], fall[:, None] * 100 * noise, stay[:, None] * 50 * noise.flip(1), [0.5])
    assert again[0] == found[0]


def test_two_steerings_are_compared_at_the_same_loss_and_on_the_same_text_documents() -> None:
    generator = torch.Generator().manual_seed(1)
    size = 1 + torch.rand(30, generator=generator) * 9
    fall, slow = torch.tensor([1.0, 0.6, 0.2])[:, None] * size[:12], torch.tensor([1.0, 0.8, 0.4])[:, None] * size[:9]
    stay, lose = (torch.tensor([1.0, low, low / 2])[:, None] * size for low in (0.9, 0.5))
    same = selectivity_difference([0, 1, 2], (fall, fall), (stay, stay), [0.5])[0]
    assert same.retained == 0 and same.low <= 0 <= same.high
    found = selectivity_difference([0, 1, 2], (fall, slow), (stay, lose), [0.5, 0.3])
    alone = [selectivity([0, 1, 2], *pair, [0.5])[0] for pair in ((fall, stay), (slow, lose))]
    assert (
        found[0].retained == pytest.approx(alone[0].retained - alone[1].retained) and 0 < found[0].low <= found[0].high
    )
    assert math.isnan(found[1].retained) and found[1].reached == 0


def test_a_grid_without_0_or_a_level_that_is_none_is_refused() -> None:
    counts = torch.ones(2, 3)
    for strengths, level in (([1.0, 2.0], 0.5), ([0.0, 0.0], 0.5), ([0.0, 1.0], 1.0)):
        with pytest.raises(ScoreError, match="between 0 and 1, and increasing strengths"):
            selectivity(strengths, counts, counts, [level])
