"""Intervals: their formulas, what they do at the ends, and that they say why there is none."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import (
    difference_interval,
    mean_interval,
    percentile_interval,
    rate_interval,
    ratio_interval,
    share_interval,
    two_level_interval,
)

X = torch.randn(40, generator=torch.Generator().manual_seed(0))
Z = 1.959963984540054


def studentised(x: np.ndarray, y: np.ndarray, resamples: int) -> tuple[float, float]:
    """Bootstrap-t of a ratio of sums, resample by resample (Efron & Tibshirani 1993, section 12.5)."""
    rng, n = np.random.default_rng(7), len(x)

    def estimate(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        r = x.sum() / y.sum()
        return r, np.std(x - r * y, ddof=1) * n**0.5 / y.sum()

    r, s = estimate(x, y)
    pivots = []
    for _ in range(resamples):
        drawn = rng.integers(n, size=n)
        again, error = estimate(x[drawn], y[drawn])
        pivots.append((again - r) / error)
    tail = stats.norm.cdf(stats.t.ppf(0.025, n - 1))
    low, high = np.quantile(pivots, [tail, 1 - tail])
    return r - high * s, r - low * s


def test_the_interval_holds_the_mean_and_the_same_seed_gives_the_same_one() -> None:
    found = mean_interval(X, resamples=999)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(float(X.double().mean()))
    assert found == mean_interval(X, resamples=999)
    assert found != mean_interval(X, resamples=999, seed=1)


def test_a_mean_and_a_ratio_have_the_bootstrap_t_interval() -> None:
    rng = np.random.default_rng(0)
    skewed, sizes = rng.lognormal(0, 0.7, 20), rng.integers(20, 200, 20).astype(float)
    for x, y, found in (
        (skewed, np.ones(20), mean_interval(torch.tensor(skewed))),
        (skewed * sizes, sizes, ratio_interval(torch.tensor(skewed * sizes), torch.tensor(sizes))),
    ):
        low, high = studentised(x, y, 20_000)
        assert (found.low, found.high) == pytest.approx((low, high), rel=0.03)
        assert found.high - found.value > found.value - found.low, "longer towards the tail"


def test_of_many_normal_items_it_is_the_interval_of_student() -> None:
    values = torch.randn(300, generator=torch.Generator().manual_seed(1)).double()
    low, high = stats.ttest_1samp(values.numpy(), 0).confidence_interval()
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)


def test_resamples_come_in_blocks_without_change_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean_interval(X)
    monkeypatch.setattr("lens_steer.metrics.statistics.AT_ONCE", 40_000)
    parts = mean_interval(X)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_two_orders_of_an_item_are_not_two_items() -> None:
    twice = torch.stack([X, X], dim=1)
    cluster, naive = mean_interval(twice), mean_interval(twice.flatten())
    assert (cluster.n, naive.n) == (40, 80)
    assert cluster == mean_interval(X)
    assert cluster.high - cluster.low > 1.2 * (naive.high - naive.low)


def test_a_rate_has_the_interval_of_agresti_and_coull() -> None:
    n, k = 30 + Z**2, 27 + Z**2 / 2
    reach = Z * math.sqrt(k / n * (1 - k / n) / n)
    found = rate_interval(torch.arange(30) < 27)
    assert (found.low, found.high) == pytest.approx((k / n - reach, min(k / n + reach, 1)))
    assert found == share_interval(27, 30)


def test_a_rate_of_nothing_or_everything_has_a_width() -> None:
    none, every = rate_interval(torch.zeros(30)), rate_interval(torch.ones(30, 2))
    assert (none.low, none.value) == (0, 0) and 0.1 < none.high < 0.16
    assert (every.value, every.high) == (1, 1) and every.low == pytest.approx(1 - none.high), "30 items, not 60 answers"


def test_two_orders_count_as_one_answer_where_they_agree_and_as_two_where_they_do_not() -> None:
    first = torch.arange(40) < 24
    same, independent = torch.stack([first, first], dim=1), torch.stack([first, first.roll(10)], dim=1)
    opposite = torch.stack([torch.ones(40), torch.zeros(40)], dim=1)
    assert rate_interval(same) == share_interval(24, 40)
    width = {name: (found := rate_interval(x)).high - found.low for name, x in (("same", same), ("two", independent))}
    assert width["two"] < 0.85 * width["same"]
    bounds = share_interval(40, 80)
    assert (rate_interval(opposite).low, rate_interval(opposite).high) == (bounds.low, bounds.high)


def test_a_ratio_of_sums_resamples_both_numbers_of_an_item_together() -> None:
    generator = torch.Generator().manual_seed(0)
    below = 10 + 90 * torch.rand(30, generator=generator).double()
    paired = ratio_interval(0.8 * below + torch.rand(30, generator=generator), below)
    shuffled = ratio_interval((0.8 * below + 0.5)[torch.randperm(30, generator=generator)], below)
    assert paired.low < paired.value < paired.high and paired.value == pytest.approx(0.81, abs=0.01)
    assert shuffled.high - shuffled.low > 10 * (paired.high - paired.low)
    assert ratio_interval(0.8 * below, below).why == "equal"


def test_equal_items_have_an_interval_without_width_that_says_so() -> None:
    found = mean_interval(torch.full((5,), 0.25))
    assert (found.low, found.value, found.high, found.why) == (0.25, 0.25, 0.25, "equal")


@pytest.mark.parametrize(
    ("values", "resamples", "why"),
    [
        (X[:7], 99, "few"),
        (X, 0, "skipped"),
        (torch.tensor([1.0, math.nan, *range(9)]), 99, "unscored"),
        (torch.tensor([1.0, *[0.0] * 11]), 999, "tied"),
    ],
)
def test_where_there_is_no_interval_one_word_says_why(values: torch.Tensor, resamples: int, why: str) -> None:
    found = mean_interval(values, resamples=resamples)
    assert math.isnan(found.low) and math.isnan(found.high) and found.why == why
    assert found.columns("change")["change_why"] == why
    ratio = ratio_interval(values, torch.ones(len(values)), resamples=resamples)
    assert math.isnan(ratio.low) and ratio.why == why


@pytest.mark.parametrize(("up", "down", "n"), [(1, 0, 24), (2, 0, 24), (2, 1, 24), (3, 1, 24), (3, 0, 60), (5, 0, 60)])
def test_rare_changes_have_no_interval_or_one_of_their_own_size(up: int, down: int, n: int) -> None:
    found = mean_interval(torch.tensor([1.0] * up + [-1.0] * down + [0.0] * (n - up - down)))
    assert found.why == "tied" or -1 < found.low < found.high < 1
    assert (found.why == "tied") == (up + down < 4), "rounding in a resample of equal items is no spread"


def test_a_method_has_the_variance_of_its_training_pairs_in_its_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    items, gains = torch.randn(30, generator=generator), 1 + torch.randn(20, generator=generator)
    same = two_level_interval(items, items.expand(20, 30), pairs=20)
    low, high = stats.ttest_1samp(items.double().numpy(), 0).confidence_interval()
    assert (same.low, same.high) == pytest.approx((low, high)), "refits that change nothing leave the items' variance"
    far = two_level_interval(items, items + gains[:, None], pairs=20)
    parts = [float(gains.double().var()), float(items.double().var()) / 30]
    freedom = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, (19, 29), strict=True))
    reach = stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5
    assert far.high - far.value == pytest.approx(reach, rel=1e-5)
    assert two_level_interval(items, items.expand(20, 30), pairs=7).why == "few"


def test_a_percentile_interval_of_few_items_reaches_further() -> None:
    drawn = np.random.default_rng(0).normal(size=100_000)
    many, few = (percentile_interval(0.0, drawn, n) for n in (100_000, 10))
    assert (many.low, many.high) == pytest.approx((-Z, Z), abs=0.03)
    assert few.high == pytest.approx(stats.t.ppf(0.975, 9) * (10 / 9) ** 0.5, abs=0.05)
    censored = percentile_interval(1.0, np.array([math.nan, *[1.0] * 50, *[math.inf] * 50]), 20)
    assert (censored.low, censored.high) == (1, math.inf)
    assert percentile_interval(1.0, drawn, 7).why == "few"


def test_too_few_or_impossible_numbers_are_refused() -> None:
    with pytest.raises(ScoreError, match="at least one item"):
        mean_interval(torch.ones(0))
    with pytest.raises(ScoreError, match="at least one item"):
        rate_interval(torch.ones(0))
    with pytest.raises(ScoreError, match="3 of 2 is not a share"):
        share_interval(3, 2)
    with pytest.raises(ScoreError, match="at least two pairs"):
        two_level_interval(X, X.expand(9, 40), pairs=1)
    for above, below in ((torch.ones(3), torch.zeros(3)), (torch.ones(2), -torch.ones(2))):
        with pytest.raises(ScoreError, match="interval of a ratio"):
            ratio_interval(above, below)


def test_two_unpaired_lists_have_the_interval_of_welch_and_too_few_have_none() -> None:
    one, other = X[:12].flatten(), 3 * X[12:20].flatten() + 1
    a, b = one.double().numpy(), other.double().numpy()
    spread = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = sum(spread) ** 2 / (spread[0] ** 2 / (len(a) - 1) + spread[1] ** 2 / (len(b) - 1))
    reach, found = stats.t.ppf(0.975, freedom) * math.sqrt(sum(spread)), difference_interval(one, other)
    assert found.value == pytest.approx(a.mean() - b.mean()) and found.n == len(a) + len(b)
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))
    few = difference_interval(one, other[:3])
    assert few.why == "few" and math.isnan(few.low)
    assert difference_interval(torch.ones(5), torch.zeros(6)).why == "equal"
    with pytest.raises(ScoreError, match="0 and 8 numbers to compare"):
        difference_interval(one[:0], other[:8])
