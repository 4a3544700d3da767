"""`generate` and `generate_pair`: token-by-token generation with explicit random numbers and positions.

    for each batch of prompts of similar length:   forward, choose, append, until every row has ended

Continuations do not depend on the batch, its padding or the key-value cache, except for rounding. The last generated
token is never forwarded, so it is never edited. After an interrupt or an error no hook remains; the tokens generated
until then have been passed to `on_token`.

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
from lens_steer.hooks import (
    Intervention,
    Interventions,
    active_interventions,
    as_interventions,
    hooked,
    require_unsteered,
    steer,
)
from lens_steer.model import Prompts, SteerableModel, fingerprint, require_model, rows_at_once
from lens_steer.model.batching import length_buckets, within_memory


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
            the model's template formats, or token rows including BOS.
        interventions: one or several; where absent, the model is used as it is, including any open steering context.
        decoding: decoding settings; 64 tokens of greedy decoding where absent.
        batch_size: prompts in one batch; fewer where the vocabulary is so large that their logits would take more than
            64 MB.
        record: record each step's entropy, KL to the unsteered model and projections; needs a second forward pass.
        progress: show a progress bar.
        on_token: called with every token as soon as it is chosen; with it no batch is halved where memory runs out.

    Returns:
        The continuations, in the order of the prompts.

    Raises:
        ArgumentError: the first argument is not a model.
        ModelFolderError: a chat is given and the tokenizer has no chat template.
        DataError: no prompts, an empty prompt, or a prompt that with its continuation exceeds the model's context.
        PositionError: a position rule that cannot be resolved while generating, such as `last`.
        LogitError: the logits of a next token are NaN or infinite.
        SteeringError: an intervention selected no token in the whole generation; or a record, which needs the unsteered
            model, inside a steering context.
    """
    require_model(model, "generate(model, prompts, interventions)", prompts, interventions)
    if record:
        require_unsteered(model, "generate(..., record=True)", "pass its interventions to generate_pair")
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
        interventions: of the steered continuations.
        decoding: decoding settings.
        batch_size: prompts in one batch.
        record: record each step's entropy, KL and projections, of both continuations.
        progress: show progress bars.
        on_token: called with every token of the steered continuations.

    Returns:
        The steered and the unsteered continuations.

    Raises:
        DataError: as `generate`.
        PositionError: as `generate`.
        SteeringError: as `generate`; there are no interventions; or a steering context is open, which would steer both.
    """
    require_model(model, "generate_pair(model, prompts, interventions)", prompts, interventions)
    require_unsteered(model, "generate_pair", "pass its interventions: generate_pair(model, prompts, interventions)")
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

        def write(bucket: Sequence[int]) -> None:
            batch = [rows[index] for index in bucket]
            steering.set_prompt_lengths([len(row.prompt) for row in batch], [len(row.given) for row in batch])
            given = [row.given for row in batch]
            recorder = None if watched is None else Recorder(model, given, watched, decoding.cache)
            with hooked(model, recorder.functions()) if recorder else nullcontext():
                continue_rows(model, batch, decoding, steering, recorder, on_token)

        for bucket in track(buckets, "generating", len(rows), progress, size=len):
            if on_token is None:
                within_memory(write, bucket)
            else:
                write(bucket)  # what was told of a token cannot be taken back
    return Generations(
        model=fingerprint(model).name,
        interventions=tuple(str(entry) for entry in (*active_interventions(model), *interventions)),
        decoding=decoding,
        continuations=tuple(finished(model, row) for row in rows),
    )
