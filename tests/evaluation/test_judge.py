"""The judge: its scores are the model's own log-probabilities, and its quality is that of ranks and medians."""

from typing import Any

import pytest
import torch

from lens_steer.errors import ScoreError, SteeringError
from lens_steer.evaluation.judge import Judge, judge_quality
from lens_steer.hooks import Intervention, steer
from lens_steer.model import tokenize


def test_a_score_is_the_log_probability_of_one_answer_minus_that_of_the_other(llama: Any, texts: list[str]) -> None:
    judge = Judge(model=llama, question="{text} The", positive="a", negative="b", batch_size=2)
    ids = {letter: llama.tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in "ab"}
    for text, score in zip(texts, judge(texts), strict=True):
        with torch.no_grad():
            table = llama(torch.tensor(tokenize(llama, [f"{text} The"])))[0, -1].log_softmax(-1)
        assert float(score) == pytest.approx(float(table[ids["a"]] - table[ids["b"]]), abs=1e-5)


def test_quality_counts_ranks_and_a_preference_for_one_answer_cancels() -> None:
    good, bad = torch.tensor([6.0, 7.0, 4.5, 8.0]), torch.tensor([3.0, 5.0, 4.0, 2.0])
    found = judge_quality(good, bad)
    assert found.auroc == pytest.approx(sum(float(g > b) for g in good for b in bad) / 16)
    assert found.threshold == pytest.approx(4.5) and found.accuracy.value == pytest.approx(6 / 8)
    assert judge_quality(good + 100, bad + 100).accuracy == found.accuracy


def test_bad_questions_answers_and_open_contexts_are_refused(llama: Any, texts: list[str]) -> None:
    with pytest.raises(ScoreError, match=r"must hold \{text\} once"):
        Judge(model=llama, question="no text")
    with pytest.raises(ScoreError, match="is 3 tokens; give one that is a single token"):
        Judge(model=llama, question="{text}", positive="xyz", negative="b")(texts)
    judge = Judge(model=llama, question="{text}", positive="a", negative="b")
    with pytest.raises(ScoreError, match="no texts to judge"):
        judge([])
    with steer(llama, Intervention.at("resid_post@0", torch.ones(16))):
        with pytest.raises(SteeringError, match="judging"):
            judge(texts)
        llama(torch.tensor(tokenize(llama, texts[:1])))
    with pytest.raises(ScoreError, match="texts of both labels"):
        judge_quality(torch.ones(2), torch.ones(0))
