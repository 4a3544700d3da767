"""Activations, streamed: for each batch of sequences, the wanted sites at the wanted positions, and nothing else.

Sequences are sorted by length into batches; every row says which sequence and which absolute position it comes from,
so that order can be restored. Memory is one batch, whatever the number of sequences. Recording inside an open `steer`
context records the steered model: hooks at one point act in the order in which they were installed. It does not know
what the activations are for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.batching import length_buckets
from lens_steer.errors import DataError, PositionError
from lens_steer.model import SteerableModel, forward, pad, tokenize
from lens_steer.positions import Positions
from lens_steer.progress import track
from lens_steer.sites import Site, SiteLike, by_hook_name, parse_sites
from lens_steer.steer import hooked


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """The activations of one batch: row i of every site belongs to sequence `sequences[i]` at `positions[i]`.

    Activations are float32 on the CPU, in the site's own units.
    """

    activations: Mapping[Site, Float[Tensor, "n width"]]
    sequences: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]


def record(
    model: SteerableModel,
    sequences: Sequence[str] | Sequence[Sequence[int]],
    sites: SiteLike | Sequence[SiteLike],
    positions: str | int | Sequence[int] | Positions = "all",
    prompt_lengths: Sequence[int] | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> Iterator[Recording]:
    """Streams the activations of sequences at the wanted sites and positions.

    Args:
        model: a loaded model.
        sequences: texts (BOS is added once), or token rows with BOS in them.
        sites: as `parse_sites` reads them, such as `"resid_post@*"`; all in one pass.
        positions: which tokens, as `Positions.parse` reads them.
        prompt_lengths: tokens of each sequence's prompt, BOS included; for rules that speak of the prompt.
        batch_size: sequences in one forward pass.
        progress: draw a progress bar.

    Returns:
        An iterator over batches; a batch holds whole sequences, shortest batches first.

    Raises:
        SiteError: the model has no such site.
        PositionError: the rule needs prompt lengths, or there is not one for each sequence.
        DataError: no sequences, or one that is empty or longer than the context.
    """
    rule, wanted = Positions.parse(positions), parse_sites(sites, int(model.cfg.n_layers), int(model.cfg.n_heads))
    rows = token_rows(model, sequences)
    if rule.needs_prompt_lengths and (prompt_lengths is None or len(prompt_lengths) != len(rows)):
        given = "none" if prompt_lengths is None else str(len(prompt_lengths))
        raise PositionError(
            f"position rule {str(rule)!r} needs the prompt's length of each of the {len(rows)} sequences; got {given}. "
            "Pass prompt_lengths (tokens, BOS included)."
        )
    return _stream(model, rows, wanted, rule, prompt_lengths, batch_size, progress)


def token_rows(model: SteerableModel, sequences: Sequence[str] | Sequence[Sequence[int]]) -> list[list[int]]:
    """Texts or token rows as token rows.

    Args:
        model: a loaded model.
        sequences: all texts, or all token rows.

    Returns:
        Token ids of each sequence.

    Raises:
        DataError: there are none, or texts and token rows are mixed.
    """
    texts = [entry for entry in sequences if isinstance(entry, str)]
    if not sequences or 0 < len(texts) < len(sequences):
        raise DataError(f"{len(sequences)} sequences, {len(texts)} of them texts; give all texts or all token rows.")
    if texts:
        return tokenize(model, texts)
    return [[int(token) for token in entry] for entry in sequences]


def _stream(
    model: SteerableModel,
    rows: list[list[int]],
    sites: tuple[Site, ...],
    rule: Positions,
    prompt_lengths: Sequence[int] | None,
    batch_size: int,
    progress: bool,
) -> Iterator[Recording]:
    """One forward pass a batch."""
    batches = length_buckets([len(row) for row in rows], batch_size)
    for batch in track(batches, "recording", len(batches), progress):
        tokens, mask = pad(model, [rows[index] for index in batch])
        absolute = torch.arange(tokens.shape[1]).expand(tokens.shape)
        lengths = None if prompt_lengths is None else torch.tensor([prompt_lengths[index] for index in batch])
        chosen = rule.resolve(absolute, mask.cpu().bool(), lengths, mask.sum(dim=1).cpu())
        kept: dict[Site, Tensor] = {}
        with hooked(model, {name: _keep(kept, here, chosen) for name, here in by_hook_name(sites).items()}):
            forward(model, tokens, mask, keep=torch.zeros(1, dtype=torch.long, device=tokens.device))
        owner = torch.tensor(batch)[:, None].expand(tokens.shape)
        yield Recording(activations=kept, sequences=owner[chosen], positions=absolute[chosen])


def _keep(
    kept: dict[Site, Tensor], sites: Sequence[Site], chosen: Bool[Tensor, "batch pos"]
) -> Callable[[Tensor], None]:
    """A hook that keeps the chosen tokens of each site and changes nothing."""

    def run(activation: Tensor) -> None:
        for site in sites:
            kept[site] = site.read(activation.detach())[chosen.to(activation.device)].float().cpu()

    return run
