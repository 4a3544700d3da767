"""Planes, and the trap that makes held-out rows necessary."""

import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.planes import lda_plane, pca_plane

N, WIDTH = 60, 80


def rows(distance: float, seed: int = 0) -> tuple[Tensor, list[str]]:
    noise = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    classes = ["up" if index % 2 else "down" for index in range(N)]
    noise[1::2, 0] += distance
    return noise, classes


def separation(x: Tensor, classes: list[str], chosen: Tensor) -> float:
    up = torch.tensor([name == "up" for name in classes])
    sides = [x[chosen & side] for side in (up, ~up)]
    return float((sides[0].mean() - sides[1].mean()).abs() / torch.cat([s - s.mean() for s in sides]).std())


def test_pca_is_the_literal_projection_on_the_first_two_singular_directions() -> None:
    data, _ = rows(6)
    plane = pca_plane(data)
    u, s, _ = torch.linalg.svd(data - data.mean(dim=0), full_matrices=False)
    torch.testing.assert_close(plane.coordinates.abs(), (u[:, :2] * s[:2]).abs())
    assert plane.shares == pytest.approx((s[:2].square() / s.square().sum()).tolist())


def test_discriminants_part_any_fitted_rows_but_only_real_classes_of_rows_held_out() -> None:
    fitted = torch.arange(N) // 2 % 2 == 0
    found = {}
    for name, distance in (("real", 6.0), ("none", 0.0)):
        data, classes = rows(distance)
        x = lda_plane(data, classes, fitted).coordinates[:, 0]
        found[name] = [separation(x, classes, chosen) for chosen in (fitted, ~fitted)]
    assert found["real"][1] > 2 and found["none"][1] < 1
    assert found["none"][0] > 2 * found["none"][1]


def test_two_classes_have_fishers_discriminant_and_the_largest_rest_as_second_axis() -> None:
    data, classes = rows(6)
    data = data[:, :8]
    plane = lda_plane(data, classes, torch.ones(N, dtype=torch.bool))
    assert plane.shares == pytest.approx((1, 0), abs=1e-9)
    sides = [data[start::2] for start in (0, 1)]
    centred = torch.cat([side - side.mean(dim=0) for side in sides])
    within = torch.from_numpy(LedoitWolf(assume_centered=True).fit(centred.numpy()).covariance_)
    fisher = data @ torch.linalg.solve(within, sides[1].mean(dim=0) - sides[0].mean(dim=0))
    found = torch.corrcoef(torch.stack([fisher, plane.coordinates[:, 0]]))[0, 1]
    assert abs(float(found)) == pytest.approx(1, abs=1e-6)
    assert float(plane.coordinates[:, 1].std()) > 0.5


def test_too_little_to_draw_is_refused() -> None:
    with pytest.raises(ScoreError, match="at least three rows"):
        pca_plane(torch.ones(2, 4))
    with pytest.raises(ScoreError, match="give at least two classes"):
        lda_plane(torch.randn(4, 3), ["a"] * 4, torch.ones(4, dtype=torch.bool))
