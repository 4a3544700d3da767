"""What a continuation says: shown as it is written, cut at the first stop text, as the whole text reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from spaced import KINDS, model_of
from torch import Tensor

from lens_steer.errors import DataError
from lens_steer.generation import Continuation, Decoding, Generations, Token, generate, prepare_rows
from lens_steer.generation.trace import trace
from lens_steer.generation.writing import Writing
from lens_steer.hooks import Intervention
from lens_steer.model import decode, decode_after, following_ids, token_text, tokenize

PROMPT = "Do you like it?\nAnswer: ("
PARTS = ["A", "Yes", "?", "(", " ", "\n", "é", "日本", "₽", " the", "</s>", "<end>"]
TEXTS = some.lists(some.sampled_from(PARTS), min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    return model_of(request.param)


@pytest.fixture(scope="module")
def llama_2() -> Any:
    return model_of("llama")


@dataclass(frozen=True, kw_only=True)
class Scripted(Decoding):
    """Writes the tokens that it is given."""

    script: Iterator[int] = field(default_factory=lambda: iter(()))

    def choose(self, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        return torch.full((len(generators),), next(self.script), device=logits.device)


def written(model: Any, text: str | Sequence[int], **settings: Any) -> tuple[Continuation, list[str]]:
    """The continuation of the prompt by a text or tokens, and what was told of each token."""
    tokens = following_ids(model, text, tokenize(model, PROMPT)[0]) if isinstance(text, str) else list(text)
    decoding = Scripted(**{"max_new_tokens": len(tokens), "stop_at_eos": False, **settings}, script=iter(tokens))
    told: list[Token] = []
    found = generate(model, PROMPT, (), decoding, on_token=told.append).continuations[0]
    assert [entry.token for entry in told] == list(found.tokens) == tokens[: len(told)]
    return found, [entry.text for entry in told]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_streamed_is_the_text_and_the_text_is_what_the_whole_adds_to_the_prompt(model: Any, seed: int) -> None:
    told: list[Token] = []
    decoding = Decoding(max_new_tokens=60, temperature=2.0, seed=seed, stop_at_eos=False, prefill=" Yes")
    found = generate(model, [PROMPT, "Do"], (), decoding, on_token=told.append)
    rows = prepare_rows(model, [PROMPT, "Do"], decoding)
    for index, (entry, row) in enumerate(zip(found.continuations, rows, strict=True)):
        whole = [*row.given, *entry.tokens]
        assert entry.text == decode(model, whole)[len(decode(model, row.given)) :]
        assert "".join(piece.text for piece in told if piece.prompt == index) == entry.text
        pieces = decode(model, whole, special=True)[len(decode(model, row.given, special=True)) :]
        assert "".join(entry.pieces) == pieces and len(entry.pieces) == len(entry.tokens) == 60
        assert decode(model, row.prompt) == entry.prompt


def test_a_prefill_is_tokenised_with_its_prompt(model: Any) -> None:
    for prompt, prefill in ((PROMPT, "A"), ("Answer:", " Yes"), ("Do you", " like it?\n"), ("Do the", "y")):
        (row,) = prepare_rows(model, prompt, Decoding(prefill=prefill))
        assert row.given == tokenize(model, prompt + prefill)[0] and row.given[: len(row.prompt)] == row.prompt
    with pytest.raises(DataError, match=r"prompt 0 is empty.*prepend_bos=True"):
        prepare_rows(model, [[]], Decoding(prefill="A"))


@given(said=TEXTS, stops=some.lists(TEXTS, min_size=1, max_size=2))
def test_the_first_stop_text_ends_a_text_and_nothing_of_it_is_shown(model: Any, said: str, stops: list[str]) -> None:
    before = tokenize(model, PROMPT)[0]
    writing, used, shown = Writing(model, before, stops), list[int](), ""
    tokens = following_ids(model, said, before)
    for token in tokens:
        writing.add(token)
        used.append(token)
        shown += writing.show(writing.stopped or len(used) == len(tokens))
        if writing.stopped:
            break
    readings = [decode_after(model, before, used, special) for special in (False, True)]
    assert writing.stopped == any(stop in reading for stop in stops for reading in readings)
    assert shown == writing.text and readings[0].startswith(shown) and not any(stop in shown for stop in stops)
    if not writing.stopped:
        assert shown == readings[0] and "".join(writing.pieces) == readings[1]


@pytest.mark.parametrize("at_eos", [False, True])
@pytest.mark.parametrize(
    ("said", "stop", "text"),
    [
        ("Yes</s>", "</s>", "Yes"),
        ("Yes<end>the", ("zzz", "<end>"), "Yes"),
        ("Yes it is\n\nUser: Do", "\n\nUser:", "Yes it is"),
        ("Yes it<end>the", "it<end>", "Yes "),
        ("Yes\n</s>", "</s>", "Yes\n"),
        ("Yes it is", ("is", "it"), "Yes "),
        ("Yes 日本 it", "本", "Yes 日"),
    ],
)
@pytest.mark.parametrize("model", ["byte level", "byte level, spaced", "llama"], indirect=True)
def test_a_stop_text_may_be_special_tokens_and_stand_across_tokens(
    model: Any, said: str, stop: str | tuple[str, ...], text: str, at_eos: bool
) -> None:
    found, told = written(model, said, stop=stop, stop_at_eos=at_eos)
    assert (found.ended, found.text, "".join(told)) == ("stop", text, text)


def test_each_end_of_sequence_token_of_the_model_ends_a_text(llama_2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_2.original_model.generation_config, "eos_token_id", [2, 3])
    for end in ("</s>", "<end>"):
        found, _ = written(llama_2, f"Yes{end} it is", stop_at_eos=True)
        assert (found.ended, found.text, found.pieces[-1]) == ("eos", "Yes", end)
        assert written(llama_2, f"Yes{end}the")[0].ended == "length"


def test_characters_of_several_tokens_are_told_whole(llama_2: Any) -> None:
    found, told = written(llama_2, " 日本 (₽) 👩 it")
    assert found.text == "".join(told) == "".join(found.pieces) == " 日本 (₽) 👩 it"
    assert not any("\ufffd" in part for part in (*told, *found.pieces)) and "" in found.pieces
    cut, told = written(llama_2, found.tokens[:4])
    assert cut.text == "".join(told) == decode_after(llama_2, tokenize(llama_2, PROMPT)[0], cut.tokens)


def test_a_trace_says_what_the_whole_text_says(model: Any) -> None:
    push = Intervention.at("resid_post@0", torch.ones(16), 1, "after_prompt")
    found = trace(model, PROMPT, push, Decoding(max_new_tokens=9, stop_at_eos=False, prefill="A"))
    assert "".join(found.pieces) == decode(model, found.tokens, special=True)
    assert list(found.tokens[: found.given_length]) == tokenize(model, PROMPT + "A")[0]
    assert found.part(found.given_length - 1) == "prefill" and found.part(found.given_length - 2) == "prompt"
    assert token_text(model, found.tokens[found.given_length - 1]).strip() == "A"


def test_one_stop_text_is_one_and_what_is_no_text_is_refused(
    llama_2: Any, tmp_path: Path, unchecked: Callable[[], None]
) -> None:
    assert Decoding(stop="<end>").stop == ("<end>",) == Decoding(stop=["<end>"]).stop
    unchecked()
    with pytest.raises(DataError, match=r"stop texts \(2,\); give texts"):
        Decoding(stop=(2,))  # pyright: ignore[reportArgumentType]
    found = generate(llama_2, PROMPT, (), Decoding(max_new_tokens=3, stop="<end>"))
    assert Generations.load(found.save(tmp_path / "g.csv")) == found
