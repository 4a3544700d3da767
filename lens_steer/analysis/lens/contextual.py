"""Contextual reading: the effect of steering with a direction on the next-token log-probabilities in real contexts.

    change_+-[c, t] = log p(t | context c, steered by +- strength v) - log p(t | context c)
    contextual[t]   = mean over contexts of (change_+[c, t] - change_-[c, t]) / 2

The half difference is odd in v, like the static readings: effects independent of the sign of the perturbation cancel;
they remain in the two changes. The reading depends on the strength and the contexts, and approaches the derivative for
small strengths. Only the next token is considered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.analysis.lens.readings import LensReading
from lens_steer.errors import DataError, ScoreError
from lens_steer.extraction.record import token_rows
from lens_steer.hooks import Intervention, Interventions, Scale, as_interventions, named, steer
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import Logits, Prompts, SteerableModel, logits_after
from lens_steer.model.batching import length_buckets
from lens_steer.vector import SteeringVector

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """The contexts (whole prompts) in which a direction is applied, and the strength."""

    texts: Sequence[str] | Sequence[Sequence[int]]
    strength: float = 1.0
    scale: Scale = "raw"
    positions: str | int | Sequence[int] | Positions = field(default="all")
    batch_size: int = 32


def contextual_reading(
    model: SteerableModel,
    vector: SteeringVector,
    site: SiteLike,
    contexts: Contexts,
    unsteered: Sequence[Logits] = (),
    changes: bool = True,
) -> LensReading:
    """The change of every token's log-probability in real contexts; see the module's formula.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of its sites; heads too, nothing is mapped.
        contexts: where, and how strongly.
        unsteered: `context_logits` of the same contexts with nothing steered, where many directions are read in them.
        changes: keep the changes in every context, two rows of the vocabulary each; without them, a table has no
            intervals.

    Returns:
        The mean half difference, in nats, with the changes in every context.

    Raises:
        MismatchError: a vector of another model.
        ScoreError: the strength is not above 0.
        DataError: there are no contexts, or one is empty or too long.
        SteeringError: the position rule selects no token of any context.
        LogitError: logits are NaN or infinite.
    """
    if not contexts.strength > 0:
        raise ScoreError(f"strength {contexts.strength:g}; give one above 0: it is added and subtracted.")
    edits = [
        Intervention.of(vector, site, sign * contexts.strength, contexts.scale, contexts.positions) for sign in (1, -1)
    ]
    before = unsteered or context_logits(model, contexts)
    steered = [context_logits(model, contexts, [edit]) for edit in edits]
    total, kept = torch.zeros((), dtype=torch.float64, device="cpu"), []
    for plain, *both in zip(before, *steered, strict=True):
        for part in plain.parts():
            base, moved = plain.at(part).log_softmax(dim=-1), []
            for logits, edit in zip(both, edits, strict=True):
                with named([edit]):
                    moved.append(logits.numbers(part, lambda chunk, base=base: _change(chunk, base)).cpu())
            total = total + (moved[0] - moved[1]).sum(dim=0, dtype=torch.float64)
            kept += [torch.stack(moved)] if changes else []
    order = torch.cat([logits.of for logits in before]).argsort()
    return LensReading(
        vector=vector.name,
        site=Site.parse(site),
        kind="contextual",
        values=(total / (2 * len(order))).float(),
        unit="nats",
        note=f"strength {contexts.strength:g} ({contexts.scale}), positions {Positions.parse(contexts.positions)}",
        changes=torch.cat(kept, dim=1)[:, order] if changes else None,
    )


def context_logits(model: SteerableModel, contexts: Contexts, interventions: Interventions = ()) -> list[Logits]:
    """The logits after each context, batch by batch, which are made when they are read.

    Args:
        model: a loaded model.
        contexts: where.
        interventions: what steers; none leaves the model unhooked.

    Raises:
        DataError: there are no contexts, or one is empty.
    """

    def read(rows: list[Sequence[int]], places: list[int]) -> Logits:
        return logits_after(model, rows, of=places)

    return [logits for _, logits in _by_batch(model, contexts.texts, interventions, read, contexts.batch_size)]


def _change(logits: Float[Tensor, "k d_vocab"], before: Float[Tensor, "k d_vocab"]) -> Float[Tensor, "k d_vocab"]:
    """The change of each log-probability; 0 of tokens that the model never says, steered or not."""
    after = logits.log_softmax(dim=-1)
    return torch.where(after == before, 0.0, after - before)


def over_contexts(
    model: SteerableModel,
    texts: Prompts,
    interventions: Interventions,
    read: Callable[[Sequence[Sequence[int]]], Tensor],
    batch_size: int = 32,
) -> Tensor:
    """Applies a read function to every context while interventions act, each context as a whole prompt.

    Args:
        model: a loaded model.
        texts: the contexts, as texts or token rows.
        interventions: what steers; none leaves the model unhooked.
        read: runs the model on token rows and gives one row of numbers each.
        batch_size: contexts in one forward pass.

    Returns:
        One row a context, in their order.

    Raises:
        DataError: there are no contexts, or one is empty.
    """
    found: dict[int, Tensor] = {}
    for places, numbers in _by_batch(model, texts, interventions, lambda rows, _: read(rows), batch_size):
        found |= dict(zip(places, numbers, strict=True))
    return torch.stack([found[place] for place in range(len(found))])


def _by_batch(
    model: SteerableModel,
    texts: Prompts,
    interventions: Interventions,
    read: Callable[[list[Sequence[int]], list[int]], T],
    batch_size: int,
) -> list[tuple[list[int], T]]:
    """The places of the contexts of each batch, and what is read of it while interventions act."""
    rows, found = list(token_rows(model, texts)), []
    if not all(rows):
        raise DataError("an empty context has no last token; leave it out.")
    with steer(model, *as_interventions(interventions), prompt_lengths=[len(rows[0])]) as steering:
        for places in length_buckets([len(row) for row in rows], batch_size):
            steering.set_prompt_lengths([len(rows[place]) for place in places])
            found.append((places, read([rows[place] for place in places], places)))
    return found
