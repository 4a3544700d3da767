"""The rule for generated text against a reader, on 40 continuations of two real models."""

import json
from pathlib import Path
from typing import Any

import judged_texts
import pytest

from lens_steer.metrics.collapse import (
    compression_ratio,
    continuation_collapsed,
    find_loop,
    generation_collapse,
    repetition_share,
)
from lens_steer.metrics.collapse.generation import REPETITION_LIMIT
from lens_steer.model import decode

ROWS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("judged_texts.json").read_text(encoding="utf-8"))


def agreement(half: str) -> dict[str, float]:
    """Sensitivity and specificity of the rule on one half, the reader's judgement being the truth."""
    rows = [row for row in ROWS if row["half"] == half]
    right = {truth: [continuation_collapsed(row["tokens"]) is truth for row in rows if row["collapsed"] is truth]
             for truth in (True, False)}  # fmt: skip
    return {name: sum(right[truth]) / len(right[truth]) for name, truth in (("found", True), ("passed", False))}


def test_the_judged_texts_are_two_halves_of_both_kinds_and_both_models() -> None:
    counts = {(half, truth): sum(row["half"] == half and row["collapsed"] is truth for row in ROWS)
              for half in ("choose", "report") for truth in (True, False)}  # fmt: skip
    assert set(counts.values()) == {10} and {row["model"] for row in ROWS} == {"smollm2", "gemma3"}
    assert {row["reason"] for row in ROWS if row["collapsed"]} == {"loop", "repeats", "digits"}
    assert {row["reason"] for row in ROWS if not row["collapsed"]} == {"fluent", "incoherent"}


def test_the_rule_agrees_with_the_reader_on_the_half_that_its_limit_was_not_chosen_on() -> None:
    assert agreement("choose") == {"found": 0.9, "passed": 1.0}
    assert agreement("report") == {"found": 1.0, "passed": 1.0}


def test_the_only_collapse_that_is_missed_is_few_tokens_in_ever_new_order() -> None:
    missed = [row for row in ROWS if row["collapsed"] and not continuation_collapsed(row["tokens"])]
    assert [(row["reason"], len(set(row["tokens"]))) for row in missed] == [("digits", 6)]


def test_the_limit_lies_between_the_kinds_on_the_half_that_it_was_chosen_on() -> None:
    rows = [row for row in ROWS if row["half"] == "choose" and row["reason"] != "digits"]
    shares = {truth: [repetition_share(row["tokens"]) for row in rows if row["collapsed"] is truth]
              for truth in (True, False)}  # fmt: skip
    assert max(shares[False]) < 0.1 < REPETITION_LIMIT < 0.35 < min(shares[True])


@pytest.mark.parametrize("limit", [0.1, 0.2, 0.35])
def test_any_limit_that_the_first_half_allows_agrees_with_the_reader_on_the_other(limit: float) -> None:
    rows = [row for row in ROWS if row["half"] == "report"]
    wrong = [row["reason"] for row in rows if (repetition_share(row["tokens"]) > limit) is not row["collapsed"]]
    assert wrong == (["digits"] if limit > 0.3 else [])


def test_loops_of_an_exact_period_miss_what_repetition_finds_and_compression_separates_less_well() -> None:
    collapsed = [row for row in ROWS if row["collapsed"]]
    assert 15 <= sum(find_loop(row["tokens"]) is not None for row in collapsed) < len(collapsed) - 1
    assert not any(find_loop(row["tokens"]) for row in ROWS if not row["collapsed"])
    ratios = [(row["collapsed"], compression_ratio(row["text"])) for row in ROWS if len(row["text"]) > 100]
    overlap = max(ratio for truth, ratio in ratios if truth) - min(ratio for truth, ratio in ratios if not truth)
    assert 0 < overlap < 0.1


def test_sampled_unsteered_texts_are_no_collapse_and_greedy_ones_of_small_models_are() -> None:
    for temperature, collapsed in ((0.0, True), (1.0, False)):
        rows = [row for row in ROWS if row["vector"] == "none" and row["temperature"] == temperature]
        assert generation_collapse([row["tokens"] for row in rows]).collapsed is collapsed and len(rows) == 2


@pytest.mark.real
def test_the_texts_are_what_the_model_writes(smollm2: Any) -> None:
    rows = [row for row in ROWS if row["model"] == "smollm2"]
    assert [(row["vector"], row["strength"], row["temperature"]) for row in rows] == list(judged_texts.PLAN)
    assert all(decode(smollm2, row["tokens"]).strip() == row["text"].strip() for row in rows)
    again = judged_texts.written(smollm2, judged_texts.SHIFT["smollm2"], steps=(0, 2))
    assert [row["tokens"][:20] for row in again] == [rows[index]["tokens"][:20] for index in (0, 2)]
