"""Conversations: each turn follows the answers before it, in the template's words or as lines."""

from typing import Any

import pytest
import torch

from lens_steer.errors import DataError, ModelFolderError
from lens_steer.generation import Decoding, generate
from lens_steer.generation.chats import converse
from lens_steer.hooks import Intervention
from lens_steer.model import load_model

DECODING = Decoding(max_new_tokens=6, stop="\n")
QUESTIONS = [["Once upon a time", "Then the farmer"], ["One morning", "At last"]]


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


def test_a_later_turn_continues_the_earlier_ones_as_one_would_by_hand(lab: Any) -> None:
    push = Intervention.at("resid_post@2", torch.ones(128), 0.5)
    turns = converse(lab, QUESTIONS, push, DECODING, chat=False)
    assert [(turn.chat, turn.turn) for turn in turns] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    first = generate(lab, [asked[0] for asked in QUESTIONS], push, DECODING).texts
    assert [turn.text for turn in turns[:2]] == [text.strip() for text in first]
    begun = [f"{asked[0]} {text.strip()}\n{asked[1]}" for asked, text in zip(QUESTIONS, first, strict=True)]
    second = generate(lab, begun, push, DECODING).texts
    assert [turn.text for turn in turns[2:]] == [text.strip() for text in second]


def test_steering_stays_on_in_every_turn(lab: Any) -> None:
    push = Intervention.at("resid_post@2", torch.ones(128), 3.0)
    plain, steered = (converse(lab, QUESTIONS, edits, DECODING, chat=False) for edits in ((), push))
    assert any(one.text != two.text for one, two in zip(plain[2:], steered[2:], strict=True))


def test_a_model_without_a_template_and_uneven_conversations_are_refused(lab: Any) -> None:
    with pytest.raises(ModelFolderError, match="chat template"):
        converse(lab, QUESTIONS, (), DECODING)
    for questions in ([], [[]], [["one"], ["one", "two"]]):
        with pytest.raises(DataError, match="as many questions in each"):
            converse(lab, questions, (), DECODING, chat=False)


@pytest.mark.real
def test_a_chat_is_written_by_the_template_with_the_answers_in_their_roles() -> None:
    model = load_model("smollm2")
    asked = ["What is the capital of France?", "And of Italy?"]
    turns = converse(model, [asked], (), Decoding(max_new_tokens=16))
    history = [{"role": "user", "content": asked[0]}, {"role": "assistant", "content": turns[0].text}]
    again = generate(model, [[*history, {"role": "user", "content": asked[1]}]], (), Decoding(max_new_tokens=16))
    assert turns[1].text == again.texts[0].strip()
