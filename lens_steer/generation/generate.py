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

from collections.abc import Sequence
from contextlib import nullcontext

from lens_steer._util.progress import track
from lens_steer.errors import SteeringError
from lens_steer.generation.decoding import Decoding
from lens_steer.generation.loop import OnToken, continue_rows, finished, prepare_rows
from lens_steer.generation.recorder import Recorder
from lens_steer.generation.results import GenerationPair, Generations
from lens_steer.hooks import Intervention, Interventions, active_interventions, as_interventions, hooked, steer
from lens_steer.model import Prompts, SteerableModel, fingerprint, require_model, rows_at_once
from lens_steer.model.batching import length_buckets


def generate(
    model: SteerableModel,
    prompts: Prompts,
    interventions: Interventions = (),
    decoding: Decoding | None = None,
    batch_size: int = 16,
    record: bool = False,
    progress: bool = False,
    on_token: OnToken | None = None,
) -> Generations:
    """Continues prompts.

    Args:
        model: a loaded model with a tokenizer.
        prompts: one or several texts (BOS is added once), chats such as `[{"role": "user", "content": "Hello"}]`, which
            the model's template writes, or token rows with BOS in them.
        interventions: what steers, one or several; none continues with the model as it stands, which is steered where a
            steering context is open.
        decoding: how continuations are written; 64 likeliest tokens where absent.
        batch_size: prompts that are continued together; fewer where the vocabulary is so large that their logits would
            take more than 64 MB.
        record: keep each step's entropy, KL to the unsteered model and projections; takes a second forward pass.
        progress: draw a progress bar.
        on_token: told of every token as soon as it is chosen.

    Returns:
        The continuations, in the order of the prompts.

    Raises:
        ArgumentError: no model, or it does not come first.
        ModelFolderError: a chat, and the tokenizer has no chat template.
        DataError: no prompts, an empty one, or one that with its continuation is longer than the model's context.
        PositionError: a position rule that cannot be resolved while generating, such as `last`.
        LogitError: the logits of a next token are NaN or infinite.
        SteeringError: an intervention selected no token in the whole generation; or a record, which needs the unsteered
            model, inside a steering context.
    """
    require_model(model, "generate(model, prompts, interventions)", prompts, interventions)
    if record:
        _require_unsteered(model, "generate(..., record=True)")
    plan, watched = as_interventions(interventions), as_interventions(interventions) if record else None
    return _generate(model, prompts, plan, decoding or Decoding(), batch_size, watched, progress, on_token)


def generate_pair(
    model: SteerableModel,
    prompts: Prompts,
    interventions: Interventions,
    decoding: Decoding | None = None,
    batch_size: int = 16,
    record: bool = False,
    progress: bool = False,
    on_token: OnToken | None = None,
) -> GenerationPair:
    """Continues the same prompts with and without steering, under the same random numbers.

    Args:
        model: a loaded model with a tokenizer.
        prompts: texts, chats or token rows, as for `generate`.
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
        SteeringError: as `generate` does, there are no interventions, or a steering context is open, which would steer
            both sides.
    """
    require_model(model, "generate_pair(model, prompts, interventions)", prompts, interventions)
    _require_unsteered(model, "generate_pair")
    plan = as_interventions(interventions)
    if not plan:
        raise SteeringError("a pair without interventions would be twice the same; give at least one.")
    decoding, watched = decoding or Decoding(), plan if record else None
    steered = _generate(model, prompts, plan, decoding, batch_size, watched, progress, on_token)
    unsteered = _generate(model, prompts, (), decoding, batch_size, watched, progress, None)
    return GenerationPair(steered=steered, unsteered=unsteered)


def _generate(
    model: SteerableModel,
    prompts: Prompts,
    interventions: Sequence[Intervention],
    decoding: Decoding,
    batch_size: int,
    watched: Sequence[Intervention] | None,
    progress: bool,
    on_token: OnToken | None,
) -> Generations:
    """`generate`, with a record of the watched interventions where there are any to watch."""
    rows = prepare_rows(model, prompts, decoding)
    buckets = length_buckets([len(row.given) for row in rows], min(batch_size, rows_at_once(model)))
    with steer(model, *interventions, prompt_lengths=1) as steering:
        for bucket in track(buckets, "generating", len(rows), progress, size=len):
            batch = [rows[index] for index in bucket]
            steering.set_prompt_lengths([len(row.prompt) for row in batch], [len(row.given) for row in batch])
            given = [row.given for row in batch]
            recorder = None if watched is None else Recorder(model, given, watched, decoding.cache)
            with hooked(model, recorder.functions()) if recorder else nullcontext():
                continue_rows(model, batch, decoding, steering, recorder, on_token)
    return Generations(
        model=fingerprint(model).name,
        interventions=tuple(str(entry) for entry in (*active_interventions(model), *interventions)),
        decoding=decoding,
        continuations=tuple(finished(model, row) for row in rows),
    )


def _require_unsteered(model: SteerableModel, call: str) -> None:
    """Refuses a comparison with the unsteered model while a steering context is open."""
    active = active_interventions(model)
    if active:
        raise SteeringError(
            f"{call} compares with the unsteered model, and an open steering context steers it ({active[0]}); end that "
            "context and pass its interventions: generate_pair(model, prompts, interventions)."
        )
