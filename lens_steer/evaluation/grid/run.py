"""Configurations by sequences, as a table of numbers: the one loop over batches and passes.

    table[configuration][sequence]  =  reduce(sequences, their unsteered logits)(their logits under the configuration)

Logits are reduced to numbers at once, so that memory holds one batch. With a checkpoint, each pass is written when it
is done, and an interrupted run goes on after it. What the numbers mean is the caller's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.evaluation.grid.checkpoint import Checkpoint
from lens_steer.evaluation.grid.passes import forward_unsteered, plain_passes, reused_passes
from lens_steer.evaluation.grid.plan import GridBatch, Scored, plan_grid
from lens_steer.evaluation.grid.trial import why_not_reused
from lens_steer.hooks import Interventions, as_interventions
from lens_steer.model import SteerableModel

Numbers = Callable[[Float[Tensor, "batch k d_vocab"]], Float[Tensor, "batch number"]]
"""From the logits of some sequences to their numbers."""

Reduce = Callable[[list[int], Float[Tensor, "batch k d_vocab"]], Numbers]
"""Given some sequences (their indices) and their unsteered logits, what makes numbers of their logits under a
configuration.
"""

_UNSTEERED = -1


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """How configurations are run.

    `batch_size`: the most rows in one forward pass. `reuse`: forward once what does not change between configurations,
    where that is exact. `checkpoint`: a folder in which finished passes are saved, so that an interrupted run goes on;
    what depends on an object that cannot be told by its content is not saved, with a `CacheWarning`. `progress`: draw a
    bar.
    """

    batch_size: int = 64
    reuse: bool = True
    checkpoint: str | Path | None = None
    progress: bool = False


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class GridTable:
    """The numbers of every sequence, unsteered and under each configuration; `path` says how: `reused`, or `naive:
    reason`.
    """

    unsteered: Float[Tensor, "n number"]
    configurations: tuple[Float[Tensor, "n number"], ...]
    path: str


def run_grid(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    configurations: Sequence[Interventions],
    reduce: Reduce,
    options: GridOptions | None = None,
    scored: Scored = "last",
    meaning: str = "",
) -> GridTable:
    """Forwards the same sequences unsteered and under each configuration.

    Args:
        model: a loaded model.
        rows: token ids of each sequence, BOS included; a sequence is all prompt.
        configurations: what steers, point by point; one without interventions is unsteered.
        reduce: what makes numbers of logits; asked once a batch.
        options: how; the defaults where absent.
        scored: where logits are wanted: of each sequence's last token (k = 1), or of all tokens.
        meaning: what the numbers are; a checkpoint tells them apart from others by it, and by the content of `reduce`.

    Returns:
        The numbers, in float64. The unsteered ones are those of the model as it stands, bit for bit: where hooks are
        installed on it, `path` says so.

    Raises:
        SteeringError: an intervention selects no token of any sequence, or a checkpoint is asked for while hooks are
            installed on the model; nothing has been forwarded then.
        SiteError, DirectionError, MismatchError, PositionError: as `steer`.
        DataError: a sequence is empty or too long.
    """
    options, configurations = options or GridOptions(), [as_interventions(entry) for entry in configurations]
    plan = plan_grid(model, rows, configurations, options.batch_size, scored)
    reason = why_not_reused(model, configurations) if options.reuse else "reuse was switched off"
    path = f"naive: {reason}" if reason else "reused"
    about = (rows, configurations, scored, options.batch_size, meaning, reduce, path)
    done = Checkpoint.open(options.checkpoint, model, about)
    ways = _Ways(reduce=reduce, scored=scored, reuse=not reason)
    found: dict[int, list[Tensor]] = {number: [] for number in range(_UNSTEERED, len(configurations))}
    steps = (step for number, batch in enumerate(plan) for step in _steps(model, rows, number, batch, ways, done))
    total = sum(1 + len(batch.passes) for batch in plan)
    for members, values in track(steps, "sweeping", total, options.progress):
        for member, numbers in zip(members, values, strict=True):
            found[member].append(numbers)
    order = torch.tensor([index for batch in plan for index in batch.rows]).argsort()
    unsteered, *steered = (torch.cat(found[number])[order] for number in found)
    return GridTable(unsteered=unsteered, configurations=tuple(steered), path=path)


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """What is the same for every batch."""

    reduce: Reduce
    scored: Scored
    reuse: bool


def _steps(
    model: SteerableModel, rows: Sequence[Sequence[int]], number: int, batch: GridBatch, ways: _Ways, done: Checkpoint
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """The configurations of one batch with their numbers, pass by pass; what the checkpoint has is not run again."""
    stored = {one_pass: done.get(number, one_pass.configurations) for one_pass in batch.passes}
    missing = [one_pass for one_pass, values in stored.items() if values is None]
    plain = done.get(number, (_UNSTEERED,))
    if plain is None or missing:
        unsteered = forward_unsteered(model, rows, batch, ways.scored, ways.reuse)
        numbers = ways.reduce(list(batch.rows), unsteered.logits)
        if plain is None:
            plain = done.put(number, (_UNSTEERED,), numbers(unsteered.logits)[None])
        run = reused_passes if ways.reuse else plain_passes
        for one_pass, logits in run(model, unsteered, batch, missing):
            values = torch.stack([numbers(entry) for entry in logits])
            yield one_pass.configurations, done.put(number, one_pass.configurations, values)
    yield from ((one_pass.configurations, values) for one_pass, values in stored.items() if values is not None)
    yield from (((member,), plain) for member in (_UNSTEERED, *batch.idle))
