"""Text to tokens and back, with tokenizers of every kind: everything is as the whole text tokenises and decodes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from spaced import BOS, KINDS, LINES, model_of

from lens_steer import load_model
from lens_steer.errors import ArgumentError, DataError
from lens_steer.model import (
    TextWriter,
    begun_prompts,
    decode,
    decode_after,
    eos_tokens,
    fingerprint,
    following_ids,
    opening_tokens,
    pieces,
    single_ids,
    token_text,
    tokenize,
)

WORDS = ["A", "Yes", "Do", "it", "?", "(", ".", " ", "\n", "\n\n", "é", "€", " café", " (", "the", " the", "</s>", "5"]
TEXTS = some.lists(some.sampled_from([*WORDS, "<end>"]), min_size=1, max_size=8).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    return model_of(kind)


@pytest.fixture(scope="module")
def llama_2() -> Any:
    return model_of("llama")


@given(text=TEXTS)
def test_a_text_has_the_tokens_that_the_tokenizer_itself_gives_it(model: Any, kind: str, text: str) -> None:
    own, row = model.tokenizer(text)["input_ids"], tokenize(model, text)[0]
    front = BOS.get(kind, [])
    assert list(opening_tokens(model)) == front == row[: len(front)]
    assert own == row + [2] * (len(own) - len(row)) and len(own) - len(row) in (0, 1)
    assert tokenize(model, "<s>" * len(front) + text)[0][: len(front) + 1].count(1) == len(front)


@given(prompt=TEXTS, prefill=TEXTS)
def test_prompt_and_prefill_are_the_tokens_of_the_joined_text(model: Any, prompt: str, prefill: str) -> None:
    ((row, whole),) = begun_prompts(model, prompt, prefill)
    assert whole == tokenize(model, prompt + prefill)[0] and whole[: len(row)] == row
    assert tokenize(model, prompt)[0][: len(row)] == row
    assert begun_prompts(model, prompt) == [(tokenize(model, prompt)[0],) * 2]


def test_a_prefill_behind_a_bracket_has_no_space_of_its_own(model: Any, kind: str) -> None:
    prompt = "Do you like it?\nAnswer: ("
    for given_as in (prompt, tokenize(model, prompt)):
        ((row, whole),) = begun_prompts(model, given_as, "A")
        assert whole == tokenize(model, prompt + "A")[0] and whole[: len(row)] == row and len(whole) == len(row) + 1
        assert token_text(model, whole[-1]) == ("A" if kind != "wordpiece" else " A")


Made = str | list[int]
IDS = some.lists(some.integers(0, 10**6), min_size=1, max_size=90)


@given(first=TEXTS | IDS, then=TEXTS | IDS)
def test_the_parts_of_a_text_are_together_the_whole_text(
    model: Any, first: str | list[int], then: str | list[int]
) -> None:
    def row(made: Made) -> list[int]:
        return tokenize(model, made)[0] if isinstance(made, str) else [id % len(model.tokenizer) for id in made]

    before = row(first)
    tokens = following_ids(model, then, before) if isinstance(then, str) else row(then)
    for special in (False, True):
        writer = TextWriter(model, before, special)
        parts = [writer.add(token) for token in tokens]
        said = "".join(parts)
        assert said + writer.rest() == decode_after(model, before, tokens, special)
        for place in range(len(tokens)):  # nothing is taken back later
            assert decode_after(model, before, tokens, special).startswith("".join(parts[: place + 1]))
    assert "".join(pieces(model, tokens, before)) == decode_after(model, before, tokens, special=True)
    begun, whole = (decode(model, ids, special=True) for ids in (before, [*before, *tokens]))
    if not begun.endswith("\ufffd"):
        assert decode_after(model, before, tokens, special=True) == whole[len(begun) :]


@pytest.mark.parametrize("kind", ["byte level", "byte level, spaced", "llama"], indirect=True)
@pytest.mark.parametrize("text", ["5 ₽ a day", "日本語 and 日", "a 👩\u200d🔬 works"])
def test_a_character_of_several_tokens_is_shown_whole(model: Any, text: str) -> None:
    row = tokenize(model, text)[0]
    assert len(row) > len(text.split()) and any("\ufffd" in token_text(model, token) for token in row)
    shown = pieces(model, row)
    assert len(shown) == len(row) and "".join(shown) == decode(model, row, special=True)
    assert not any("\ufffd" in piece for piece in shown) and text in "".join(shown)


def test_a_wrong_byte_spoils_its_run_and_nothing_that_was_shown(llama_2: Any) -> None:
    model = llama_2
    letter, wrong, word = (model.tokenizer.convert_tokens_to_ids(name) for name in ("<0x41>", "<0xFF>", "A"))
    writer = TextWriter(model, tokenize(model, "Yes")[0])
    assert [writer.add(token) for token in (word, letter, wrong)] == ["A", "", ""]
    assert writer.rest() == "\ufffd\ufffd" and writer.add(word) == "\ufffd\ufffdA" and writer.rest() == ""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wordpiece"], indirect=True)
def test_words_are_looked_up_as_they_stand_inside_a_text(model: Any) -> None:
    for word in ("A", " A", "Yes", "(", "B", " it", "it", "é"):
        ids = single_ids(model, word)
        assert "".join(pieces(model, ids, tokenize(model, "x")[0])) == word
        assert len(ids) == 1 or word not in ("A", "(", "B")
    assert single_ids(model, "A") != single_ids(model, " A")
    assert single_ids(model, "A")[0] == tokenize(model, "Answer: (A")[0][-1]


@pytest.mark.parametrize("wanted", [None, True, False])
def test_bos_is_the_users_choice_and_a_part_of_the_models_identity(kind: str, wanted: bool | None) -> None:
    model = model_of(kind, prepend_bos=wanted)
    front = {None: BOS.get(kind, []), True: [1], False: []}[wanted]
    assert tokenize(model, LINES[0])[0] == [*front, *tokenize(model_of(kind, prepend_bos=False), LINES[0])[0]]
    assert model.to_tokens(LINES[0])[0].tolist() == tokenize(model, LINES[0])[0]
    assert fingerprint(model).prepend_bos is bool(front) is model.cfg.default_prepend_bos
    other = fingerprint(model_of(kind, prepend_bos=not front))
    assert fingerprint(model).differences(other) == ("prepend_bos",)
    assert tokenize(model, "<s>A")[0].count(1) == 1


def test_loading_leaves_the_users_tokenizer_as_it_does_by_itself() -> None:
    model: Any = model_of("byte level", prepend_bos=True)
    assert 1 not in model.tokenizer("A")["input_ids"] and "add_bos_token" not in model.tokenizer.init_kwargs
    assert (
        load_model(model, prepend_bos=False) is model and tokenize(model, "A")[0] == model.tokenizer("A")["input_ids"]
    )
    model.tokenizer.bos_token = None
    with pytest.raises(ArgumentError, match="prepend_bos=True, and this model's tokenizer has no beginning"):
        load_model(model, prepend_bos=True)


def test_a_fingerprint_notices_that_texts_begin_otherwise() -> None:
    model: Any = model_of("llama")
    first = fingerprint(model)
    model.cfg.default_prepend_bos = False
    assert fingerprint(model).differences(first) == ("prepend_bos",)


@pytest.mark.parametrize("template", ["{{ bos_token }}", ""])
def test_a_chat_begins_as_its_template_says_also_when_its_text_is_given(kind: str, template: str) -> None:
    model: Any = model_of(kind)
    model.tokenizer.chat_template = template + "{% for m in messages %}User: {{ m.content }}\nAnswer: ({% endfor %}"
    chat = [{"role": "user", "content": "Do you like it?"}]
    text = model.tokenizer.apply_chat_template(chat, tokenize=False)
    ((row, whole),) = begun_prompts(model, chat, "A")
    assert row == model.tokenizer(text, add_special_tokens=False)["input_ids"] and row.count(1) == bool(template)
    assert whole == model.tokenizer(text + "A", add_special_tokens=False)["input_ids"] and len(whole) == len(row) + 1
    assert tokenize(model, text)[0].count(1) == bool(template or kind in BOS)


def test_every_end_of_sequence_token_that_the_model_names_counts() -> None:
    model: Any = model_of("llama")
    assert eos_tokens(model) == {2}
    model.original_model.generation_config.eos_token_id = [2, 3]
    assert eos_tokens(model) == {2, 3}
    model.original_model.generation_config, model.original_model.config.eos_token_id = None, [3, 4]
    assert eos_tokens(model) == {2, 3, 4}


def test_what_is_no_text_is_refused(llama_2: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(DataError, match="5 is no text and cannot be tokenised"):
        tokenize(llama_2, [5])  # pyright: ignore[reportArgumentType]


def test_a_bridge_given_a_text_reads_the_tokens_that_we_do(model: Any) -> None:
    assert torch.equal(model(torch.tensor(tokenize(model, LINES[0]))), model(LINES[0]))
