"""Quality measures of directions, against their formulas and on data where the truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.extraction.methods import METHODS
from lens_steer.metrics.quality import (
    cosine_by_size,
    directional_agreement,
    energy_shares,
    separability,
    split_half_cosine,
)

MEAN = METHODS["mean_difference"].function
AXIS = torch.nn.functional.normalize(torch.linspace(-1, 2, 64), dim=0)


def noise(n: int, seed: int, width: int = 64) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def cosine(v: Tensor, w: Tensor) -> float:
    return float(v.double() @ w.double() / (v.double().norm() * w.double().norm()))


def test_halves_agree_where_there_is_a_direction_and_not_in_noise() -> None:
    pos, neg = noise(100, 0), noise(81, 1)
    signal, unrelated = 4**2, 64 * (1 / 50 + 1 / 40)
    expected = signal / (signal + unrelated)
    assert split_half_cosine(pos + 4 * AXIS, neg, MEAN) == pytest.approx(expected, abs=0.03)
    assert abs(split_half_cosine(pos, neg, MEAN)) < 0.1


def test_the_split_half_cosine_is_a_literal_loop_over_halves() -> None:
    pos, neg, generator = noise(9, 0), noise(6, 1), torch.Generator().manual_seed(5)
    literal = []
    for _ in range(20):
        up, down = torch.randperm(9, generator=generator), torch.randperm(6, generator=generator)
        one = pos[up[:4]].mean(0) - neg[down[:3]].mean(0)
        literal.append(cosine(one, pos[up[4:8]].mean(0) - neg[down[3:]].mean(0)))
    assert split_half_cosine(pos, neg, MEAN, splits=20, seed=5) == pytest.approx(np.mean(literal), abs=1e-6)


def test_the_seed_decides_the_halves_and_nothing_else_does() -> None:
    pos, neg, state = noise(20, 0) + AXIS, noise(20, 1), torch.random.get_rng_state()
    assert split_half_cosine(pos, neg, MEAN, seed=1) == split_half_cosine(pos, neg, MEAN, seed=1)
    assert split_half_cosine(pos, neg, MEAN, seed=1) != split_half_cosine(pos, neg, MEAN, seed=2)
    assert torch.equal(state, torch.random.get_rng_state())


def test_pairs_stay_together_in_a_half() -> None:
    prompt = 50 * noise(30, 2)
    pos, neg = prompt + noise(30, 0) + 2 * AXIS, prompt + noise(30, 1) - 2 * AXIS
    assert split_half_cosine(pos, neg, MEAN, paired=True) > 0.5
    assert split_half_cosine(pos, neg, MEAN) < -0.5
    with pytest.raises(ScoreError, match="30 positive and 29 negative rows; expected at least 2 pairs"):
        split_half_cosine(pos, neg[1:], MEAN, paired=True)


def test_what_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ScoreError, match="1 positive and 4 negative rows; expected at least 2 rows of each class"):
        split_half_cosine(noise(1, 0), noise(4, 1), MEAN)
    with pytest.raises(ScoreError, match="0 splits"):
        split_half_cosine(noise(4, 0), noise(4, 1), MEAN, splits=0)
    with pytest.raises(ScoreError, match="is zero or not finite, and has no cosine"):
        split_half_cosine(torch.ones(4, 3), torch.ones(4, 3), MEAN)


def test_agreement_is_the_mean_cosine_with_the_mean_of_the_others() -> None:
    d = noise(7, 0, width=5) + 1
    literal = [cosine(d[i], d[[j for j in range(7) if j != i]].mean(0)) for i in range(7)]
    assert directional_agreement(d) == pytest.approx(np.mean(literal), abs=1e-6)
    plain = [cosine(d[i], d.mean(0)) for i in range(7)]
    assert directional_agreement(d, leave_one_out=False) == pytest.approx(np.mean(plain), abs=1e-6)
    given = [cosine(d[i], torch.ones(5)) for i in range(7)]
    assert directional_agreement(d, torch.full((5,), 3.0)) == pytest.approx(np.mean(given), abs=1e-6)


def test_noise_agrees_with_its_own_mean_unless_each_pair_is_left_out() -> None:
    d = noise(100, 0)
    assert directional_agreement(d, leave_one_out=False) == pytest.approx(1 / math.sqrt(100), abs=0.03)
    assert directional_agreement(d) == pytest.approx(0.0, abs=0.03)


def test_agreement_needs_pairs_that_differ() -> None:
    with pytest.raises(ScoreError, match="1 pairs; agreement needs at least two pairs"):
        directional_agreement(noise(1, 0))
    assert directional_agreement(noise(1, 0), noise(1, 0)[0]) == pytest.approx(1.0)
    with pytest.raises(ScoreError, match="no cosine"):
        directional_agreement(torch.cat([noise(2, 0), torch.zeros(1, 64)]))


def test_more_rows_come_closer_to_the_direction_of_all() -> None:
    pos, neg = noise(200, 0) + 2 * AXIS, noise(150, 1)
    found = cosine_by_size(pos, neg, MEAN, sizes=(2, 10, 50, 150), repeats=40)
    means = [entry.mean for entry in found]
    assert means == sorted(means) and means[0] < 0.5 and means[-1] > 0.95
    assert all(entry.low <= entry.mean <= entry.high and entry.repeats == 40 for entry in found)
    frame = pd.DataFrame(list(found))
    assert list(frame.columns) == ["size", "mean", "low", "high", "repeats"] and list(frame["size"]) == [2, 10, 50, 150]


def test_all_rows_of_both_sides_give_the_direction_itself() -> None:
    (entry,) = cosine_by_size(noise(20, 0), noise(20, 1), MEAN, sizes=[20], repeats=5)
    assert entry.low == pytest.approx(1.0) and entry.high == pytest.approx(1.0)


def test_sizes_beyond_the_data_are_refused() -> None:
    for size in (0, 6):
        with pytest.raises(ScoreError, match=f"size {size} with 100 repeats, of 9 positive and 5 negative rows"):
            cosine_by_size(noise(9, 0), noise(5, 1), MEAN, sizes=[2, size])
    with pytest.raises(ScoreError, match="with 0 repeats"):
        cosine_by_size(noise(9, 0), noise(5, 1), MEAN, sizes=[2], repeats=0)


def test_separability_is_the_formula() -> None:
    pos, neg, v = (noise(40, 0) + AXIS).double(), noise(30, 1).double(), 3 * AXIS.double()
    middle = (pos.mean(0) + neg.mean(0)) / 2
    up = np.array([float(2 * (a - middle) @ v / v.norm() ** 2) for a in pos])
    down = np.array([float(2 * (a - middle) @ v / v.norm() ** 2) for a in neg])
    edges = np.linspace(min(up.min(), down.min()), max(up.max(), down.max()), 50)
    width = edges[1] - edges[0]
    high, low = (np.histogram(side, bins=edges)[0] / len(side) / width for side in (up, down))
    found = separability(pos, neg, v)
    assert found.d_prime == pytest.approx((up.mean() - down.mean()) / np.sqrt((up.std() ** 2 + down.std() ** 2) / 2))
    assert found.overlap == pytest.approx(sum(min(h, g) * width for h, g in zip(high, low, strict=True)))
    assert found.auroc == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in up for b in down]))
    assert found.auroc == pytest.approx(roc_auc_score([1] * 40 + [0] * 30, np.concatenate([up, down])))


def test_the_means_lie_at_plus_and_minus_1_along_their_difference() -> None:
    """kappa of the means is +-1, so d' times the spread of kappa is 2; and no length of the direction matters."""
    pos, neg = noise(40, 0) + AXIS, noise(30, 1)
    v = MEAN(pos, neg)
    readings = [2 * (side - (pos.mean(0) + neg.mean(0)) / 2) @ v / (v @ v) for side in (pos, neg)]
    assert float(readings[0].mean()) == pytest.approx(1.0, abs=1e-5)
    spread = math.sqrt(sum(float(side.var(correction=0)) for side in readings) / 2)
    assert separability(pos, neg, v).d_prime == pytest.approx(2 / spread, rel=1e-4)
    scaled = separability(pos, neg, 7 * v)
    assert scaled.d_prime == pytest.approx(separability(pos, neg, v).d_prime)


def test_gaussians_a_known_distance_apart_are_found_that_far_apart() -> None:
    pos, neg = noise(4000, 0) + 2 * AXIS, noise(4000, 1)
    found = separability(pos, neg, AXIS)
    assert found.d_prime == pytest.approx(2.0, abs=0.08)
    assert found.auroc == pytest.approx(0.921, abs=0.01)
    assert found.overlap == pytest.approx(0.317, abs=0.03)
    backwards = separability(pos, neg, -AXIS)
    assert backwards.d_prime == pytest.approx(-found.d_prime) and backwards.auroc == pytest.approx(1 - found.auroc)


def test_separability_on_the_training_rows_of_noise_is_an_illusion_that_new_rows_end() -> None:
    pos, neg = noise(40, 0), noise(40, 1)
    v = MEAN(pos, neg)
    assert separability(pos, neg, v).auroc > 0.85
    assert separability(noise(400, 2), noise(400, 3), v).auroc == pytest.approx(0.5, abs=0.06)


def test_what_cannot_be_separated_is_refused() -> None:
    with pytest.raises(ScoreError, match="expected at least 2 rows of each class"):
        separability(noise(1, 0), noise(5, 1), AXIS)
    for bad in (torch.zeros(64), AXIS * math.nan):
        with pytest.raises(ScoreError, match="the direction is zero or not finite"):
            separability(noise(5, 0), noise(5, 1), bad)
    with pytest.raises(ScoreError, match="do not vary within a class"):
        separability(torch.ones(3, 64), torch.zeros(3, 64), torch.eye(64)[0])


def test_the_energy_of_massive_dimensions_is_seen_and_named() -> None:
    v = torch.ones(100)
    v[7], v[30] = -19.0, 11.0
    found = energy_shares(v, k=(1, 2, 10))
    total = 98 + 361 + 121
    assert found.shares[1] == pytest.approx(361 / total) and found.shares[2] == pytest.approx(482 / total)
    assert found.shares[10] == pytest.approx(490 / total)
    assert found.dimensions[:2] == (7, 30) and len(found.dimensions) == 10
    assert energy_shares(torch.ones(100)).shares[2] == pytest.approx(0.02)
    assert energy_shares(v, k=[100]).shares[100] == pytest.approx(1.0)


def test_energy_is_refused_where_there_is_none_or_too_few_dimensions() -> None:
    for k in ((0,), (11,), ()):
        with pytest.raises(ScoreError, match="of 10 dimensions; give numbers from 1 to 10"):
            energy_shares(torch.ones(10), k=k)
    with pytest.raises(ScoreError, match="zero or not finite"):
        energy_shares(torch.zeros(10))
