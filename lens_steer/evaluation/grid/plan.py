"""Which configurations share a forward pass, and what each pass need not compute again. Nothing is forwarded here.

    configuration   interventions that act together: one point of a grid
    start           of a sequence: its first edited token, or its first scored one where that is earlier
    skipped         blocks before the first activation that is edited or read by a gate:  l + 1 for resid_post@l,
                    which is the output of block l;  l for every other site of layer l
    shared pass     configurations of equal starts, as many as fit a batch; it skips what all of them skip

Cost of a shared pass in token-layers:  (n_layers - skipped) x (configurations x sequences x (length - start) + 64)

A block's weights are read once a pass, which takes as long as the arithmetic of about 64 tokens (on a CPU; more on a
GPU). Configurations that skip more blocks therefore join a pass where that costs less than a pass of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import DataError, SteeringError
from lens_steer.hooks import Intervention, read_chunk
from lens_steer.hooks.positions import Positions
from lens_steer.model import SteerableModel, pad
from lens_steer.model.batching import length_buckets

Configuration = Sequence[Intervention]
Scored = Literal["last", "all", "continuation"]
"""Where logits are wanted: of each sequence's last token; of all tokens that another one follows; or of those that a
token of the continuation follows, which begins behind the prompt."""

_WEIGHTS = 64
"""The tokens whose arithmetic in a block takes as long as reading its weights."""


@dataclass(frozen=True, kw_only=True)
class SharedPass:
    """Configurations that share one pass, how many blocks it skips, and the start of each sequence of the batch."""

    configurations: tuple[int, ...]
    skipped: int
    starts: tuple[int, ...]


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class GridBatch:
    """Sequences that are forwarded together, the shared passes that steer them, and the configurations that do not.

    `prompts` holds the length of each sequence's prompt, `active`, for each configuration of a shared pass, the
    interventions that select a token of these sequences.
    """

    rows: tuple[int, ...]
    prompts: tuple[int, ...]
    passes: tuple[SharedPass, ...]
    idle: tuple[int, ...]
    active: Mapping[int, tuple[Intervention, ...]]


def plan_grid(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    configurations: Sequence[Configuration],
    batch_size: int,
    scored: Scored,
    prompt_lengths: Sequence[int] | None = None,
) -> tuple[GridBatch, ...]:
    """Divides the sequences into batches, and the configurations of each batch into shared passes.

    Args:
        model: the model that will run them.
        rows: token ids of each sequence, BOS included.
        configurations: what steers; `last` is the last token of the prompt.
        batch_size: the most rows in one pass.
        scored: where logits are wanted.
        prompt_lengths: of each sequence; a sequence is all prompt where absent.

    Returns:
        The batches, shortest sequences first.

    Raises:
        SteeringError: an intervention selects no token of any sequence.
        PositionError: a rule cannot be resolved on these sequences.
        DataError: a sequence is empty or too long, a prompt has no continuation, or the batch size is below 1.
    """
    lengths = [len(row) for row in rows]
    prompts = _prompts(lengths, scored, prompt_lengths)
    configurations = [[of_prompt(entry) for entry in configuration] for configuration in configurations]
    rules = {entry.positions for configuration in configurations for entry in configuration}
    seen: set[Positions] = set()
    batches = []
    for bucket in length_buckets(lengths, batch_size):
        here = [prompts[index] for index in bucket]
        selected = _selected(model, [rows[index] for index in bucket], here, rules)
        seen |= set(selected)
        active = {
            number: tuple(entry for entry in configuration if entry.positions in selected)
            for number, configuration in enumerate(configurations)
        }
        inner = {number: configuration for number, configuration in active.items() if configuration}
        first = torch.tensor([0 if scored == "all" else length - 1 for length in here], device="cpu")
        starts = {rule: _starts(mask, first) for rule, mask in selected.items()}
        batches.append(
            GridBatch(
                rows=tuple(bucket),
                prompts=tuple(here),
                passes=_passes(
                    model, inner, starts, [lengths[index] for index in bucket], max(batch_size // len(bucket), 1)
                ),
                idle=tuple(number for number, configuration in active.items() if not configuration),
                active=inner,
            )
        )
    for configuration in configurations:
        for entry in configuration:
            if entry.positions not in seen:
                raise SteeringError(
                    f"{entry} would have edited no token in any of the {len(rows)} sequences: the results would be "
                    "unsteered. Choose positions that these sequences have."
                )
    return tuple(batches)


def skipped_blocks(configuration: Configuration) -> int:
    """How many blocks come before the first activation that a configuration edits, or that one of its gates reads."""
    sites = [site for entry in configuration for site in (entry.site, entry.gate_site) if site is not None]
    return min(site.layer + (site.kind == "resid_post") for site in sites)


def _prompts(lengths: Sequence[int], scored: Scored, given: Sequence[int] | None) -> Sequence[int]:
    """The length of each sequence's prompt."""
    if scored != "continuation":
        return lengths
    if given is None or len(given) != len(lengths) or any(not 0 < n < m for n, m in zip(given, lengths, strict=True)):
        raise DataError(
            f"prompt lengths {given} of sequences of {lengths} tokens; to score continuations, give each sequence a "
            "prompt of at least one token that is shorter than itself."
        )
    return given


def of_prompt(entry: Intervention) -> Intervention:
    """The intervention with `last`, which a continued pass cannot tell, as `last_prompt`."""
    return replace(entry, positions=_rule_of_prompt(entry.positions))


def _rule_of_prompt(rule: Positions) -> Positions:
    if rule.rule == "last":
        return Positions("last_prompt")
    return replace(rule, parts=tuple(_rule_of_prompt(part) for part in rule.parts))


def _selected(
    model: SteerableModel, rows: Sequence[Sequence[int]], prompts: Sequence[int], rules: set[Positions]
) -> dict[Positions, Bool[Tensor, "batch pos"]]:
    """The tokens that each rule selects, as steering itself reads them; rules that select none are left out."""
    tokens, mask = pad(model, rows)
    chunk = read_chunk((tokens,), {"attention_mask": mask}, model.tokenizer)
    lengths = torch.tensor(prompts, device="cpu")
    found = {rule: chunk.mask(rule, lengths) for rule in rules}
    return {rule: chosen for rule, chosen in found.items() if bool(chosen.any())}


def _starts(chosen: Bool[Tensor, "batch pos"], most: Tensor) -> Tensor:
    """The first selected token of each row, or `most` where that is less or there is none."""
    first = torch.where(chosen.any(dim=1), chosen.long().argmax(dim=1), most)
    return torch.minimum(first, most)


def _passes(
    model: SteerableModel,
    configurations: Mapping[int, Configuration],
    starts: Mapping[Positions, Tensor],
    lengths: Sequence[int],
    size: int,
) -> tuple[SharedPass, ...]:
    """The configurations by where they begin, cut to `size` configurations; small passes are joined where that pays."""
    groups: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for number, configuration in configurations.items():
        earliest = torch.stack([starts[entry.positions] for entry in configuration]).amin(dim=0)
        groups.setdefault((tuple(earliest.tolist()), skipped_blocks(configuration)), []).append(number)
    passes: list[SharedPass] = []
    for (begin, skipped), group in sorted(groups.items()):
        tokens = len(begin) * max(length - start for length, start in zip(lengths, begin, strict=True))
        for place in range(0, len(group), size):
            found = SharedPass(configurations=tuple(group[place : place + size]), skipped=skipped, starts=begin)
            n, last = len(found.configurations), passes[-1] if passes else None
            own = (int(model.cfg.n_layers) - skipped) * _WEIGHTS
            if last is None or last.starts != begin or len(last.configurations) + n > size:
                passes.append(found)
            elif (skipped - last.skipped) * n * tokens >= own:
                passes.append(found)
            else:
                passes[-1] = replace(last, configurations=last.configurations + found.configurations)
    return tuple(passes)
