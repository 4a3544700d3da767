"""Tests over random splits: both t tests against SciPy and the paper's formula, and the degenerate ones."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from lens_steer.errors import ScoreError
from lens_steer.metrics.repeated_splits import splits_test

GAINS = [0.12, 0.05, 0.2, -0.02, 0.08, 0.11]


def test_the_plain_test_is_scipys_one_sided_t_test() -> None:
    found = splits_test(torch.tensor(GAINS, dtype=torch.float64), 20, 80)
    ours: Any = stats.ttest_1samp(GAINS, 0, alternative="greater")
    assert found.p_t == pytest.approx(float(ours.pvalue))
    assert found.p_flips == pytest.approx(2 * 2 / 64)


def test_the_corrected_variance_is_that_of_nadeau_and_bengio() -> None:
    found = splits_test(torch.tensor(GAINS, dtype=torch.float64), 20, 60)
    variance = (1 / 6 + 20 / 60) * np.var(GAINS, ddof=1)
    t = np.mean(GAINS) / math.sqrt(variance)
    assert found.p_corrected == pytest.approx(1 - stats.t.cdf(t, 5))
    low, high = stats.t.interval(0.95, 5, loc=np.mean(GAINS), scale=math.sqrt(variance))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p_corrected > found.p_t


def test_under_shared_items_the_plain_test_rejects_too_often_and_the_corrected_one_does_not() -> None:
    """No gain is there: each item is as often mended as spoilt; 15 splits test a fifth of the same 100 items each."""
    rng, plain, corrected = np.random.default_rng(0), 0, 0
    for _ in range(300):
        items = rng.choice([-1.0, 0.0, 1.0], size=100, p=[0.2, 0.6, 0.2])
        gains = [rng.permutation(items)[:20].mean() for _ in range(15)]
        found = splits_test(torch.tensor(gains), 20, 80)
        plain, corrected = plain + (found.p_t < 0.05), corrected + (found.p_corrected < 0.05)
    assert plain > 0.15 * 300 and corrected < 0.1 * 300


def test_gains_that_are_all_equal_have_no_t_test_and_all_zero_is_no_gain() -> None:
    nothing = splits_test(torch.zeros(5), 20, 80)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    assert nothing.p_t == nothing.p_corrected == nothing.p_flips == 1
    same = splits_test(torch.full((5,), 0.5), 20, 80)
    assert same.low == same.high == 0.5 and math.isnan(same.p_t) and same.p_flips == pytest.approx(2 / 32)
    one = splits_test(torch.tensor([0.5]), 20, 80)
    assert math.isnan(one.low) and math.isnan(one.p_corrected) and one.p_flips == 1


@pytest.mark.parametrize(("gains", "test"), [([], 20.0), ([math.nan], 20.0), ([0.1], 0.0)])
def test_no_gains_or_no_items_are_refused(gains: list[float], test: float) -> None:
    with pytest.raises(ScoreError, match="give at least one finite gain"):
        splits_test(torch.tensor(gains), test, 80)
