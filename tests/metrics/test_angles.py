"""Nulls and corrections of angles, against sampling and planted truths."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.geometry import (
    corrected_cosine,
    cosine_band,
    cosine_p,
    effective_rank,
    principal_angles,
    reliability,
    unrelated_directions,
)

WIDTH = 24


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_exact_band_and_p_value_are_those_of_sampled_directions_of_any_norm() -> None:
    found = torch.cosine_similarity(normal(40_000, WIDTH) * 7, normal(40_000, WIDTH, seed=1), dim=1).numpy()
    low, high = cosine_band(WIDTH)
    assert np.quantile(found, [0.025, 0.975]) == pytest.approx([low, high], abs=0.01)
    for cosine in (0.1, -0.3):
        assert cosine_p(cosine, WIDTH) == pytest.approx(float((np.abs(found) >= abs(cosine)).mean()), abs=0.01)
    assert cosine_p(high, WIDTH) == pytest.approx(0.05, abs=1e-9) and cosine_p(1.0, WIDTH) == 0


def test_directions_within_few_dimensions_meet_more_often_than_isotropic_ones_and_their_mean_plays_no_part() -> None:
    flat = torch.zeros(60, WIDTH)
    flat[:, :3] = normal(60, 3).float()
    one, two = unrelated_directions(flat + 100, seed=1), unrelated_directions(flat + 100, seed=2)
    assert float((one * two).sum(dim=1).abs().quantile(0.95)) > 2 * cosine_band(WIDTH)[1]
    round_ = [unrelated_directions(normal(200, WIDTH, seed=seed).float(), seed=seed) for seed in (1, 2)]
    found = (round_[0] * round_[1]).sum(dim=1).numpy()
    assert np.quantile(found, 0.975) == pytest.approx(cosine_band(WIDTH)[1], abs=0.06)


def halves(truth: Tensor, noise: float, seed: int, splits: int = 400) -> Tensor:
    return truth + noise * normal(splits, 2, WIDTH, seed=seed)


def test_the_corrected_cosine_recovers_the_planted_one_that_noise_hides() -> None:
    v = torch.nn.functional.normalize(normal(WIDTH), dim=0)
    other = torch.nn.functional.normalize(normal(WIDTH, seed=1), dim=0)
    w = 0.6 * v + 0.8 * torch.nn.functional.normalize(other - (other @ v) * v, dim=0)
    one, two = halves(v, 0.2, 3), halves(w, 0.2, 4)
    plain = float(torch.cosine_similarity(one.mean(dim=1), two.mean(dim=1), dim=1).mean())
    assert corrected_cosine(one, two) == pytest.approx(0.6, abs=0.02) and plain < 0.45
    want = plain / math.sqrt(reliability(one) * reliability(two))
    assert corrected_cosine(one, two) == pytest.approx(want, abs=0.05)
    assert corrected_cosine(halves(v, 0.0, 3), halves(w, 0.0, 4)) == pytest.approx(0.6)


def test_halves_of_the_same_noisy_data_do_not_look_alike_by_their_common_noise() -> None:
    v, w = torch.eye(WIDTH, dtype=torch.float64)[:2]
    noise = normal(400, 2, WIDTH)
    plain = float(torch.cosine_similarity((v + noise).mean(dim=1), (w + noise).mean(dim=1), dim=1).mean())
    assert plain > 0.8 and abs(corrected_cosine(v + noise, w + noise)) < 0.2


def test_a_direction_that_does_not_repeat_has_no_corrected_cosine() -> None:
    noise = normal(50, 2, WIDTH)
    noise[:, 1] = -noise[:, 0]
    assert math.isnan(corrected_cosine(noise, halves(torch.ones(WIDTH), 0.1, 1, splits=50)))
    assert reliability(halves(torch.ones(WIDTH), 0.0, 1)) == pytest.approx(1)


def test_effective_rank_and_angles_are_known_of_simple_sets() -> None:
    eye = torch.eye(6, dtype=torch.float64)
    assert effective_rank(eye[:4]) == pytest.approx(4) and effective_rank(eye[:1].repeat(5, 1)) == pytest.approx(1)
    assert effective_rank(torch.stack([eye[0], 0.5 * eye[1]])) == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (2 / 3, 1 / 3)))
    )
    tilted = torch.stack([eye[0], (eye[1] + eye[3]) / math.sqrt(2)])
    assert principal_angles(eye[:2], tilted).tolist() == pytest.approx([0, 45], abs=1e-6)
    assert principal_angles(eye[:2], eye[2:5]).tolist() == pytest.approx([90, 90])


def test_impossible_sets_are_refused(unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(ScoreError, match="all linearly independent"):
        principal_angles(torch.ones(2, 4), torch.eye(4)[:2])
    with pytest.raises(ScoreError, match="give finite directions"):
        effective_rank(torch.zeros(2, 4))
    with pytest.raises(ScoreError, match="not all equal"):
        unrelated_directions(torch.ones(3, 4))
    with pytest.raises(ScoreError, match="1 dimensions at confidence"):
        cosine_band(1)
    with pytest.raises(ScoreError, match=r"expected \(splits, 2, width\) for both"):
        corrected_cosine(torch.ones(3, 2, 4), torch.ones(2, 2, 4))
