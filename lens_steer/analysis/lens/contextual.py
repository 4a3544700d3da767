"""Contextual reading: the effect of steering with a direction on the next-token log-probabilities in real contexts.

    change_+-[c, t] = log p(t | context c, steered by +- strength v) - log p(t | context c)
    contextual[t]   = mean over contexts of (change_+[c, t] - change_-[c, t]) / 2

The half difference is odd in v, like the static readings: effects independent of the sign of the perturbation cancel;
they remain in the two changes. The reading depends on the strength and the contexts, and approaches the derivative for
small strengths. Only the next token is considered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.analysis.lens.readings import LensReading
from lens_steer.errors import DataError, ScoreError
from lens_steer.extraction.record import token_rows
from lens_steer.hooks import Intervention, Interventions, Scale, as_interventions, steer
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import Prompts, SteerableModel, next_logits
from lens_steer.model.batching import length_buckets
from lens_steer.vector import SteeringVector


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
    unsteered: Float[Tensor, "n d_vocab"] | None = None,
) -> LensReading:
    """The change of every token's log-probability in real contexts; see the module's formula.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of its sites; heads too, nothing is mapped.
        contexts: where, and how strongly.
        unsteered: `unsteered_log_probs` of the same contexts, where many directions are read in them.

    Returns:
        The mean half difference, in nats, with the changes in every context.

    Raises:
        MismatchError: a vector of another model.
        ScoreError: the strength is not above 0.
        DataError: there are no contexts, or one is empty or too long.
        SteeringError: the position rule selects no token of any context.
    """
    if not contexts.strength > 0:
        raise ScoreError(f"strength {contexts.strength:g}; give one above 0: it is added and subtracted.")
    before = unsteered_log_probs(model, contexts) if unsteered is None else unsteered
    edits = [
        Intervention.of(vector, site, sign * contexts.strength, contexts.scale, contexts.positions) for sign in (1, -1)
    ]
    changes = torch.stack([_log_probs(model, contexts, [edit]) for edit in edits]) - before
    return LensReading(
        vector=vector.name,
        site=Site.parse(site),
        kind="contextual",
        values=(changes[0] - changes[1]).mean(dim=0) / 2,
        unit="nats",
        note=f"strength {contexts.strength:g} ({contexts.scale}), positions {Positions.parse(contexts.positions)}",
        changes=changes,
    )


def unsteered_log_probs(model: SteerableModel, contexts: Contexts) -> Float[Tensor, "n d_vocab"]:
    """The log-probability of every token after each context, with nothing steered.

    Args:
        model: a loaded model.
        contexts: where.
    """
    return _log_probs(model, contexts, [])


def _log_probs(model: SteerableModel, contexts: Contexts, edits: Sequence[Intervention]) -> Float[Tensor, "n d_vocab"]:
    logits = over_contexts(model, contexts.texts, edits, lambda rows: next_logits(model, rows), contexts.batch_size)
    return logits.log_softmax(dim=-1)


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
    rows = list(token_rows(model, texts))
    if not all(rows):
        raise DataError("an empty context has no last token; leave it out.")
    found: dict[int, Tensor] = {}
    with steer(model, *as_interventions(interventions), prompt_lengths=[len(rows[0])]) as steering:
        for bucket in length_buckets([len(row) for row in rows], batch_size):
            steering.set_prompt_lengths([len(rows[index]) for index in bucket])
            found |= dict(zip(bucket, read([rows[index] for index in bucket]), strict=True))
    return torch.stack([found[index] for index in range(len(rows))])
