"""Likelihoods of continuations under steering: the formulas of Pres et al. 2024, written out a second time."""

import math

import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.continuations import QUANTILES, ContinuationLikelihoods


def drawn(n: int = 12, seed: int = 0) -> ContinuationLikelihoods:
    generator = torch.Generator().manual_seed(seed)
    columns = [-3 + torch.randn(n, generator=generator) for _ in range(4)]
    return ContinuationLikelihoods(
        matching_unsteered=columns[0],
        other_unsteered=columns[1],
        matching_steered=columns[2],
        other_steered=columns[3],
    )


def pos_and_neg(found: ContinuationLikelihoods, q: float, divide: bool) -> tuple[float, float]:
    """Section 3 of the paper, in plain Python."""
    base = {"pos": found.matching_unsteered.tolist(), "neg": found.other_unsteered.tolist()}
    steered = {"pos": found.matching_steered.tolist(), "neg": found.other_steered.tolist()}
    c = {name: 0.5 * (max(m["neg"]) + min(m["pos"])) for name, m in (("base", base), ("int", steered))}

    def z(value: float, model: str) -> float:
        return value / abs(c[model]) if divide else value - c[model]

    n = len(base["pos"])
    k = max(1, round(q * n))
    least = sorted(range(n), key=lambda i: base["pos"][i])[:k]
    most = sorted(range(n), key=lambda i: -base["neg"][i])[:k]
    pos = sum(z(steered["pos"][i], "int") - z(base["pos"][i], "base") for i in least) / k
    neg = sum(z(base["neg"][i], "base") - z(steered["neg"][i], "int") for i in most) / k
    return pos, neg


@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("q", QUANTILES)
def test_pos_and_neg_are_those_of_the_paper_in_both_readings(q: float, divide: bool) -> None:
    found = drawn()
    pos, neg = pos_and_neg(found, q, divide)
    reading = "divide" if divide else "subtract"
    assert found.promoted(q, reading, resamples=0).value == pytest.approx(pos, abs=1e-6)
    assert found.suppressed(q, reading, resamples=0).value == pytest.approx(neg, abs=1e-6)


def test_a_uniform_fall_of_all_likelihoods_is_drift_and_neither_promotes_nor_suppresses() -> None:
    one = drawn()
    fallen = ContinuationLikelihoods(
        matching_unsteered=one.matching_unsteered,
        other_unsteered=one.other_unsteered,
        matching_steered=one.matching_unsteered - 1,
        other_steered=one.other_unsteered - 1,
    )
    assert fallen.promoted(0.5, resamples=0).value == pytest.approx(0, abs=1e-6)
    assert fallen.suppressed(0.5, resamples=0).value == pytest.approx(0, abs=1e-6)
    assert fallen.shift(resamples=0).value == pytest.approx(0, abs=1e-6)
    assert [fallen.drift(side, resamples=0).value for side in (True, False)] == pytest.approx([-1, -1], abs=1e-6)


def test_dividing_keeps_the_order_of_likelihoods_so_that_a_promoted_behaviour_is_above_zero() -> None:
    one = drawn()
    raised = ContinuationLikelihoods(
        matching_unsteered=one.matching_unsteered,
        other_unsteered=one.other_unsteered,
        matching_steered=one.matching_unsteered + 0.5,
        other_steered=one.other_unsteered - 0.5,
    )
    for reading in ("subtract", "divide"):
        assert raised.promoted(0.5, reading, resamples=0).value > 0  # type: ignore[arg-type]
        assert raised.suppressed(0.5, reading, resamples=0).value > 0  # type: ignore[arg-type]


def test_intervals_are_over_prompts_hold_the_value_and_come_again_with_the_same_seed() -> None:
    found = drawn(40)
    for interval in (found.shift(), found.drift(True), found.promoted(0.75), found.suppressed(0.75)):
        assert interval.low <= interval.value <= interval.high and interval.n == 40
    assert found.promoted(0.25, seed=3) == found.promoted(0.25, seed=3) != found.promoted(0.25, seed=4)
    assert math.isnan(found.shift(resamples=0).low)


def test_the_interval_of_the_shift_covers_its_expectation_in_most_samples() -> None:
    inside = [(shift := drawn(30, seed).shift(499)).low <= 0 <= shift.high for seed in range(200)]
    assert 0.88 <= sum(inside) / 200 <= 0.99


def test_one_prompt_or_an_unknown_share_is_refused() -> None:
    with pytest.raises(ScoreError, match="at least two prompts"):
        drawn(1)
    with pytest.raises(ScoreError, match="share 0"):
        drawn().promoted(0.0)
    with pytest.raises(ScoreError, match="at most 1"):
        drawn().suppressed(1.5)
