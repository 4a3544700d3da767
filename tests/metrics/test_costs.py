"""Costs beside the target: each number against the formula written out, or against a curve whose numbers are known."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.costs import effect_size, effectiveness, entanglement, mcnemar, usable_strength

STRENGTHS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def test_mcnemar_counts_all_splits_of_the_changed_items_that_are_as_uneven() -> None:
    before = torch.tensor([True] * 9 + [False] * 6)
    after = torch.tensor([True] * 4 + [False] * 5 + [True] * 1 + [False] * 5)
    found = mcnemar(before, after)
    assert (found.lost, found.gained, found.n) == (5, 1, 15)
    splits = [sum(signs) for signs in product((0, 1), repeat=6)]
    assert found.p == pytest.approx(sum(abs(count - 3) >= 2 for count in splits) / len(splits))
    assert mcnemar(before, before).p == 1
    with pytest.raises(ScoreError, match="0 items before"):
        mcnemar(before[:0], after[:0])


def test_entanglement_and_effectiveness_are_the_benchmark_s_formulas() -> None:
    steered, plain = torch.tensor([0.9, 0.2, 0.55]), torch.tensor([0.6, 0.3, 0.55])
    changes = [0.3, -0.1, 0.0]
    assert entanglement(steered, plain) == pytest.approx(math.sqrt(sum(c * c for c in changes) / 3))
    shares = [c / (1 - y) for c, y in zip(changes, (0.6, 0.3, 0.55), strict=True)]
    assert effectiveness(steered, plain) == pytest.approx(sum(shares) / 3)
    with pytest.raises(ScoreError, match="leaves nothing to gain"):
        effectiveness(steered[:1], torch.ones(1))
    with pytest.raises(ScoreError, match="3 steered and 2 unsteered"):
        entanglement(steered, plain[:2])


def test_a_strength_is_usable_where_it_and_all_smaller_ones_of_both_signs_cost_little() -> None:
    ratio = [1.5, 1.05, 1.0, 1.0, 1.01, 1.09, 1.2]
    assert usable_strength(STRENGTHS, ratio) == 1
    assert usable_strength(STRENGTHS, ratio, [0, 0, 0, 0, -0.005, -0.02, 0]) == 0.5
    assert usable_strength(STRENGTHS, [1.0, 1.0, 1.2, 1.0, 1.0, 1.0, 1.0]) == 0
    with pytest.raises(ScoreError, match="7 strengths, 2 perplexities"):
        usable_strength(STRENGTHS, [1, 1])


@pytest.mark.parametrize("a", [0.8, -1.5])
def test_the_effect_size_finds_the_curve_that_made_the_numbers(a: float) -> None:
    b, c, grid = 0.3, 0.0, np.array(STRENGTHS)
    ratio = np.exp(b * grid**2)
    curve = (np.tanh(a * grid) + c) * np.exp(-b * grid**2)
    rates = 0.4 + curve * ratio
    found = effect_size(STRENGTHS, rates.tolist(), ratio.tolist())
    dense = np.linspace(-2, 2, 200)
    values = (np.tanh(a * dense) + c) * np.exp(-b * dense**2)
    assert found.value == pytest.approx(values.max() - values.min(), rel=1e-3) and found.r2 == pytest.approx(1)


def test_a_flat_curve_has_no_effect_and_too_few_strengths_are_refused() -> None:
    assert effect_size(STRENGTHS, [0.5] * 7, [1.0] * 7).value == pytest.approx(0, abs=1e-6)
    with pytest.raises(ScoreError, match="at least five, with strength 0"):
        effect_size((-1.0, 0.0, 1.0), [0.5] * 3, [1.0] * 3)
