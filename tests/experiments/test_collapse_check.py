"""Collapse of one vector: valid without steering, collapsed when steered hard, with onsets between."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from judged_texts import BAD, GOOD

from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import FormatError, ScoreError
from lens_steer.experiments.collapse_check import CollapseCheck, CollapseResult, check_collapse, study
from lens_steer.experiments.collapse_check.study import PROMPTS_EACH, CollapseStudy, _prompts
from lens_steer.extraction import extract
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.metrics.collapse import generation_collapse
from lens_steer.model import load_model, tokenize
from lens_steer.vector import SteeringVector, random_like

pytestmark = pytest.mark.slow

SETTINGS = CollapseCheck(
    site="resid_post@0", strengths=(-6, -0.25, 0, 0.25, 6), new_tokens=16, n_random=1, resamples=99
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def steering(lab: Any) -> SteeringVector:
    pairs = contrast_from_choices("sycophancy", open_items("myopic", 40, split="train"), answer="text")
    return extract(lab, pairs, sites="resid_post@0")


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    corpora = [lab_corpus(name, 1, 1, 3) for name in ("text", "python", "javascript")]
    return list(dict.fromkeys(" ".join(text.split(" ")[:6]) for corpus in corpora for text in corpus.test))


@pytest.fixture(scope="module")
def result(lab: Any, steering: SteeringVector, prompts: list[str]) -> CollapseResult:
    return check_collapse(lab, steering, open_items("sycophancy", 12, split="test"), prompts, SETTINGS)


def of(result: CollapseResult, vector: str) -> Any:
    """The rows of one vector, by strength."""
    return result.strengths[result.strengths["vector"] == vector].set_index("strength")


def test_answers_and_text_are_valid_without_steering_and_collapse_when_steered_hard(result: CollapseResult) -> None:
    rows: Any = of(result, "steering")
    for rule in ("answers", "generation"):
        assert rows[f"{rule}_collapsed"].loc[[-6, 6]].all(), rows.T.to_string()
        assert not rows.loc[0, f"{rule}_collapsed"], rows.T.to_string()
    assert rows.loc[6, "collapsed_share"] > 0.5 > rows.loc[0, "collapsed_share"]
    assert rows.loc[6, "distinct_n"] < rows.loc[0, "distinct_n"]
    assert (rows["gold_entropy"] == 1).all() and rows.loc[0, "faulty_share"] == 0


def test_texts_of_options_have_no_letters_to_collapse_to(
    lab: Any, steering: SteeringVector, prompts: list[str], result: CollapseResult
) -> None:
    settings = replace(SETTINGS, strengths=(0, 6), n_random=0, scoring="option_sum")
    found = check_collapse(lab, steering, open_items("sycophancy", 12, split="test"), prompts, settings)
    assert set(found.thresholds["rule"]) == {"generation"} and "answers_collapsed" not in found.strengths
    both = of(result, "steering").loc[[0, 6], "collapsed_share"].tolist()
    assert found.strengths["collapsed_share"].tolist() == both


def test_prompts_to_which_the_model_says_nothing_are_left_out(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    items = open_items("sycophancy", 12, split="validation")
    context = SimpleNamespace(
        model=lab,
        settings=CollapseStudy(behaviour="sycophancy"),
        corpora={"text": SimpleNamespace(test=[f"The king has {n} and then some more" for n in "abcdef"])},
        behaviours={"sycophancy": SimpleNamespace(validation=items)},
    )
    whole, silent = _prompts(cast(Any, context)), list[str]()
    assert len(whole) == 6 + PROMPTS_EACH and whole[0] == "The king has a and then"

    def generated(_model: Any, prompts: list[str], decoding: Decoding) -> Any:
        assert decoding.max_new_tokens == 1
        ends = ["eos" if prompt in silent else "length" for prompt in prompts]
        return SimpleNamespace(continuations=[SimpleNamespace(ended=end) for end in ends])

    monkeypatch.setattr(study, "generate", generated)
    silent += whole[:3]
    assert _prompts(cast(Any, context)) == whole[3:]
    silent += whole[3:9]
    assert _prompts(cast(Any, context)) == whole, "one prompt has no onset"
    context.settings = replace(context.settings, chat=True)
    chats = _prompts(cast(Any, context))
    assert [message["content"] for (message,) in chats] == [item.stem for item in items]


def test_thresholds_lie_between_the_last_valid_and_the_first_collapsed_strength(result: CollapseResult) -> None:
    assert len(result.thresholds) == 8 and set(result.thresholds["vector"]) == {"steering", "random 0"}
    found = result.thresholds[~result.thresholds["censored"]]
    assert (found["vector"] == "steering").sum() == 4
    columns = ["vector", "rule", "direction", "strength", "low", "high", "why"]
    for vector, rule, direction, strength, low, high, why in found[columns].itertuples(index=False, name=None):
        rows: Any = of(result, vector)
        sign = 1 if direction == "adding" else -1
        flags = [bool(rows.loc[sign * size, f"{rule}_collapsed"]) for size in (0, 0.25, 6)]
        first = flags.index(True)
        assert (0, 0.25, 6)[first - 1] <= abs(strength) <= (0, 0.25, 6)[first]
        assert low <= high or why == "few"


def test_the_generated_side_is_measured_on_greedy_continuations_under_steering(
    lab: Any, steering: SteeringVector, prompts: list[str], result: CollapseResult
) -> None:
    decoding = Decoding(max_new_tokens=SETTINGS.new_tokens)
    control = random_like(steering, SETTINGS.seed)
    for name, vector in (("steering", steering), ("random 0", control)):
        rows: Any = of(result, name)
        for strength in (0, 6):
            edits = [Intervention.of(vector, "resid_post@0", strength)] if strength else []
            written = generate(lab, prompts, edits, decoding).continuations
            assert all((entry.ended == "eos") == (len(entry.tokens) < 16) for entry in written)
            found = generation_collapse([entry.tokens for entry in written], [entry.text for entry in written])
            for number in ("distinct_n", "collapsed_share", "cross_prompt_similarity", "compression_ratio"):
                np.testing.assert_equal(rows.loc[strength, number], getattr(found, number))
    assert of(result, "steering").loc[6, "distinct_n"] != of(result, "random 0").loc[6, "distinct_n"]
    assert of(result, "steering").loc[6, "step_entropy"] != pytest.approx(
        of(result, "steering").loc[0, "step_entropy"], rel=0.05
    )


def test_an_end_of_sequence_token_is_no_part_of_a_continuation_and_one_at_once_is_empty_text(
    lab: Any, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(lab, prompts, [], Decoding(max_new_tokens=1)).continuations
    ending = frozenset({entry.tokens[0] for entry in first})
    monkeypatch.setattr("lens_steer.generation.loop.eos_tokens", lambda _: ending)
    settings = CollapseCheck(site="resid_post@0", strengths=(0, 1), new_tokens=3, n_random=0, resamples=9)
    vector = extract(lab, ["I want it now."], ["I can wait for it."], paired=True, sites="resid_post@0")
    row = check_collapse(lab, vector, [], prompts, settings).strengths.set_index("strength").loc[0]
    assert (row["empty_share"], row["mean_tokens"], row["generation_collapsed"]) == (1, 0, True)


def test_a_result_is_read_back_as_it_was_written(result: CollapseResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    again = CollapseResult.load(tmp_path)
    pd.testing.assert_frame_equal(again.strengths, result.strengths, check_exact=True)
    pd.testing.assert_frame_equal(again.thresholds, result.thresholds, check_exact=True)
    assert np.isfinite(again.thresholds["strength"]).any()


def test_a_result_of_the_earlier_rule_is_refused_with_what_changed(result: CollapseResult, tmp_path: Path) -> None:
    earlier = result.strengths.drop(columns=["vector", "collapsed_share"])
    CollapseResult(strengths=earlier, thresholds=result.thresholds, facts=result.facts).save(tmp_path)
    with pytest.raises(FormatError, match="judged by an earlier rule, more than half of them ending in a loop"):
        CollapseResult.load(tmp_path)


def test_text_alone_is_looked_at_where_there_are_no_items(
    lab: Any, steering: SteeringVector, prompts: list[str], result: CollapseResult
) -> None:
    settings = replace(SETTINGS, strengths=(0, 6), n_random=0)
    alone = check_collapse(lab, steering, [], [tokenize(lab, text)[0] for text in prompts], settings)
    assert alone.thresholds[["rule", "direction", "n"]].values.tolist() == [["generation", "adding", len(prompts)]]
    assert not [name for name in map(str, alone.strengths) if name.startswith(("answer", "modal", "faulty"))]
    both: Any = of(result, "steering").loc[[0, 6], list(alone.strengths.columns.drop(["strength"]))]
    pd.testing.assert_frame_equal(of(alone, "steering"), both)


def test_a_grid_without_0_too_few_items_or_a_prompt_twice_is_refused(
    llama: Any, vector: SteeringVector, items: Any
) -> None:
    for strengths, asked, prompts in (
        ((1.0,), items, ["a", "b"]),
        ((0.0,), items, ["a", "b"]),
        ((0.0, 1.0), items[:1], ["a", "b"]),
        ((0.0, 1.0), items, ["a", "a"]),
        ((0.0, 1.0), items, ["a"]),
    ):
        with pytest.raises(ScoreError, match="no items or at least two, and at least two prompts, none twice"):
            check_collapse(llama, vector, asked, prompts, CollapseCheck(site="resid_post@1", strengths=strengths))


@pytest.mark.real
@pytest.mark.slow
def test_the_text_of_a_real_model_collapses_between_two_strengths_and_not_without_steering(smollm2: Any) -> None:
    vector = extract(smollm2, list(GOOD), list(BAD), paired=True, sites="resid_post@15")
    asked = ("What is a good breakfast?", "How do birds fly?", "Describe a small town.", "How was the film?")
    asked += ("What does a baker do?", "Why is the sea salt?", "How does one make tea?", "Tell me about the moon.")
    chats = [[{"role": "user", "content": question}] for question in asked]
    settings = CollapseCheck(
        site="resid_post@15", strengths=(0, 0.5, 2), scale="relative", new_tokens=24, n_random=0, resamples=99
    )
    found = check_collapse(smollm2, vector, [], chats, settings)
    assert of(found, "steering")["generation_collapsed"].to_dict() == {0: False, 0.5: False, 2: True}
    (onset,) = found.thresholds.to_dict("records")
    assert 0.5 <= onset["strength"] <= 2 and onset["low"] <= onset["strength"] <= onset["high"]
