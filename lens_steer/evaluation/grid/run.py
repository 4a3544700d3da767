"""Configurations by sequences, as a table of numbers: the one loop over batches and passes.

    table[configuration][sequence]  =  sum over its scored tokens of  reduce(tokens)(logits under the configuration)

Logits are made and reduced to numbers a chunk at a time, each chunk under some configurations, so that memory holds one
batch and a few chunks. With a checkpoint, each pass is written when it is done, and an interrupted run goes on after
it. With a pool, the passes are run by its workers. What the numbers mean is the caller's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.evaluation.grid.checkpoint import Checkpoint
from lens_steer.evaluation.grid.passes import forward_unsteered, plain_passes, reused_passes
from lens_steer.evaluation.grid.plan import GridBatch, Scored, plan_grid
from lens_steer.evaluation.grid.pool import Pool
from lens_steer.evaluation.grid.trial import why_not_reused
from lens_steer.hooks import Interventions, as_interventions, named
from lens_steer.model import Logits, SteerableModel, held
from lens_steer.model.batching import is_out_of_memory, warn_halved
from lens_steer.model.logits import CHUNK

_UNSTEERED = -1
_Entry = tuple[tuple[int, ...], list[Logits]]
"""The configurations of a pass, and the logits of each."""


class GridTokens:
    """Some tokens of a grid, whose logits are held together: their `positions`, and their unsteered logits."""

    def __init__(self, unsteered: Logits, part: slice) -> None:
        self.positions = unsteered.positions[part].tolist()
        self._logits, self._part = unsteered, part

    @cached_property
    def unsteered(self) -> Float[Tensor, "k d_vocab"]:
        """Their unsteered logits, which are made when they are first asked for."""
        return self._logits.at(self._part)

    def following(self, rows: Sequence[Sequence[int]], of: Sequence[int]) -> Int[Tensor, " k"]:
        """The token that follows each; `of` is the sequence of each among `rows`."""
        found = [rows[index][place + 1] for index, place in zip(of, self.positions, strict=True)]
        return torch.tensor(found, device="cpu")


Numbers = Callable[[Float[Tensor, "k d_vocab"]], Float[Tensor, "k number"]]
"""From the logits of some tokens to their numbers."""

Reduce = Callable[[list[int], GridTokens], Numbers]
"""Given some tokens (the sequence of each, and the tokens): what makes numbers of their logits."""


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """How configurations are run.

    `batch_size`: the most rows in one forward pass, half as many where memory does not suffice. `reuse`: forward once
    what does not change between configurations, where that is exact. `checkpoint`: a folder in which finished passes
    are saved, so that an interrupted run goes on; what depends on an object that cannot be told by its content is not
    saved, with a `CacheWarning`. `progress`: draw a bar. `pool`: workers that run the passes; this process does where
    absent.
    """

    batch_size: int = 64
    reuse: bool = True
    checkpoint: str | Path | None = None
    progress: bool = False
    pool: Pool | None = None


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
    prompt_lengths: Sequence[int] | None = None,
) -> GridTable:
    """Forwards the same sequences unsteered and under each configuration.

    Args:
        model: a loaded model.
        rows: token ids of each sequence, BOS included.
        configurations: what steers, point by point; one without interventions is unsteered. `last` is the last token of
            the prompt.
        reduce: what makes numbers of logits; asked once a chunk and some configurations.
        options: how; the defaults where absent.
        scored: where logits are wanted: of each sequence's last token, of all tokens that another one follows, or of
            those that a token of the continuation follows.
        meaning: what the numbers are; a checkpoint tells them apart from others by it, and by the content of `reduce`.
        prompt_lengths: of each sequence, where continuations are scored; otherwise a sequence is all prompt.

    Returns:
        The numbers, in float64: of a sequence, the sums over its tokens. The unsteered ones are those of the model as
        it stands, bit for bit: where hooks are installed on it, `path` says so.

    Raises:
        LogitError: logits or numbers are NaN or infinite.
        SteeringError: an intervention selects no token of any sequence, or a checkpoint is asked for while hooks are
            installed on the model; nothing has been forwarded then.
        SiteError, DirectionError, MismatchError, PositionError: as `steer`.
        DataError: a sequence is empty or too long.
    """
    options, configurations = options or GridOptions(), [as_interventions(entry) for entry in configurations]
    plan = plan_grid(model, rows, configurations, options.batch_size, scored, prompt_lengths)
    reason = why_not_reused(model, configurations) if options.reuse else "reuse was switched off"
    path = f"naive: {reason}" if reason else "reused"
    about = (rows, configurations, scored, prompt_lengths, options.batch_size, meaning, reduce, path)
    done = Checkpoint.open(options.checkpoint, model, about)
    ways = _Ways(reduce=reduce, scored=scored, reuse=not reason, batch_size=options.batch_size)
    compute = partial(_compute_within_memory, rows, ways)
    shards = [shard for number, batch in enumerate(plan) for shard in _missing(number, batch, done)]
    with held(model):
        if options.pool is None:
            steps = ((shard.number, *entry) for shard in shards for entry in compute(model, shard))
        else:
            cut = [small for shard in shards for small in shard.cut(options.pool.passes)]
            answers = options.pool.run(model, partial(_as_numbers, compute), cut)
            steps = (
                (number, members, torch.tensor(values, dtype=torch.float64, device="cpu"))
                for answer in answers
                for number, members, values in answer
            )
        total = sum(shard.plain + len(shard.batch.passes) for shard in shards)
        for number, members, values in track(steps, "sweeping", total, options.progress):
            done.put(number, members, values)
    return _gathered(plan, done, len(configurations), path)


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """What is the same for every batch."""

    reduce: Reduce
    scored: Scored
    reuse: bool
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A batch with the passes of it that are to be run, and whether its unsteered numbers are wanted too."""

    number: int
    batch: GridBatch
    plain: bool

    def cut(self, passes: int) -> "list[_Shard]":
        """The same in shards of so many passes, each with no more than what it needs."""
        found = []
        for begin in range(0, max(len(self.batch.passes), 1), passes):
            here = self.batch.passes[begin : begin + passes]
            members = {member for one_pass in here for member in one_pass.configurations}
            active = {member: edits for member, edits in self.batch.active.items() if member in members}
            batch = replace(self.batch, passes=here, active=active, idle=())
            found.append(replace(self, batch=batch, plain=self.plain and begin == 0))
        return found


def _missing(number: int, batch: GridBatch, done: Checkpoint) -> list[_Shard]:
    """What the checkpoint does not have of a batch: one shard, or none."""
    passes = tuple(one_pass for one_pass in batch.passes if not done.has(number, one_pass.configurations))
    plain = not done.has(number, (_UNSTEERED,))
    return [_Shard(number=number, batch=replace(batch, passes=passes), plain=plain)] if plain or passes else []


def _gathered(plan: Sequence[GridBatch], done: Checkpoint, configurations: int, path: str) -> GridTable:
    """The table of a finished grid: the numbers of every sequence, in the order in which sequences were given."""
    places = [
        (number, members)
        for number, batch in enumerate(plan)
        for members in [(_UNSTEERED,), *(one_pass.configurations for one_pass in batch.passes)]
    ]
    done.arrange(places)
    found: list[dict[int, Tensor]] = [{} for _ in plan]
    for number, members in places:
        found[number] |= dict(zip(members, done.get(number, members), strict=True))
    for numbers, batch in zip(found, plan, strict=True):
        numbers |= {member: numbers[_UNSTEERED] for member in batch.idle}
    order = torch.tensor([index for batch in plan for index in batch.rows], device="cpu").argsort()
    unsteered, *steered = (
        torch.cat([numbers[member] for numbers in found])[order] for member in range(_UNSTEERED, configurations)
    )
    return GridTable(unsteered=unsteered, configurations=tuple(steered), path=path)


def _compute_within_memory(
    rows: Sequence[Sequence[int]], ways: _Ways, model: SteerableModel, shard: _Shard
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """`_compute`; from the pass on for which memory does not suffice, as a grid of its own with half the batch size."""
    done = set[tuple[int, ...]]()
    try:
        for members, values in _compute(rows, ways, model, shard):
            yield members, values
            done.add(members)
        return
    except (RuntimeError, MemoryError) as error:
        if ways.batch_size < 2 or not is_out_of_memory(error):
            raise
    # outside of the handler: the error holds what the pass had allocated
    warn_halved(ways.batch_size)
    batch = shard.batch
    left = [one_pass.configurations for one_pass in batch.passes if one_pass.configurations not in done]
    table = run_grid(
        model,
        [rows[index] for index in batch.rows],
        [batch.active[member] for members in left for member in members],
        lambda of, tokens: ways.reduce([batch.rows[index] for index in of], tokens),
        GridOptions(batch_size=ways.batch_size // 2, reuse=ways.reuse),
        ways.scored,
        prompt_lengths=batch.prompts if ways.scored == "continuation" else None,
    )
    if shard.plain and (_UNSTEERED,) not in done:
        yield (_UNSTEERED,), table.unsteered[None]
    found = iter(table.configurations)
    yield from ((members, torch.stack([next(found) for _ in members])) for members in left)


def _compute(
    rows: Sequence[Sequence[int]], ways: _Ways, model: SteerableModel, shard: _Shard
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """The configurations of a shard with their numbers, pass by pass; the unsteered ones first."""
    batch = shard.batch
    unsteered = forward_unsteered(model, rows, batch, ways.scored, ways.reuse)
    run = reused_passes if ways.reuse else plain_passes
    first: list[_Entry] = [((_UNSTEERED,), [unsteered.logits])] if shard.plain else []
    passes = ((one_pass.configurations, found) for one_pass, found in run(model, unsteered, batch, batch.passes))
    for group in _groups(chain(first, passes), alone=ways.scored == "last"):
        numbers = _numbers(group, unsteered.logits, batch, ways)
        yield from ((members, values) for (members, _), values in zip(group, numbers, strict=True))


def _as_numbers(
    compute: Callable[[SteerableModel, _Shard], Iterator[tuple[tuple[int, ...], Tensor]]],
    model: SteerableModel,
    shard: _Shard,
) -> list[tuple[int, tuple[int, ...], list[Any]]]:
    """A shard's passes as plain numbers, which processes send without sharing memory: a worker's answer."""
    return [(shard.number, members, values.tolist()) for members, values in compute(model, shard)]


def _groups(entries: Iterable[_Entry], alone: bool) -> Iterator[list[_Entry]]:
    """Passes whose logits are read chunk by chunk together, so that the unsteered logits of a chunk are made once."""
    group: list[_Entry] = []
    for entry in entries:
        group.append(entry)
        if alone or sum(logits.held for _, found in group for logits in found) >= CHUNK:
            yield group
            group = []
    if group:
        yield group


def _numbers(group: Sequence[_Entry], unsteered: Logits, batch: GridBatch, ways: _Ways) -> list[Tensor]:
    """The numbers of the sequences of a batch, (configuration, sequence, number), in some passes, chunk after chunk.

    Configurations of one pass have their logits made together; those of plain passes singly, as unsteered ones are.
    """
    place = {sequence: row for row, sequence in enumerate(batch.rows)}
    sequences = unsteered.of.tolist()
    owner = torch.tensor([place[sequence] for sequence in sequences], device="cpu")
    found: list[list[list[Tensor]]] = [[[] for _ in members] for members, _ in group]
    for part in unsteered.parts():
        tokens = GridTokens(unsteered, part)
        numbers = ways.reduce(sequences[part], tokens)
        for (members, tables), columns in zip(group, found, strict=True):
            shares = [tables] if ways.reuse else [[table] for table in tables]
            made = chain.from_iterable(first.made_with(others, part) for first, *others in shares)
            for member, logits, column in zip(members, made, columns, strict=True):
                with named(batch.active.get(member, ())):
                    column.append(logits.numbers(slice(None), numbers).detach().double().cpu())
    return [torch.stack([_summed(torch.cat(column), owner, len(place)) for column in columns]) for columns in found]


def _summed(numbers: Float[Tensor, "k number"], owner: Tensor, n: int) -> Float[Tensor, "n number"]:
    """The sums over the tokens of each sequence."""
    return numbers.new_zeros(n, numbers.shape[1]).index_add(0, owner, numbers)
