"""Intervals."""

import math

import pytest
import torch
from scipy import stats

from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import bootstrap_mean, bootstrap_ratio, cluster_bootstrap_mean, holm, share_interval

X = torch.randn(40, generator=torch.Generator().manual_seed(0))


def test_the_interval_holds_the_mean_and_the_same_seed_gives_the_same_one() -> None:
    found = bootstrap_mean(X, resamples=999)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(float(X.double().mean()))
    assert found == bootstrap_mean(X, resamples=999)
    assert found != bootstrap_mean(X, resamples=999, seed=1)


def test_it_is_about_as_wide_as_the_normal_interval() -> None:
    found = bootstrap_mean(X)
    wide = 2 * 1.96 * float(X.double().std()) / 40**0.5
    assert found.high - found.low == pytest.approx(wide, rel=0.1)


def test_equal_items_have_an_interval_without_width() -> None:
    found = bootstrap_mean(torch.full((5,), 0.25))
    assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)


def test_two_orders_of_an_item_are_not_two_items() -> None:
    twice = torch.stack([X, X], dim=1)
    cluster = cluster_bootstrap_mean(twice, resamples=2999)
    naive = bootstrap_mean(twice.flatten(), resamples=2999)
    assert (cluster.n, naive.n) == (40, 80)
    assert cluster.high - cluster.low > 1.2 * (naive.high - naive.low)


def test_the_share_interval_is_clopper_pearson() -> None:
    found = share_interval(3, 20)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 3, 18))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 4, 17))
    assert share_interval(0, 5).low == 0 and share_interval(5, 5).high == 1


def test_too_few_or_impossible_numbers_are_refused() -> None:
    with pytest.raises(ScoreError, match="at least two items"):
        bootstrap_mean(torch.ones(1))
    with pytest.raises(ScoreError, match="all finite"):
        bootstrap_mean(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ScoreError, match="3 of 2 is not a share"):
        share_interval(3, 2)


def test_a_ratio_of_sums_resamples_both_numbers_of_an_item_together() -> None:
    generator = torch.Generator().manual_seed(0)
    below = 10 + 90 * torch.rand(30, generator=generator).double()
    paired = bootstrap_ratio(0.8 * below + torch.rand(30, generator=generator), below)
    shuffled = bootstrap_ratio((0.8 * below + 0.5)[torch.randperm(30, generator=generator)], below)
    assert paired.low < paired.value < paired.high and paired.value == pytest.approx(0.81, abs=0.01)
    assert shuffled.high - shuffled.low > 10 * (paired.high - paired.low)
    few = torch.tensor([0.0, 0.0, 1.0])
    assert bootstrap_ratio(few, few * 2).low == 0.5 and math.isnan(bootstrap_ratio(few + 1, few).low)
    exact = bootstrap_ratio(0.8 * below, below)
    assert exact.low == exact.high == exact.value == pytest.approx(0.8)


def test_a_ratio_without_two_items_or_a_denominator_is_refused() -> None:
    for above, below in (
        (torch.ones(1), torch.ones(1)),
        (torch.ones(3), torch.zeros(3)),
        (torch.ones(2), -torch.ones(2)),
    ):
        with pytest.raises(ScoreError, match="interval of a ratio"):
            bootstrap_ratio(above, below)


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1] and holm([0.2]) == [0.2]
    with pytest.raises(ScoreError, match="each between 0 and 1"):
        holm([])
