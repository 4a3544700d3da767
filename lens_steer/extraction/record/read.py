"""Reads the activations of one batch, with a forward pass that stops at the last requested site.

    whole     one pass of all sequences, right-padded
    shared    one pass of each pair's common prefix, left-padded; one of both continuations from its key-value cache

No block after the last requested site and no unembedding is run, and a prefix of which nothing is read is forwarded for
its keys and values alone. A token of a shared prefix is read once and is in the
result twice, once for each sequence of the pair. Each row of a `Recording` has its sequence and absolute position, so
that the order can be restored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ActivationError
from lens_steer.extraction.record.rows import RowBatch, TokenRows
from lens_steer.hooks import hooked
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, by_hook_name
from lens_steer.model import (
    SteerableModel,
    StopForward,
    continued_mask,
    dtype_of,
    fill_cache,
    new_cache,
    pad,
    run_hooks,
)
from lens_steer.model.batching import within_memory

MASSIVE = 10.0
"""A massive activation's norm, in median norms of its sequence."""


@dataclass(frozen=True, kw_only=True)
class ReadSpec:
    """Which sites and positions to read.

    `prompt_lengths` are needed for rules relative to the prompt; `medians` adds each sequence's median token norm.
    """

    sites: tuple[Site, ...]
    rule: Positions
    prompt_lengths: Sequence[int] | None = None
    medians: bool = False

    def at(self, sites: tuple[Site, ...]) -> "ReadSpec":
        """The same with other sites."""
        return replace(self, sites=sites)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """The activations of one batch: row i of every site belongs to sequence `sequences[i]` at `positions[i]`.

    Activations are float32 on the CPU, in the site's own units, read from a model that runs in `dtype`. `medians`,
    where asked for, is the median norm over all tokens of the sequence that a row belongs to.
    """

    activations: Mapping[Site, Float[Tensor, "n width"]]
    sequences: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]
    medians: Mapping[Site, Float[Tensor, " n"]] = field(default_factory=dict)
    dtype: str = "float32"

    def ordinary(self, site: Site) -> Bool[Tensor, " n"]:
        """Which rows of a site are not massive: their norm is at most ten times the median of their sequence.

        Args:
            site: one of the sites that were read.

        Returns:
            A mask of the rows; all of them where the medians were not read.
        """
        if not self.medians:
            return torch.ones(len(self.sequences), dtype=torch.bool, device="cpu")
        return self.activations[site].norm(dim=-1) <= MASSIVE * self.medians[site]

    def require_finite(self, label: Callable[[int], str] = "sequence {}".format) -> None:
        """Refuses activations that are NaN or infinite.

        Args:
            label: what a sequence is called.

        Raises:
            ActivationError: there is one; the sequence, the token and the site are named.
        """
        for site, rows in self.activations.items():
            if not bool(rows.isfinite().all()):
                row = int((~rows.isfinite()).any(dim=1).nonzero()[0])
                where = f"{label(int(self.sequences[row]))}: the activation of token {int(self.positions[row])}"
                raise ActivationError(f"{where} at {site} is NaN or infinite", self.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chunk:
    """The result of one forward pass: selected tokens by site, and, where requested, every token's norm."""

    chosen: Bool[Tensor, "batch pos"]
    absolute: Int[Tensor, "batch pos"]
    valid: Bool[Tensor, "batch pos"]
    recorded: dict[Site, Tensor] = field(default_factory=dict)
    norms: dict[Site, Tensor] = field(default_factory=dict)


def read_batch(model: SteerableModel, rows: TokenRows, batch: RowBatch, reading: ReadSpec) -> Recording:
    """Records the activations of one batch, in one pass or where memory runs out in several; as `read_pass`."""
    found = within_memory(lambda parts: read_pass(model, rows, RowBatch.of(parts), reading), batch.least)
    return found[0] if len(found) == 1 else _joined(found)


def read_pass(model: SteerableModel, rows: TokenRows, batch: RowBatch, reading: ReadSpec) -> Recording:
    """Forwards one batch as far as needed and records the activations asked for.

    Args:
        model: a loaded model; where the batch has shared prefixes, one whose `why_not_shared` is empty.
        rows: all sequences.
        batch: which of them.
        reading: what to record.

    Returns:
        The activations, sequence by sequence in the batch's order, positions ascending.

    Raises:
        DataError: a sequence is empty or longer than the context.
    """
    if batch.prefixes:
        return _read_shared(model, rows, batch, reading)
    tokens, mask = pad(model, [rows[index] for index in batch.rows])
    absolute, valid = torch.arange(tokens.shape[1], device="cpu").expand(tokens.shape), mask.cpu().bool()
    chunk = _Chunk(chosen=_choose(rows, batch.rows, reading, absolute, valid), absolute=absolute, valid=valid)
    _run(model, tokens, mask, reading, chunk)
    return _recording(model, batch, reading, [chunk])


def locate(rows: TokenRows, batch: RowBatch, reading: ReadSpec) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Where the rows of a recording come from, without a forward pass.

    Args:
        rows: all sequences.
        batch: which of them.
        reading: what is recorded.

    Returns:
        `sequences` and `positions` of what `read_batch` gives.
    """
    lengths = torch.tensor([rows.length(index) for index in batch.rows], device="cpu")
    absolute = torch.arange(int(lengths.max()), device="cpu").expand(len(batch.rows), -1)
    chosen = _choose(rows, batch.rows, reading, absolute, absolute < lengths[:, None])
    return torch.tensor(batch.rows, device="cpu")[:, None].expand(absolute.shape)[chosen], absolute[chosen]


def _read_shared(model: SteerableModel, rows: TokenRows, batch: RowBatch, reading: ReadSpec) -> Recording:
    """The prefixes once, then both continuations of each."""
    ahead = torch.tensor(batch.prefixes, device="cpu")
    cache = new_cache(model)
    tokens, mask = pad(model, [rows[i][:n] for i, n in zip(batch.rows[::2], batch.prefixes, strict=True)], side="left")
    valid = mask.cpu().bool()
    absolute = valid.long().cumsum(dim=1) - 1
    twice, valid_twice = absolute.repeat_interleave(2, dim=0), valid.repeat_interleave(2, dim=0)
    chosen = _choose(rows, batch.rows, reading, twice, valid_twice)
    either = _Chunk(chosen=chosen[0::2] | chosen[1::2], absolute=absolute, valid=valid)
    read_here = reading.medians or bool(either.chosen.any())
    if read_here:
        _run(model, tokens, mask, reading, either, cache)
    else:
        fill_cache(model, tokens, mask, cache, max(site.layer for site in reading.sites))
    cache.batch_repeat_interleave(2)
    starts = ahead.repeat_interleave(2)
    new, real = pad(model, [rows[i][n:] for i, n in zip(batch.rows, starts.tolist(), strict=True)])
    later, own = starts[:, None] + torch.arange(new.shape[1], device="cpu"), real.cpu().bool()
    tail = _Chunk(chosen=_choose(rows, batch.rows, reading, later, own), absolute=later, valid=own)
    _run(model, new, continued_mask(mask, real), reading, tail, cache)
    if not read_here:
        return _recording(model, batch, reading, [tail])
    place = torch.full(either.chosen.shape, -1, device="cpu")
    place[either.chosen] = torch.arange(int(either.chosen.sum()), device="cpu")
    rows_of = place.repeat_interleave(2, dim=0)[chosen]
    head = _Chunk(
        chosen=chosen,
        absolute=twice,
        valid=valid_twice,
        recorded={site: activations[rows_of] for site, activations in either.recorded.items()},
        norms={site: norms.repeat_interleave(2, dim=0) for site, norms in either.norms.items()},
    )
    return _recording(model, batch, reading, [head, tail])


def _joined(found: Sequence[Recording]) -> Recording:
    """Recordings of different sequences as one."""
    first = found[0]
    return replace(
        first,
        activations={site: torch.cat([one.activations[site] for one in found]) for site in first.activations},
        sequences=torch.cat([one.sequences for one in found]),
        positions=torch.cat([one.positions for one in found]),
        medians={site: torch.cat([one.medians[site] for one in found]) for site in first.medians},
    )


def _choose(
    rows: TokenRows, indices: Sequence[int], reading: ReadSpec, absolute: Tensor, valid: Tensor
) -> Bool[Tensor, "batch pos"]:
    """The tokens of a chunk that the rule selects, given the lengths of the whole sequences."""
    lengths = reading.prompt_lengths
    prompts = None if lengths is None else torch.tensor([lengths[index] for index in indices], device="cpu")
    totals = torch.tensor([rows.length(index) for index in indices], device="cpu")
    tokens = None
    if reading.rule.needs_tokens:
        whole = [torch.tensor(rows[index], device="cpu") for index in indices]
        tokens = torch.stack([row[place.clamp(0, len(row) - 1)] for row, place in zip(whole, absolute, strict=True)])
    return reading.rule.resolve(absolute, valid, prompts, totals, tokens=tokens)


def _recording(model: SteerableModel, batch: RowBatch, reading: ReadSpec, chunks: list[_Chunk]) -> Recording:
    """The chunks of the same sequences as one recording, in the order of sequences and positions."""
    owners = torch.cat(
        [torch.arange(len(batch.rows), device="cpu")[:, None].expand(c.chosen.shape)[c.chosen] for c in chunks]
    )
    positions = torch.cat([chunk.absolute[chunk.chosen] for chunk in chunks])
    order = torch.argsort(owners * (int(positions.max()) + 1 if len(positions) else 1) + positions)
    owners = owners[order]
    valid = torch.cat([chunk.valid for chunk in chunks], dim=1)
    medians: dict[Site, Tensor] = {}
    for site in reading.sites if reading.medians else ():
        norms = torch.cat([chunk.norms[site] for chunk in chunks], dim=1)
        medians[site] = torch.where(valid, norms, torch.nan).nanmedian(dim=1).values[owners]
    return Recording(
        activations={site: torch.cat([chunk.recorded[site] for chunk in chunks])[order] for site in reading.sites},
        sequences=torch.tensor(batch.rows, device="cpu")[owners],
        positions=positions[order],
        medians=medians,
        dtype=dtype_of(model),
    )


def _run(
    model: SteerableModel, tokens: Tensor, mask: Tensor, reading: ReadSpec, chunk: _Chunk, cache: Any = None
) -> None:
    """One pass that fills a chunk and ends when it has seen all sites."""
    with hooked(model, {name: _keep(chunk, here, reading) for name, here in by_hook_name(reading.sites).items()}):
        run_hooks(model, tokens, mask, cache)


def _keep(chunk: _Chunk, sites: Sequence[Site], reading: ReadSpec) -> Callable[[Tensor], None]:
    """A hook that records the chosen tokens and changes nothing, and ends the pass once all sites are recorded."""

    def run(activation: Tensor) -> None:
        for site in sites:
            whole = site.read(activation.detach())
            chunk.recorded[site] = whole[chunk.chosen.to(whole.device)].float().cpu()
            if reading.medians:
                chunk.norms[site] = whole.float().norm(dim=-1).cpu()
        if len(chunk.recorded) == len(reading.sites):
            raise StopForward

    return run
