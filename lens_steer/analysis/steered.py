"""Activations of token rows under steering, in batches whose order does not depend on the interventions."""

from collections.abc import Callable
from typing import TypeVar

from lens_steer.errors import PositionError
from lens_steer.extraction.record import ReadSpec, Recording, TokenRows, plan_rows, read_pass
from lens_steer.hooks import Interventions, as_interventions, steer
from lens_steer.model import SteerableModel

T = TypeVar("T")


def collect(
    model: SteerableModel,
    rows: TokenRows,
    reading: ReadSpec,
    interventions: Interventions,
    batch_size: int,
    reduce: Callable[[Recording], T],
) -> list[T]:
    """Reads all rows once.

    Args:
        model: a loaded model.
        rows: the sequences.
        reading: what is read; where it has no prompt lengths, each whole row is a prompt.
        interventions: what steers; what is read is read after it.
        batch_size: sequences in one forward pass.
        reduce: what is kept of each batch.

    Returns:
        One result a batch; the batches, and the rows in them, depend on the lengths alone.

    Raises:
        SiteError: the model has no such site.
        PositionError: the reading's rule selects no token of any row.
        SteeringError: an intervention selected no token of any row.
        ActivationError: an activation is NaN or infinite.
    """
    lengths = reading.prompt_lengths or [rows.length(index) for index in range(len(rows))]
    kept, seen = [], 0
    with steer(model, *as_interventions(interventions), prompt_lengths=lengths[0]) as steering:
        for batch in plan_rows(rows, batch_size):
            steering.set_prompt_lengths([lengths[index] for index in batch.rows])
            recording = read_pass(model, rows, batch, reading)
            recording.require_finite()
            seen += len(recording.sequences)
            kept.append(reduce(recording))
    if not seen:
        raise PositionError(f"position rule {str(reading.rule)!r} selects no token of these sequences; choose another.")
    return kept
