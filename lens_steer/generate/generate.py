"""Prompts continued token by token, by a loop whose random numbers and positions are its own.

    for each batch of prompts of like length:   forward, choose, append, until every row has ended

Continuations do not depend on the batch, its padding or the key-value cache, but for rounding. The last token that is
written is never forwarded, so it is never edited. An interrupt or an error leaves no hook behind; what had been written
by then is what `on_token` was told.

Example:
    >>> import torch
    >>> from lens_steer import Intervention, load_model
    >>> model, push = load_model("lab"), Intervention.at("resid_post@3", torch.randn(128), 0.1, "generated")
    >>> pair = generate_pair(model, ["Once upon a time"], [push], Decoding(max_new_tokens=5, stop_at_eos=False))
    >>> len(pair.steered.texts), int(pair.to_frame()["steered"].sum())
    (1, 5)
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from lens_steer.batching import length_buckets
from lens_steer.errors import DataError, SteeringError
from lens_steer.generate.decoding import Decoding
from lens_steer.generate.recorder import Recorder
from lens_steer.generate.results import Continuation, GenerationPair, Generations
from lens_steer.model import Growing, SteerableModel, context_length, decode, eos_tokens, fingerprint, tokenize
from lens_steer.progress import track
from lens_steer.steer import Intervention, Steering, hooked, steer


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token as it is written: of which prompt, at which step, its id and its text alone."""

    prompt: int
    step: int
    token: int
    text: str


OnToken = Callable[[Token], None]


@dataclass(kw_only=True)
class _Row:
    """One prompt while it is being continued; `given` is the prompt with the prefill behind it."""

    index: int
    prompt: list[int]
    given: list[int]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    ended: str = ""
    record: dict[str, tuple[float, ...]] = field(default_factory=dict)


def generate(
    model: SteerableModel,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    interventions: Sequence[Intervention] = (),
    decoding: Decoding | None = None,
    batch_size: int = 16,
    record: bool = False,
    progress: bool = False,
    on_token: OnToken | None = None,
) -> Generations:
    """Continues prompts.

    Args:
        model: a loaded model with a tokenizer.
        prompts: texts (BOS is added once), or token rows with BOS in them, such as `chat_prompt` makes.
        interventions: what steers; none continues with the plain model.
        decoding: how continuations are written; 64 likeliest tokens where absent.
        batch_size: prompts that are continued together.
        record: keep each step's entropy, KL to the unsteered model and projections; takes a second forward pass.
        progress: draw a progress bar.
        on_token: told of every token as soon as it is chosen.

    Returns:
        The continuations, in the order of the prompts.

    Raises:
        DataError: no prompts, an empty one, or one that with its continuation is longer than the model's context.
        PositionError: a position rule that cannot be resolved while generating, such as `last`.
        SteeringError: an intervention selected no token in the whole generation.
    """
    watched = interventions if record else None
    return _generate(model, prompts, interventions, decoding or Decoding(), batch_size, watched, progress, on_token)


def generate_pair(
    model: SteerableModel,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    decoding: Decoding | None = None,
    batch_size: int = 16,
    record: bool = False,
    progress: bool = False,
    on_token: OnToken | None = None,
) -> GenerationPair:
    """Continues the same prompts with and without steering, under the same random numbers.

    Args:
        model: a loaded model with a tokenizer.
        prompts: texts or token rows, as for `generate`.
        interventions: what steers one of the two sides.
        decoding: how continuations are written.
        batch_size: prompts that are continued together.
        record: keep each step's entropy, KL and projections, of both sides.
        progress: draw progress bars.
        on_token: told of every token of the steered side.

    Returns:
        Both sides.

    Raises:
        DataError: as `generate` does.
        PositionError: as `generate` does.
        SteeringError: as `generate` does, or there are no interventions.
    """
    if not interventions:
        raise SteeringError("a pair without interventions would be twice the same; give at least one.")
    decoding, watched = decoding or Decoding(), interventions if record else None
    steered = _generate(model, prompts, interventions, decoding, batch_size, watched, progress, on_token)
    unsteered = _generate(model, prompts, (), decoding, batch_size, watched, progress, None)
    return GenerationPair(steered=steered, unsteered=unsteered)


def _generate(
    model: SteerableModel,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    decoding: Decoding,
    batch_size: int,
    watched: Sequence[Intervention] | None,
    progress: bool,
    on_token: OnToken | None,
) -> Generations:
    """`generate`, with a record of the watched interventions where there are any to watch."""
    rows = _rows(model, prompts, decoding)
    buckets = length_buckets([len(row.given) for row in rows], batch_size)
    with steer(model, *interventions, prompt_lengths=1) as steering:
        for bucket in track(buckets, "generating", len(rows), progress, size=len):
            batch = [rows[index] for index in bucket]
            steering.set_prompt_lengths([len(row.prompt) for row in batch], [len(row.given) for row in batch])
            given = [row.given for row in batch]
            recorder = None if watched is None else Recorder(model, given, watched, decoding.cache)
            with hooked(model, recorder.functions()) if recorder else nullcontext():
                _continue(model, batch, decoding, steering, recorder, on_token)
    return Generations(
        model=fingerprint(model).name,
        interventions=tuple(str(entry) for entry in interventions),
        decoding=decoding,
        continuations=tuple(_finished(model, row) for row in rows),
    )


def _rows(model: SteerableModel, prompts: Sequence[str] | Sequence[Sequence[int]], decoding: Decoding) -> list[_Row]:
    """The prompts as tokens, with what is begun for the model behind them."""
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if not prompts or len(texts) not in (0, len(prompts)):
        raise DataError(f"{len(prompts)} prompts, {len(texts)} of them texts; give all texts or all token rows.")
    tokens = tokenize(model, texts) if texts else [[int(token) for token in prompt] for prompt in prompts]
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
    return [_Row(index=index, prompt=row, given=row + begun) for index, row in enumerate(tokens)]


def _continue(
    model: SteerableModel,
    batch: Sequence[_Row],
    decoding: Decoding,
    steering: Steering,
    recorder: Recorder | None,
    on_token: OnToken | None,
) -> None:
    """Writes the continuations of one batch."""
    growing = Growing(model, [row.given for row in batch], decoding.cache)
    generators = decoding.generators([row.index for row in batch])
    eos = eos_tokens(model) if decoding.stop_at_eos else frozenset()
    for step in range(decoding.max_new_tokens):
        logits = growing.read()
        chosen = decoding.choose(logits, generators).cpu()
        if recorder is not None:
            recorder.note(logits, chosen, growing.ends, steering)
        for row, token in zip(batch, chosen.tolist(), strict=True):
            if not row.ended:
                _take(model, row, token, decoding, eos)
                if on_token is not None:
                    on_token(Token(prompt=row.index, step=step, token=token, text=decode(model, [token])))
        alive = torch.tensor([not row.ended for row in batch])
        if not alive.any():
            break
        growing.append(chosen, alive)
        if recorder is not None:
            recorder.append(chosen, alive)
    for place, row in enumerate(batch):
        row.record = recorder.of_row(place, len(row.tokens)) if recorder is not None else {}


def _take(model: SteerableModel, row: _Row, token: int, decoding: Decoding, eos: frozenset[int]) -> None:
    """Adds a token to a row, and ends the row where something says so."""
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


def _finished(model: SteerableModel, row: _Row) -> Continuation:
    """A row that has ended, with its texts."""
    return Continuation(
        prompt=decode(model, row.prompt),
        prompt_tokens=tuple(row.prompt),
        tokens=tuple(row.tokens),
        pieces=tuple(decode(model, [token], special=True) for token in row.tokens),
        text=row.text if row.ended == "stop" else decode(model, row.tokens),
        ended=row.ended,
        record=row.record,
    )
