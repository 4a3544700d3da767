"""Preparation of an extraction: checks all inputs, tokenises and plans the batches before the first forward pass.

`recordings` then runs the plan.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.data.contrast import ContrastSet
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import MethodError, PositionError, SharedPrefixWarning
from lens_steer.extraction.methods import check_memory, find_method
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.record import ReadSpec, Recording, RowBatch, locate, plan_pairs, plan_rows, read_batch
from lens_steer.extraction.sequences import Sequences, read_source
from lens_steer.extraction.store import Store
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, check_site
from lens_steer.model import SteerableModel, is_hooked, why_not_shared


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class ExtractionTask:
    """What is read of which sequences, in which batches; `n_positive` and `n_negative` count activations."""

    sequences: Sequences
    reading: ReadSpec
    plan: list[RowBatch]
    n_positive: int
    n_negative: int
    why_not_shared: str = ""


def prepare(
    model: SteerableModel,
    source: ContrastSet | TextContrast,
    sites: tuple[Site, ...],
    method: str,
    rule: Positions,
    batch_size: int,
    options: ExtractOptions,
) -> ExtractionTask:
    """Tokenises, plans and counts.

    Args:
        model: a loaded model.
        source: the contrast.
        sites: the sites to read.
        method: the method's name.
        rule: the tokens to read.
        batch_size: sequences in one forward pass.
        options: further settings.

    Returns:
        The task.

    Raises:
        SiteError: the model has no such site.
        MethodError: no such method, a contrast or groups that it cannot work on, or more memory than it may take.
        PositionError, ContrastError, DataError: as `read_source` says, or a sequence has no such position.
    """
    _check_method(source, method)
    for site in sites:
        check_site(model, site)
    sequences = read_source(model, source, rule.needs_prompt_lengths, options.too_long == "cut")
    reading = ReadSpec(sites=sites, rule=rule, prompt_lengths=sequences.prompt_lengths, medians=options.drop_massive)
    reason = _why_not_shared(model) if sequences.paired and options.share_prefix else ""
    share = options.share_prefix and not reason
    plan = plan_pairs(sequences.rows, batch_size, share) if sequences.paired else plan_rows(sequences.rows, batch_size)
    counts = _counts(sequences, reading, plan)
    if find_method(method).paired and not torch.equal(counts[0::2], counts[1::2]):
        label = sequences.label(2 * int((counts[0::2] != counts[1::2]).nonzero()[0]))
        raise PositionError(
            f"{label}: position {str(rule)!r} selects more tokens on one side than on the other, and {method} works on "
            "pairs of activations; read at 'last', or choose a method for unpaired sides, such as 'mean_difference'."
        )
    positive = sequences.is_positive(torch.arange(len(counts), device="cpu"))
    n_positive, n_negative = int(counts[positive].sum()), int(counts[~positive].sum())
    widths = [site.width(int(model.cfg.d_model), int(model.cfg.d_head)) or 0 for site in sites]
    check_memory(method, n_positive, n_negative, widths, options.memory_limit)
    return ExtractionTask(
        sequences=sequences,
        reading=reading,
        plan=plan,
        n_positive=n_positive,
        n_negative=n_negative,
        why_not_shared=reason,
    )


def recordings(
    model: SteerableModel, task: ExtractionTask, cache: str | Path | None, progress: bool
) -> Iterator[Recording]:
    """Runs a task's plan, batch by batch.

    Args:
        model: the model it was prepared for.
        task: what to read.
        cache: a folder of activations to read from and write to, or None.
        progress: draw a bar that counts pairs, or texts.

    Returns:
        An iterator over the batches.

    Raises:
        SteeringError: a cache was asked for while hooks are installed on the model.
    """
    rows, store = task.sequences.rows, Store.open(cache, model, _about(task))
    each = 2 if task.sequences.paired else 1

    def size(step: tuple[int, RowBatch]) -> int:
        return len(step[1].rows) // each

    for number, batch in track(enumerate(task.plan), "extracting", len(rows) // each, progress, size):
        if store is None:
            yield read_batch(model, rows, batch, task.reading)
        else:
            yield store.read_batch(model, rows, batch, number, task.reading)


def _check_method(source: ContrastSet | TextContrast, method: str) -> None:
    """Raises where a method cannot be applied to a contrast."""
    found = find_method(method)
    if found.paired and not isinstance(source, ContrastSet):
        raise MethodError(
            f"{method} works on pairs and text contrast {source.name!r} has none; choose a method for unpaired sides, "
            "such as 'mean_difference'."
        )
    if found.grouped and isinstance(source, ContrastSet):
        lone = next((pair.id for pair in source.pairs if not pair.group), None)
        if lone is not None:
            raise MethodError(
                f"{method} needs the group of every pair; pair {lone!r} of contrast set {source.name!r} has none. "
                "contrast_from_choices gives each pair its letter; name ContrastPair(group=...) in pairs of your own."
            )


def _why_not_shared(model: SteerableModel) -> str:
    """Why prefixes are not shared on this model as it stands; a model that cannot share at all is warned about."""
    if is_hooked(model):
        return "hooks are installed on the model"
    reason = why_not_shared(model)
    if reason:
        warnings.warn(
            f"what both sides of a pair begin with is forwarded twice on this model: {reason}.",
            SharedPrefixWarning,
            stacklevel=4,
        )
    return reason


def _counts(sequences: Sequences, reading: ReadSpec, plan: list[RowBatch]) -> Int[Tensor, " n"]:
    """The number of tokens read from each sequence; raises for a sequence without any."""
    counts = torch.zeros(len(sequences.rows), dtype=torch.long, device="cpu")
    for batch in plan:
        counts += torch.bincount(locate(sequences.rows, batch, reading)[0], minlength=len(counts))
    if not bool(counts.all()):
        raise PositionError(
            f"{sequences.label(int((counts == 0).nonzero()[0]))}: position {str(reading.rule)!r} selects no token of "
            "one side; choose a position that every sequence has, such as 'last'."
        )
    return counts


def _about(task: ExtractionTask) -> dict[str, Any]:
    """Everything that the activations depend on besides the model."""
    return {
        "tokens": task.sequences.rows,
        "prompts": task.reading.prompt_lengths,
        "position": task.reading.rule,
        "medians": task.reading.medians,
        "plan": [[batch.rows, batch.prefixes] for batch in task.plan],
    }
