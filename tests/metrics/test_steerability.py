"""Steerability, against the formula and numpy's least squares."""

import numpy as np
import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.steerability import anti_steerable_share, dataset_steerability, steerability

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


def test_a_slope_of_zero_counts_as_anti_steerable() -> None:
    assert anti_steerable_share(torch.tensor([1.0, 0.0, -1.0, 2.0])) == 0.5


def test_what_has_no_slope_is_refused() -> None:
    with pytest.raises(ScoreError, match="needs at least two different values"):
        steerability(torch.zeros(2, 2), torch.tensor([1.0, 1.0]))
    with pytest.raises(ScoreError, match="not finite"):
        steerability(torch.tensor([[0.0, float("nan")]]), torch.tensor([0.0, 1.0]))
    with pytest.raises(ScoreError, match="no items"):
        steerability(torch.zeros(0, 2), torch.tensor([0.0, 1.0]))
    with pytest.raises(ScoreError, match="no slopes"):
        anti_steerable_share(torch.zeros(0))
