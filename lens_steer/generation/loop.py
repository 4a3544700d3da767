"""The generation loop of one batch: forward, choose, append, until every row has ended.

It runs inside a steering context.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from lens_steer.errors import DataError
from lens_steer.generation.decoding import Decoding
from lens_steer.generation.recorder import Recorder
from lens_steer.generation.results import Continuation
from lens_steer.hooks import Steering
from lens_steer.model import (
    DecodingState,
    Prompts,
    SteerableModel,
    as_prompts,
    context_length,
    decode,
    eos_tokens,
    may_fast_forward,
    tokenize,
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A generated token: index of its prompt, step, id and text."""

    prompt: int
    step: int
    token: int
    text: str


OnToken = Callable[[Token], None]


@dataclass(kw_only=True)
class Row:
    """The state of one prompt during generation; `given` is the prompt followed by the prefill."""

    index: int
    prompt: list[int]
    given: list[int]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    ended: str = ""
    record: dict[str, tuple[float, ...]] = field(default_factory=dict)


def prepare_rows(model: SteerableModel, prompts: Prompts, decoding: Decoding) -> list[Row]:
    """The prompts as tokens, each followed by the prefill.

    Args:
        model: a loaded model with a tokenizer.
        prompts: texts, token rows or chats, as `as_prompts` reads them.
        decoding: its prefill and number of new tokens count.

    Returns:
        One row a prompt, in their order.

    Raises:
        DataError: no prompts, an empty one, kinds mixed, or too many tokens for the model's context.
        ModelFolderError: a chat, and the tokenizer has no chat template.
    """
    texts, rows = as_prompts(model, prompts)
    tokens = rows or tokenize(model, texts)
    if not all(tokens):
        raise DataError(f"prompt {tokens.index([])} is empty; a continuation needs at least one token to follow.")
    begun = tokenize(model, [decoding.prefill], bos=False)[0] if decoding.prefill else []
    longest = max(len(row) for row in tokens) + len(begun) + decoding.max_new_tokens
    context = context_length(model)
    if context is not None and longest > context:
        raise DataError(
            f"the longest prompt with {decoding.max_new_tokens} new tokens has {longest} tokens; the model's context "
            f"is {context}. Shorten the prompt or lower max_new_tokens."
        )
    may_fast_forward(model)  # the trial is run here, where steering has not begun
    return [Row(index=index, prompt=row, given=row + begun) for index, row in enumerate(tokens)]


def continue_rows(
    model: SteerableModel,
    batch: Sequence[Row],
    decoding: Decoding,
    steering: Steering,
    recorder: Recorder | None = None,
    on_token: OnToken | None = None,
) -> None:
    """Generates the continuations of one batch and stores them in its rows.

    Args:
        model: a loaded model.
        batch: from `prepare_rows`.
        decoding: how they are written.
        steering: the open context; a recorder pauses it.
        recorder: of this batch, its functions installed; or none.
        on_token: told of every token.
    """
    state = DecodingState(model, [row.given for row in batch], decoding.cache, [row.index for row in batch])
    generators = decoding.generators([row.index for row in batch])
    eos = eos_tokens(model) if decoding.stop_at_eos else frozenset()
    for step in range(decoding.max_new_tokens):
        logits = state.read()
        chosen = decoding.choose(logits, generators).cpu()
        if recorder is not None:
            recorder.note(logits, chosen, state.ends, steering)
        for row, token in zip(batch, chosen.tolist(), strict=True):
            if not row.ended:
                _take(model, row, token, decoding, eos)
                if on_token is not None:
                    on_token(Token(prompt=row.index, step=step, token=token, text=decode(model, [token])))
        alive = torch.tensor([not row.ended for row in batch])
        if not alive.any():
            break
        state.append(chosen, alive)
        if recorder is not None:
            recorder.append(chosen, alive)
    for place, row in enumerate(batch):
        row.record = recorder.of_row(place, len(row.tokens)) if recorder is not None else {}


def _take(model: SteerableModel, row: Row, token: int, decoding: Decoding, eos: frozenset[int]) -> None:
    """Adds a token to a row, and marks the row as ended where a stopping rule applies."""
    row.tokens.append(token)
    if token in eos:
        row.ended = "eos"
    elif len(row.tokens) == decoding.max_new_tokens:
        row.ended = "length"
    if decoding.stop:
        text = decode(model, row.tokens)
        cuts = [text.find(stop) for stop in decoding.stop if stop in text]
        if cuts:
            row.ended, row.text = "stop", text[: min(cuts)]


def finished(model: SteerableModel, row: Row) -> Continuation:
    """A row that has ended as a result, with its texts."""
    return Continuation(
        prompt=decode(model, row.prompt),
        prompt_tokens=tuple(row.prompt),
        tokens=tuple(row.tokens),
        pieces=tuple(decode(model, [token], special=True) for token in row.tokens),
        text=row.text if row.ended == "stop" else decode(model, row.tokens),
        ended=row.ended,
        record=row.record,
    )
