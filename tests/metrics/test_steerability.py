"""Steerability, against the formula and numpy's least squares."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lens_steer.errors import ScoreError
from lens_steer.metrics.steerability import (
    anti_steerable_interval,
    anti_steerable_share,
    bimodality_coefficient,
    dataset_steerability,
    fit_curves,
    flat_curves,
    steerability,
)

GRID = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
M = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def test_the_slope_is_least_squares() -> None:
    found = steerability(M, GRID)
    for i in range(5):
        assert float(found[i]) == pytest.approx(np.polyfit(GRID.numpy(), M[i].numpy(), 1)[0], abs=1e-6)
    torch.testing.assert_close(found, (M.double() @ GRID.double()) / 7)


def test_the_mean_slope_is_the_slope_of_the_mean_curve() -> None:
    mean_curve = steerability(M.mean(dim=0, keepdim=True), GRID)
    assert dataset_steerability(steerability(M, GRID)) == pytest.approx(float(mean_curve[0]))


def test_a_grid_off_centre_gives_the_same_slope_for_a_line() -> None:
    line = 3.0 - 0.7 * torch.tensor([[0.0, 1.0, 5.0]])
    assert float(steerability(line, torch.tensor([0.0, 1.0, 5.0]))[0]) == pytest.approx(-0.7)


def test_a_curve_that_is_flat_to_rounding_counts_as_flat_neither_steerable_nor_anti_steerable() -> None:
    generator = torch.Generator().manual_seed(1)
    levels = torch.randn(101, 1, generator=generator) * 5
    noise = (torch.rand(101, 7, generator=generator) - 0.5) * 2e-6
    flat, grid = levels + noise, GRID.double() - GRID.double().mean()
    raw = flat.double() @ grid / 7
    assert 20 < int((raw > 0).sum()) < 80, "without the rule, rounding makes slopes of either sign"
    slopes = steerability(torch.cat([flat, M]), GRID)
    assert bool((slopes[:101] == 0).all()) and bool((slopes[101:] != 0).all())
    assert anti_steerable_share(slopes[:101]) == 0
    assert anti_steerable_share(torch.tensor([1.0, 0.0, -1.0, 2.0])) == 0.25
    assert bool(flat_curves(flat).all()) and not bool(flat_curves(M).any())


def test_the_anti_steerable_share_has_the_agresti_coull_interval_of_its_count() -> None:
    slopes = torch.tensor([-1.0] * 3 + [0.0] * 2 + [1.0] * 15)
    found = anti_steerable_interval(slopes)
    assert (found.value, found.n) == (0.15, 20)
    z = norm.ppf(0.975)
    middle = (3 + z**2 / 2) / (20 + z**2)
    reach = z * (middle * (1 - middle) / (20 + z**2)) ** 0.5
    assert (found.low, found.high) == pytest.approx((middle - reach, middle + reach))


def test_fit_quality_is_that_of_the_fitted_line() -> None:
    fits = fit_curves(M, GRID)
    for i in range(5):
        y, x = M[i].numpy().astype(float), GRID.numpy().astype(float)
        line = np.polyval(np.polyfit(x, y, 1), x)
        rss, tss = ((y - line) ** 2).sum(), ((y - y.mean()) ** 2).sum()
        assert float(fits.mse[i]) == pytest.approx(rss / 7, abs=1e-9)
        assert float(fits.r2[i]) == pytest.approx(1 - rss / tss, abs=1e-9)
        assert float(fits.spearman[i]) == pytest.approx(np.corrcoef(np.argsort(np.argsort(y)), x)[0, 1])
    known = fit_curves(torch.stack([GRID, GRID**3, GRID**2, torch.zeros(7)]), GRID)
    assert known.monotone.tolist() == [True, True, False, True] and known.flat.tolist() == [False] * 3 + [True]
    assert float(known.r2[0]) == pytest.approx(1) and bool(known.r2[3].isnan()) and float(known.mse[3]) == 0


def test_bimodality_is_the_published_coefficient_and_high_for_two_modes_alone() -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(2)).double()
    x, n = values.numpy() - float(values.mean()), 40
    m2, m3, m4 = ((x**k).mean() for k in (2, 3, 4))
    skewness = np.sqrt(n * (n - 1)) / (n - 2) * m3 / m2**1.5
    kurtosis = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m4 / m2**2 - 3) + 6)
    expected = (skewness**2 + 1) / (kurtosis + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    assert bimodality_coefficient(values) == pytest.approx(expected) and expected < 5 / 9
    assert bimodality_coefficient(torch.cat([values - 5, values + 5])) > 0.8
    assert bimodality_coefficient(torch.linspace(0, 1, 4001)) == pytest.approx(5 / 9, abs=1e-3)
    assert np.isnan(bimodality_coefficient(torch.ones(9))) and np.isnan(bimodality_coefficient(torch.arange(3.0)))


def test_what_has_no_slope_is_refused() -> None:
    with pytest.raises(ScoreError, match="needs at least two different values"):
        steerability(torch.zeros(2, 2), torch.tensor([1.0, 1.0]))
    with pytest.raises(ScoreError, match="not finite"):
        steerability(torch.tensor([[0.0, float("nan")]]), torch.tensor([0.0, 1.0]))
    with pytest.raises(ScoreError, match="no items"):
        steerability(torch.zeros(0, 2), torch.tensor([0.0, 1.0]))
    with pytest.raises(ScoreError, match="no slopes"):
        anti_steerable_share(torch.zeros(0))
    with pytest.raises(ScoreError, match="rising order"):
        fit_curves(M, GRID.flip(0))
