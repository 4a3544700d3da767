"""Collapse of generated text: planted loops and sameness are found, variety is not, and onsets are where they are."""

import math
import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.errors import ScoreError
from lens_steer.metrics import collapse as rules


def varied(n: int = 6, length: int = 40, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(500) for _ in range(length)] for _ in range(n)]


def looping(onset: int, period: int, length: int = 40) -> list[int]:
    head, loop = list(range(1000, 1000 + onset)), [7 + i for i in range(period)]
    return (head + loop * length)[:length]


def spelled(text: str) -> list[int]:
    """Words and full stops as tokens."""
    words = text.replace(".", " .").split()
    return [sorted(set(words)).index(word) for word in words]


def test_varied_text_is_no_collapse() -> None:
    found = rules.generation_collapse(varied())
    assert (found.collapsed, found.reason, found.looping_share, found.repetition_share) == (False, "", 0, 0)
    assert found.distinct_n == 1 and found.cross_prompt_similarity == 0 and math.isnan(found.loop_onset)
    assert found.ngram_entropy == pytest.approx(math.log2(6 * 38)) and math.isnan(found.compression_ratio)


def test_half_of_the_continuations_repeating_themselves_is_collapse_and_fewer_is_none() -> None:
    loops = [looping(10, 3), looping(14, 1), looping(20, 5)]
    found = rules.generation_collapse([*loops, *varied(3)])
    assert found.collapsed and "0.500 of the continuations repeat themselves" in found.reason
    assert (found.loop_onset, found.looping_share, found.collapsed_share) == (14, 0.5, 0.5)
    assert not rules.generation_collapse([*loops, *varied(4)]).collapsed


def test_one_text_whatever_the_prompt_is_collapse_without_any_loop() -> None:
    found = rules.generation_collapse([list(range(40))] * 4)
    assert found.collapsed and found.reason == "cross-prompt similarity 1.000 > 0.5"
    assert found.looping_share == 0 and found.distinct_n == pytest.approx(1 / 4)


def test_nothing_said_is_collapse_and_counted_as_empty() -> None:
    found = rules.generation_collapse([[], [], *varied(2)])
    assert found.collapsed and (found.empty_share, found.collapsed_share) == (0.5, 0.5)
    nothing = rules.generation_collapse([[], []], ["", ""])
    assert nothing.collapsed and math.isnan(nothing.distinct_n) and math.isnan(nothing.compression_ratio)
    short = rules.generation_collapse([[1], [2, 3]])
    assert not short.collapsed and short.cross_prompt_similarity == 0


@pytest.mark.parametrize(("onset", "period"), [(0, 1), (0, 8), (5, 2), (12, 7), (0, 20), (3, 18)])
def test_a_loop_of_any_period_up_to_half_is_found_where_it_begins(onset: int, period: int) -> None:
    assert rules.find_loop(looping(onset, period)) == rules.Loop(
        onset=onset, period=period, repeated=40 - onset - period
    )
    assert rules.continuation_collapsed(looping(onset, period))


@pytest.mark.parametrize("odd", [[1], [1, 2, 3]])
def test_odd_tokens_at_either_end_and_a_part_of_a_period_do_not_hide_a_loop(odd: list[int]) -> None:
    whole = looping(4, 8)
    for row in ([*whole, *odd], [*odd, *whole], [*odd, *whole[:-3], *odd]):
        found = rules.find_loop(row)
        assert found and found.period == 8 and rules.continuation_collapsed(row)


def test_a_sentence_three_times_is_collapse_and_said_once_or_as_a_refrain_is_not() -> None:
    assert rules.continuation_collapsed(spelled("I was. I was. I was."))
    assert rules.find_loop(spelled("I was. I was. I was.")) == rules.Loop(onset=0, period=3, repeated=6)
    assert not rules.continuation_collapsed(spelled("I was. You were."))
    refrain = [*range(30), 3, 4, 5, 6, *range(30, 36)]
    assert rules.find_loop(refrain) is None and not rules.continuation_collapsed(refrain)
    assert rules.find_loop([]) is None and rules.find_loop([5]) is None and rules.find_loop([5, 5, 5]) is None


@given(st.lists(st.integers(0, 2), max_size=24))
def test_a_loop_is_the_longest_stretch_of_the_definition_written_out(row: list[int]) -> None:
    stretches = {}
    for period in range(1, len(row) // 2 + 1):
        for begin in range(len(row) - period):
            end = begin
            while end + period < len(row) and row[end] == row[end + period]:
                end += 1
            stretches[period, begin] = end - begin
    fit = [(-n, p, b) for (p, b), n in stretches.items() if n >= max(p, len(row) / 4, 5)]
    expected = min(fit, default=None)
    found = rules.find_loop(row)
    assert (found and (-found.repeated, found.period, found.onset)) == expected


def test_repeated_text_compresses_and_short_text_is_not_measured() -> None:
    prose = "The train was late, and nobody on the platform could say why it had stopped so long before the bridge. "
    assert rules.compression_ratio("I was. " * 40) < 0.1 < 0.6 < rules.compression_ratio(prose)
    assert math.isnan(rules.compression_ratio("I was. " * 5)) and math.isnan(rules.compression_ratio(""))
    found = rules.generation_collapse(varied(2), ["I was. " * 40, "short"])
    assert found.compression_ratio == rules.compression_ratio("I was. " * 40)


def test_similarity_is_the_mean_jaccard_written_out() -> None:
    rows = [[1, 2, 3, 4], [2, 3, 4, 5], [9, 9, 9, 9]]
    assert rules.cross_prompt_similarity(rows, 2) == pytest.approx((2 / 4 + 0 + 0) / 3)
    assert rules.distinct_n(rows, 2) == pytest.approx(5 / 9)
    assert [rules.repetition_share(row, 2) for row in rows] == pytest.approx([0, 0, 2 / 3])
    counts = [1, 2, 2, 1, 3]
    assert rules.ngram_entropy(rows, 2) == pytest.approx(-sum(c / 9 * math.log2(c / 9) for c in counts))


def test_a_margin_is_above_0_exactly_where_the_rule_says_collapsed_and_repeats_are_not_compared() -> None:
    rows = [looping(10, 3), looping(14, 1), *varied(4), []]
    margin = rules.generation_margin(rows)
    for items in ([0, 1, 2], [0, 2, 3], [2, 3, 4, 5], [0, 1], [0, 2], [0, 6, 3, 4], [0, 6, 3, 4, 5]):
        assert (margin(items) > 0) == rules.generation_collapse([rows[i] for i in items]).collapsed
    assert margin([2, 2, 3, 3]) < 0


def test_step_entropies_are_summed_up_by_mean_and_drift() -> None:
    found = rules.entropy_summary([[4.0, 3.0, 2.0, 1.0], [2.0, 1.0, 0.0, 1.0]])
    assert found == {"step_entropy": pytest.approx(1.75), "step_entropy_drift": pytest.approx(-2.0)}


def test_nothing_to_count_is_refused() -> None:
    for rows, n in (([], 3), ([[1, 2]], 3), ([[1, 2, 3]], 0)):
        with pytest.raises(ScoreError, match="at least one continuation as long as n"):
            rules.distinct_n(rows, n)
    for rows in ([[1, 2, 3]], []):
        with pytest.raises(ScoreError, match="at least two"):
            rules.generation_collapse(rows)
    with pytest.raises(ScoreError, match="1 texts of 2 continuations"):
        rules.generation_collapse([[1], [2]], ["a"])


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
