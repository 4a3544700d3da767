"""Collapse of generated text: planted loops and sameness are found, variety is not, and onsets are where they are."""

import math
import random
from collections.abc import Sequence

import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics import collapse as rules


def varied(n: int = 6, length: int = 40, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(500) for _ in range(length)] for _ in range(n)]


def looping(onset: int, period: int, length: int = 40) -> list[int]:
    head, loop = list(range(1000, 1000 + onset)), [7 + i for i in range(period)]
    return (head + loop * length)[:length]


def test_varied_text_is_no_collapse() -> None:
    found = rules.generation_collapse(varied())
    assert (found.collapsed, found.reason, found.looping_share, found.repetition_share) == (False, "", 0, 0)
    assert found.distinct_n == 1 and found.cross_prompt_similarity == 0 and math.isnan(found.loop_onset)
    assert found.ngram_entropy == pytest.approx(math.log2(6 * 38))


def test_planted_loops_are_collapse_and_their_onset_is_where_they_begin() -> None:
    found = rules.generation_collapse([looping(10, 3), looping(14, 1), looping(20, 5), *varied(2)])
    assert found.collapsed and "0.600 of the continuations end in a loop" in found.reason
    assert found.loop_onset == 14 and found.repetition_share > 0.3


def test_one_text_whatever_the_prompt_is_collapse_without_any_loop() -> None:
    found = rules.generation_collapse([list(range(40))] * 4)
    assert found.collapsed and found.reason == "cross-prompt similarity 1.000 > 0.5"
    assert found.looping_share == 0 and found.distinct_n == pytest.approx(1 / 4)


@pytest.mark.parametrize(("onset", "period"), [(0, 1), (0, 16 // 2), (5, 2), (12, 7)])
def test_a_loop_sets_in_at_its_first_step(onset: int, period: int) -> None:
    assert rules.loop_onset(looping(onset, period)) == onset


def test_a_loop_that_ends_or_has_not_come_round_three_times_is_none() -> None:
    assert rules.loop_onset([*looping(2, 3), 1]) is None
    assert rules.loop_onset(looping(33, 3)) is None and rules.loop_onset(looping(31, 3)) == 31
    assert rules.loop_onset([]) is None


def test_similarity_is_the_mean_jaccard_written_out() -> None:
    rows = [[1, 2, 3, 4], [2, 3, 4, 5], [9, 9, 9, 9]]
    assert rules.cross_prompt_similarity(rows, 2) == pytest.approx((2 / 4 + 0 + 0) / 3)
    assert rules.distinct_n(rows, 2) == pytest.approx(5 / 9)
    assert rules.repetition_share(rows, 2) == pytest.approx((0 + 0 + 2 / 3) / 3)
    counts = [1, 2, 2, 1, 3]
    assert rules.ngram_entropy(rows, 2) == pytest.approx(-sum(c / 9 * math.log2(c / 9) for c in counts))


def test_a_margin_is_above_0_exactly_where_the_rule_says_collapsed_and_repeats_are_not_compared() -> None:
    rows = [looping(10, 3), looping(14, 1), *varied(4)]
    margin = rules.generation_margin(rows)
    for items in ([0, 1, 2], [0, 2, 3], [2, 3, 4, 5], [0, 1]):
        assert (margin(items) > 0) == rules.generation_collapse([rows[i] for i in items]).collapsed
    assert margin([2, 2, 3, 3]) == margin([2, 3]) < 0


def test_step_entropies_are_summed_up_by_mean_and_drift() -> None:
    found = rules.entropy_summary(torch.tensor([[4.0, 3.0, 2.0, 1.0], [2.0, 1.0, 0.0, 1.0]]))
    assert found == {"step_entropy": pytest.approx(1.75), "step_entropy_drift": pytest.approx(-2.0)}


def test_nothing_to_count_is_refused() -> None:
    for rows, n in (([], 3), ([[1, 2]], 3), ([[1, 2, 3]], 0)):
        with pytest.raises(ScoreError, match="at least one continuation as long as n"):
            rules.distinct_n(rows, n)
    with pytest.raises(ScoreError, match="at least two"):
        rules.cross_prompt_similarity([[1, 2, 3]])


def test_an_onset_is_interpolated_and_censored_where_the_grid_ends() -> None:
    assert rules.onset([0, 1, 2], [-1.0, -0.3, 0.1]) == pytest.approx(1.75)
    assert rules.onset([0, -1, -2], [-1.0, -0.3, 0.1]) == pytest.approx(1.75)
    assert rules.onset([0, 1], [-1.0, 0.0]) == math.inf and rules.onset([0, 1], [0.1, 1.0]) == 0
    assert rules.onset([0, 1, 2], [-1.0, -1.0, math.inf]) == 2
    for strengths in ([1, 2], [0, 2, 1], [-1, 0, 1], []):
        with pytest.raises(ScoreError, match="start at 0 and grow in size"):
            rules.onset(strengths, [0.0] * len(strengths))


def test_a_threshold_has_an_interval_that_may_be_open() -> None:
    at = torch.linspace(0.5, 2.5, 21)

    def margins(items: Sequence[int]) -> list[float]:
        return [s - float(at[list(items)].mean()) for s in (0.0, 1.0, 2.0)]

    found = rules.collapse_threshold([0, 1, 2], margins, 21)
    assert found.value == pytest.approx(1.5) and found.low < 1.5 < found.high < 2 and not found.censored
    late = rules.collapse_threshold([0, 1], lambda items: margins(items)[:2], 21)
    assert late.censored and late.high == math.inf
    assert rules.collapse_threshold([0, 1, 2], margins, 21, seed=1) != found
    with pytest.raises(ScoreError, match="at least two"):
        rules.collapse_threshold([0, 1], margins, 1)
