"""Text and tokens of real models: SmolLM2, whose tokenizer adds no BOS, and gemma-3, whose tokenizer does."""

from typing import Any

import pytest

from lens_steer import load_model
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.extraction.record import token_rows
from lens_steer.generation import Decoding, Token, generate, prepare_rows
from lens_steer.generation.trace import trace
from lens_steer.hooks import Intervention
from lens_steer.model import chat_prompt, decode, eos_tokens, fingerprint, opening_tokens, single_ids, tokenize
from lens_steer.model.packaged import packaged_folder

FRONT = {"smollm2": [], "gemma3": [2]}
pytestmark = pytest.mark.real


@pytest.fixture(params=list(FRONT))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(name)


def test_every_path_begins_a_text_as_the_tokenizer_itself_does(model: Any, name: str) -> None:
    from transformers import AutoTokenizer

    own: list[int] = AutoTokenizer.from_pretrained(packaged_folder(name))("Hello there")["input_ids"]
    assert own[: len(FRONT[name])] == FRONT[name] == list(opening_tokens(model))
    (row,) = prepare_rows(model, "Hello there", Decoding())
    push = Intervention.at("resid_post@1", model.W_U[:, 5].detach(), 0.1, "all")
    traced = trace(model, "Hello there", push, Decoding(max_new_tokens=1))
    paths = [tokenize(model, "Hello there")[0], token_rows(model, "Hello there")[0], row.given]
    paths += [list(traced.tokens[:-1]), model.to_tokens("Hello there")[0].tolist()]
    assert paths == [own] * 5
    assert float(measure_side_effects(model, ["Hello there"], []).tokens[0]) == len(own) - 1
    assert fingerprint(model).prepend_bos is bool(FRONT[name])


def test_bos_can_be_asked_for(model: Any, name: str) -> None:
    for wanted in (True, False):
        other: Any = load_model(name, prepend_bos=wanted, check=False)
        bos = [model.tokenizer.bos_token_id] * wanted
        assert (
            tokenize(other, "Hello")[0] == [*bos, *single_ids(model, "Hello")] == other.to_tokens("Hello")[0].tolist()
        )


@pytest.mark.parametrize(
    "text", ["Ça coûte 5 € — 日本語 👩\u200d🔬!", "Do you like it?\nAnswer: (", "x = {'a': 1}\n\n"]
)
def test_streamed_text_is_the_text_of_the_whole(model: Any, text: str) -> None:
    told: list[Token] = []
    decoding = Decoding(max_new_tokens=24, temperature=1.5, stop_at_eos=False, prefill="A")
    (entry,) = generate(model, text, (), decoding, on_token=told.append).continuations
    given = tokenize(model, f"{text}A")[0]
    assert entry.text == decode(model, [*given, *entry.tokens])[len(decode(model, given)) :]
    assert "".join(token.text for token in told) == entry.text


def test_a_stop_text_that_is_a_special_token_stops(model: Any, name: str) -> None:
    if name != "smollm2":
        pytest.skip("the model knows no chats")
    row = chat_prompt(model, [{"role": "user", "content": "Say hi."}])
    assert row[0] == 1 != row[1] and eos_tokens(model) == {2}
    decoding = Decoding(max_new_tokens=40, stop_at_eos=False, stop=("<|im_end|>",))
    (entry,) = generate(model, row, (), decoding).continuations
    (free,) = generate(model, row, (), Decoding(max_new_tokens=40)).continuations
    assert (entry.ended, free.ended, entry.tokens[-1]) == ("stop", "eos", 2)
    assert entry.text == free.text and "<|im_end|>" not in entry.text
