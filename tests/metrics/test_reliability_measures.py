"""Explained variance, debiasing, relative steerability, best layers and rank intervals, against their formulas."""

import math

import numpy as np
import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.reliability import (
    best_layers,
    explained_variance,
    order_debiased,
    rank_interval,
    relative_steerability,
    text_debiased,
)

N = 24
GENERATOR = torch.Generator().manual_seed(0)
FIRST = torch.arange(N) % 2 == 0
YES = torch.arange(N) % 3 == 0
SLOPES = torch.randn(N, generator=GENERATOR).double() + 0.8 * FIRST - 1.5 * YES


def residual_variance(s: np.ndarray, *factors: np.ndarray) -> float:
    """By the normal equations, not by least squares of a library."""
    x = np.stack([np.ones(len(s)), *factors], axis=1)
    return float((s - x @ np.linalg.inv(x.T @ x) @ x.T @ s).var())


def test_explained_variance_is_that_of_the_three_regressions() -> None:
    s, a, y = SLOPES.numpy(), FIRST.numpy().astype(float), YES.numpy().astype(float)
    ev_a = s.var() - residual_variance(s, a)
    ev_both = s.var() - residual_variance(s, a, y)
    found = explained_variance(SLOPES, FIRST, YES)
    assert found.letter * s.var() == pytest.approx(ev_a)
    assert found.yes * s.var() == pytest.approx(ev_both - ev_a)
    assert found.unexplained * s.var() == pytest.approx(s.var() - ev_both)
    assert found.letter + found.yes + found.unexplained == pytest.approx(1) and found.variance == pytest.approx(s.var())


def test_slopes_of_the_letter_alone_are_explained_by_it_alone_and_a_factor_without_variation_explains_nothing() -> None:
    found = explained_variance(torch.where(FIRST, 2.0, -2.0), FIRST, YES)
    assert (found.letter, found.yes, found.unexplained) == pytest.approx((1, 0, 0), abs=1e-12)
    same = explained_variance(SLOPES, torch.ones(N, dtype=torch.bool), YES)
    assert same.letter == pytest.approx(0, abs=1e-12) and same.yes > 0.1
    assert math.isnan(explained_variance(torch.ones(N), FIRST, YES).letter)
    with pytest.raises(ScoreError, match="at least one"):
        explained_variance(torch.zeros(0), FIRST[:0], YES[:0])


def test_debiasing_takes_out_what_follows_order_or_text_and_leaves_the_rest() -> None:
    true = torch.randn(N, generator=GENERATOR).double()
    by_order = torch.stack([true + 3, true - 3], dim=1)
    torch.testing.assert_close(order_debiased(by_order), true)
    biased = true + torch.where(YES, 5.0, -5.0)
    found = text_debiased(biased, YES)
    assert float(found[YES].mean() - found[~YES].mean()) == pytest.approx(0, abs=1e-12)
    both = (biased[YES].mean() + biased[~YES].mean()) / 2
    assert float(found[YES].mean()) == pytest.approx(float(both))
    assert float(found[YES].std()) == pytest.approx(float(true[YES].std()))
    with pytest.raises(ScoreError, match="both groups"):
        text_debiased(true, torch.ones(N, dtype=torch.bool))


def test_relative_steerability_is_over_the_vector_of_the_setting_that_is_asked_in() -> None:
    matrix = torch.tensor([[2.0, 1.0], [3.0, -4.0]])
    assert relative_steerability(matrix).tolist() == [[1.0, 0.25], [1.5, -1.0]]
    assert math.isnan(float(relative_steerability(torch.tensor([[0.0]]))[0, 0]))
    with pytest.raises(ScoreError, match="one row and one column"):
        relative_steerability(torch.zeros(2, 3))


def test_the_best_layers_are_chosen_on_one_half_and_tested_on_the_other() -> None:
    effects = torch.randn(9, 4, 2, generator=GENERATOR).double()
    found, own, single = best_layers(effects), [], []
    for i in range(9):
        first, second = (max(range(4), key=lambda layer, h=h: float(effects[i, layer, h])) for h in (0, 1))
        own.append((float(effects[i, first, 1]) + float(effects[i, second, 0])) / 2)
        others = [j for j in range(9) if j % 2 != i % 2]
        layer = max(range(4), key=lambda k: float(effects[others, k].mean()))
        single.append(float(effects[i, layer].mean()))
    assert found.own.tolist() == pytest.approx(own) and found.single.tolist() == pytest.approx(single)
    assert bool((found.oracle >= found.own).all())


def test_layers_of_noise_gain_nothing_and_items_with_layers_of_their_own_do() -> None:
    noise = best_layers(torch.randn(4000, 4, 2, generator=GENERATOR))
    assert abs(float((noise.own - noise.single).mean())) < 0.05 and float(noise.oracle.mean()) > 0.9
    real = torch.zeros(40, 4, 2)
    real[torch.arange(40), torch.arange(40) // 2 % 4] = 1.0
    found = best_layers(real)
    assert float(found.own.mean()) == 1 and float(found.single.mean()) == pytest.approx(0.25, abs=0.06)
    with pytest.raises(ScoreError, match="at least four"):
        best_layers(real[:3])


def test_the_interval_of_a_rank_correlation_is_that_of_bonett_and_wright() -> None:
    x = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8])
    y = torch.tensor([2.0, 1, 4, 3, 6, 5, 8, 7])
    r = 1 - 6 * float(((x - y) ** 2).sum()) / (8 * 63)
    half = 1.959964 * math.sqrt((1 + r**2 / 2) / 5)
    found = rank_interval(x, y)
    assert found.value == pytest.approx(r) and found.n == 8
    bounds = [0.5 * math.log((1 + r) / (1 - r)) + sign * half for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(math.tanh(bound) for bound in bounds), abs=1e-6)
    whole = rank_interval(x, x)
    assert whole.value == whole.high == 1 and 0.8 < whole.low < 0.95
    assert math.isnan(rank_interval(x[:4], y[:4]).low) and math.isnan(rank_interval(x, torch.ones(8)).value)
