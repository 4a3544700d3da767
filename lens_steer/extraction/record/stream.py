"""`record`: streams the activations of sequences at the requested sites and positions.

Sequences are sorted by length into batches; each pass stops at the last requested site. Memory is one batch plus the
tokens. Inside an open `steer` context, the steered model is recorded: hooks at one point act in the order in which they
were installed.
"""

from collections.abc import Iterator, Sequence

from lens_steer._util.progress import track
from lens_steer.errors import PositionError
from lens_steer.extraction.record.read import ReadSpec, Recording, read_batch
from lens_steer.extraction.record.rows import TokenRows, plan_rows, token_rows
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Sites, sites_of
from lens_steer.model import Prompts, SteerableModel, require_model


def record(
    model: SteerableModel,
    sequences: Prompts,
    sites: Sites,
    positions: str | int | Sequence[int] | Positions = "all",
    prompt_lengths: Sequence[int] | None = None,
    batch_size: int = 32,
    progress: bool = False,
    medians: bool = False,
) -> Iterator[Recording]:
    """Streams the activations of sequences at the requested sites and positions.

    Args:
        model: a loaded model.
        sequences: texts (BOS is added once), or token rows with BOS in them.
        sites: in the syntax of `parse_sites`, such as `"resid_post@*"`; all in one pass.
        positions: which tokens, as `Positions.parse` reads them.
        prompt_lengths: tokens of each sequence's prompt, BOS included; for rules that speak of the prompt.
        batch_size: sequences in one forward pass.
        progress: draw a progress bar.
        medians: also find the median norm of each sequence, by which `Recording.ordinary` tells massive activations.

    Returns:
        An iterator over batches; a batch holds whole sequences, shortest batches first.

    Raises:
        SiteError: the model has no such site.
        PositionError: the rule needs prompt lengths, or there is not one for each sequence.
        DataError: no sequences, or one that is empty or longer than the context.
        ActivationError: an activation is NaN or infinite.
    """
    require_model(model, "record(model, texts, sites)", sequences, sites)
    rule, wanted = Positions.parse(positions), sites_of(model, sites)
    rows = token_rows(model, sequences)
    if rule.needs_prompt_lengths and (prompt_lengths is None or len(prompt_lengths) != len(rows)):
        given = "none" if prompt_lengths is None else str(len(prompt_lengths))
        raise PositionError(
            f"position rule {str(rule)!r} needs the prompt's length of each of the {len(rows)} sequences; got {given}. "
            "Pass prompt_lengths (tokens, BOS included)."
        )
    reading = ReadSpec(sites=wanted, rule=rule, prompt_lengths=prompt_lengths, medians=medians)
    return _stream(model, rows, reading, batch_size, progress)


def _stream(
    model: SteerableModel, rows: TokenRows, reading: ReadSpec, batch_size: int, progress: bool
) -> Iterator[Recording]:
    """One forward pass per batch."""
    batches = plan_rows(rows, batch_size)
    for batch in track(batches, "recording", len(batches), progress):
        recording = read_batch(model, rows, batch, reading)
        recording.require_finite()
        yield recording
