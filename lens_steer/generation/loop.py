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
from lens_steer.generation.writing import Writing
from lens_steer.hooks import Steering
from lens_steer.model import (
    DecodingState,
    Prompts,
    SteerableModel,
    begun_prompts,
    context_length,
    decode,
    eos_tokens,
    may_fast_forward,
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A generated token: index of its prompt, step, id, and the text that is certain with it.

    The texts of a prompt's tokens join to its continuation's text. A character of several tokens comes with the last of
    them; what may be the beginning of a stop text comes once it is known to be none.
    """

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
    writing: Writing = field(init=False)
    tokens: list[int] = field(default_factory=list)
    ended: str = ""
    record: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def begin(self, model: SteerableModel, decoding: Decoding) -> None:
        """Nothing is written yet, or no longer."""
        self.writing, self.tokens, self.ended = Writing(model, self.given, decoding.stop), [], ""


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
    rows = begun_prompts(model, prompts, decoding.prefill)
    empty = next((index for index, (row, _) in enumerate(rows) if not row), None)
    if empty is not None:
        raise DataError(
            f"prompt {empty} is empty; a continuation needs at least one token to follow, which the prefill does not "
            "change. Write a prompt, or load the model with prepend_bos=True."
        )
    longest = max(len(given) for _, given in rows) + decoding.max_new_tokens
    context = context_length(model)
    if context is not None and longest > context:
        raise DataError(
            f"the longest prompt with {decoding.max_new_tokens} new tokens has {longest} tokens; the model's context "
            f"is {context}. Shorten the prompt or lower max_new_tokens."
        )
    may_fast_forward(model)  # the trial is run here, where steering has not begun
    return [Row(index=index, prompt=row, given=given) for index, (row, given) in enumerate(rows)]


def continue_rows(
    model: SteerableModel,
    batch: Sequence[Row],
    decoding: Decoding,
    steering: Steering,
    recorder: Recorder | None = None,
    on_token: OnToken | None = None,
) -> None:
    """Generates the continuations of one batch, from their beginning, and stores them in its rows.

    Args:
        model: a loaded model.
        batch: from `prepare_rows`.
        decoding: how they are written.
        steering: the open context; a recorder pauses it.
        recorder: of this batch, its functions installed; or none.
        on_token: told of every token.
    """
    for row in batch:
        row.begin(model, decoding)
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
                _take(row, token, decoding, eos)
                if on_token is not None:
                    text = row.writing.show(bool(row.ended))
                    on_token(Token(prompt=row.index, step=step, token=token, text=text))
        alive = torch.tensor([not row.ended for row in batch], device="cpu")
        if not alive.any():
            break
        state.append(chosen, alive)
        if recorder is not None:
            recorder.append(chosen, alive)
    for place, row in enumerate(batch):
        row.record = recorder.of_row(place, len(row.tokens)) if recorder is not None else {}


def _take(row: Row, token: int, decoding: Decoding, eos: frozenset[int]) -> None:
    """Adds a token to a row, and marks the row as ended where a stopping rule applies."""
    row.tokens.append(token)
    row.writing.add(token)
    if row.writing.stopped:
        row.ended = "stop"
    elif token in eos:
        row.ended = "eos"
    elif len(row.tokens) == decoding.max_new_tokens:
        row.ended = "length"


def finished(model: SteerableModel, row: Row) -> Continuation:
    """A row that has ended as a result, with its texts."""
    return Continuation(
        prompt=decode(model, row.prompt),
        prompt_tokens=tuple(row.prompt),
        tokens=tuple(row.tokens),
        pieces=row.writing.pieces,
        text=row.writing.text,
        ended=row.ended,
        record=row.record,
    )
