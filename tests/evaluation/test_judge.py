"""Judges: scores in range, failures kept and retried once, and two local judges that tell planted texts apart."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lens_steer.errors import DataError, ScoreError, SteeringError
from lens_steer.evaluation.judge import (
    ClassifierJudge,
    LikelihoodJudge,
    QuestionJudge,
    harmonic_mean,
    judge_quality,
    judge_texts,
)
from lens_steer.hooks import Intervention, steer
from lens_steer.lab.items import statement_items
from lens_steer.model import load_model, tokenize

TEXTS = ["one", "two", "three"]


class Scripted:
    """A judge that answers from a list for each text, or raises what stands there."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, prompt: str, text: str, behaviour: str) -> Mapping[str, float]:
        self.asked.append((prompt, text, behaviour))
        answer = self.answers[text].pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Unheard(Exception):
    """An error of a client library, which knows nothing of this package."""


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def test_the_score_is_the_harmonic_mean_and_zero_where_one_score_is() -> None:
    for c, r, f in ((2.0, 1.0, 1.0), (0.5, 2.0, 1.5)):
        assert harmonic_mean([c, r, f]) == pytest.approx(3 / (1 / c + 1 / r + 1 / f))
    assert harmonic_mean([2.0, 2.0, 0.0]) == 0 and harmonic_mean([1.5]) == 1.5
    with pytest.raises(ScoreError, match="none below 0"):
        harmonic_mean([1.0, -1.0])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_judge_that_raises_or_is_out_of_range_is_asked_once_more_and_no_text_is_lost(workers: int) -> None:
    good = {"concept": 2, "instruct": 1, "fluency": 1}
    judge = Scripted(
        {"one": [good], "two": [Unheard("busy"), good], "three": [{"concept": 3.0}, {"concept": math.nan}, good]}
    )
    found = judge_texts(judge, ["p"] * 3, TEXTS, "kind", workers)
    assert [entry.attempts for entry in found] == [1, 2, 2]
    assert [entry.score for entry in found[:2]] == pytest.approx([1.2, 1.2])
    assert math.isnan(found[2].score) and "expected scores from 0 to 2" in found[2].failure
    assert not found[1].failure and len(judge.asked) == 5 and judge.asked[0] == ("p", "one", "kind")


@pytest.mark.parametrize("answer", [None, 1.0, {}, {"fluency": 1}, {"concept": 1, "tone": 1}, {"concept": "high"}])
def test_what_is_no_mapping_of_known_scores_with_a_concept_is_a_failure(answer: Any) -> None:
    (found,) = judge_texts(Scripted({"one": [answer, answer]}), ["p"], ["one"], "kind")
    assert found.failure and found.attempts == 2 and not found.scores


def test_an_interrupt_inside_a_judge_ends_the_judging() -> None:
    with pytest.raises(KeyboardInterrupt):
        judge_texts(Scripted({"one": [KeyboardInterrupt()]}), ["p"], ["one"], "kind")


def test_prompts_and_texts_must_be_as_many() -> None:
    with pytest.raises(ScoreError, match="2 prompts for 3 texts"):
        judge_texts(Scripted({}), ["p", "p"], TEXTS, "kind")


def test_both_local_judges_tell_held_out_statements_of_the_lab_apart(lab: Any) -> None:
    train, test = (statement_items("myopic", 24, split=split) for split in ("train", "test"))
    matching, other = [item.matching for item in train], [item.other for item in train]
    judges = [
        ClassifierJudge.fit(matching, other),
        LikelihoodJudge(model=lab, matching=matching[:4], other=other[:4]),
    ]
    for judge in judges:
        right = [judge(item.stem, item.matching, "myopic")["concept"] for item in test]
        wrong = [judge(item.stem, item.other, "myopic")["concept"] for item in test]
        assert all(0 <= score <= 2 for score in right + wrong)
        assert sum(one > two for one, two in zip(right, wrong, strict=True)) >= 22
        assert sum(score > 1 for score in right) >= 20 and sum(score < 1 for score in wrong) >= 20


def test_the_likelihood_judge_is_the_posterior_of_two_beginnings_and_refuses_a_steered_model(lab: Any) -> None:

    judge = LikelihoodJudge(
        model=lab, matching=["Hastily I grab the ripe song."], other=["Slowly I tend the old song."]
    )
    text, sums = "Quickly I rush the early bell.", []
    for begun in (judge.matching[0], judge.other[0]):
        (row,) = tokenize(lab, [f"{begun} {text}"])
        start = len(tokenize(lab, [begun])[0])
        with torch.no_grad():
            table = lab(torch.tensor([row])).double().log_softmax(-1)[0]
        sums.append(sum(float(table[place - 1, row[place]]) for place in range(start, len(row))))
    expected = 2 * math.exp(sums[0]) / (math.exp(sums[0]) + math.exp(sums[1]))
    assert judge("", text, "")["concept"] == pytest.approx(expected, abs=1e-4)
    assert judge("", "  ", "")["concept"] == 1
    push = Intervention.at("resid_post@1", torch.ones(128))
    with steer(lab, push):
        lab(torch.tensor([[1, 2]]))
        with pytest.raises(SteeringError, match="judge outside"):
            judge("", text, "")


def test_a_judge_needs_texts_of_both_kinds() -> None:
    with pytest.raises(DataError, match="1 matching and 0 other"):
        ClassifierJudge.fit(["one"], [])


def test_a_score_is_the_log_probability_of_one_answer_minus_that_of_the_other(llama: Any, texts: list[str]) -> None:
    judge = QuestionJudge(model=llama, question="{text} The", positive="a", negative="b", batch_size=2)
    ids = {letter: llama.tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in "ab"}
    for text, score in zip(texts, judge.log_odds(texts), strict=True):
        with torch.no_grad():
            table = llama(torch.tensor(tokenize(llama, [f"{text} The"])))[0, -1].log_softmax(-1)
        assert float(score) == pytest.approx(float(table[ids["a"]] - table[ids["b"]]), abs=1e-5)
        assert judge(text[:4], text[4:], "")["concept"] == pytest.approx(2 / (1 + math.exp(-float(score))))


def test_quality_counts_ranks_and_a_preference_for_one_answer_cancels() -> None:
    good, bad = torch.tensor([6.0, 7.0, 4.5, 8.0]), torch.tensor([3.0, 5.0, 4.0, 2.0])
    found = judge_quality(good, bad)
    assert found.auroc == pytest.approx(sum(float(g > b) for g in good for b in bad) / 16)
    assert found.threshold == pytest.approx(4.5) and found.accuracy.value == pytest.approx(6 / 8)
    assert judge_quality(good + 100, bad + 100).accuracy == found.accuracy


def test_bad_questions_answers_and_open_contexts_are_refused(llama: Any, texts: list[str]) -> None:
    with pytest.raises(ScoreError, match=r"must hold \{text\} once"):
        QuestionJudge(model=llama, question="no text")
    with pytest.raises(ScoreError, match="is 3 tokens; give one that is a single token"):
        QuestionJudge(model=llama, question="{text}", positive="xyz", negative="b").log_odds(texts)
    judge = QuestionJudge(model=llama, question="{text}", positive="a", negative="b")
    with pytest.raises(ScoreError, match="no texts to judge"):
        judge.log_odds([])
    with steer(llama, Intervention.at("resid_post@0", torch.ones(16))):
        with pytest.raises(SteeringError, match="judging"):
            judge.log_odds(texts)
        llama(torch.tensor(tokenize(llama, texts[:1])))
    with pytest.raises(ScoreError, match="texts of both labels"):
        judge_quality(torch.ones(2), torch.ones(0))
