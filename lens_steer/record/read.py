"""One batch through the model: what is kept of it, and where the forward pass ends.

The pass ends at the hook that shows the last wanted activation: no later block and no unembedding runs. A row of a
`Recording` says which sequence and which absolute position it comes from, so that order can be restored. This module
does not know what the activations are for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.model import Enough, SteerableModel, pad, run_hooks
from lens_steer.positions import Positions
from lens_steer.record.rows import Batch, TokenRows
from lens_steer.sites import Site
from lens_steer.steer import hooked


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of sequences: which sites, at which positions; prompt lengths where the rule speaks of the prompt."""

    sites: tuple[Site, ...]
    rule: Positions
    prompt_lengths: Sequence[int] | None = None

    def choose(
        self, batch: Batch, absolute: Int[Tensor, "batch pos"], valid: Bool[Tensor, "batch pos"]
    ) -> Bool[Tensor, "batch pos"]:
        """The tokens of whole sequences that the rule selects."""
        lengths = None if self.prompt_lengths is None else torch.tensor([self.prompt_lengths[i] for i in batch.rows])
        return self.rule.resolve(absolute, valid, lengths, valid.sum(dim=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """The activations of one batch: row i of every site belongs to sequence `sequences[i]` at `positions[i]`.

    Activations are float32 on the CPU, in the site's own units.
    """

    activations: Mapping[Site, Float[Tensor, "n d_model"]]
    sequences: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]


def read_batch(model: SteerableModel, rows: TokenRows, batch: Batch, reading: Reading) -> Recording:
    """Forwards one batch as far as is needed and keeps what was asked for.

    Args:
        model: a loaded model.
        rows: all sequences.
        batch: which of them.
        reading: what to keep.

    Returns:
        The activations, sequence by sequence in the batch's order, positions ascending.

    Raises:
        DataError: a sequence is empty or longer than the context.
    """
    tokens, mask = pad(model, [rows[index] for index in batch.rows])
    absolute = torch.arange(tokens.shape[1]).expand(tokens.shape)
    chosen = reading.choose(batch, absolute, mask.cpu().bool())
    kept = _take(model, tokens, mask, reading.sites, chosen)
    owner = torch.tensor(batch.rows)[:, None].expand(tokens.shape)
    return Recording(activations=kept, sequences=owner[chosen], positions=absolute[chosen])


def _take(
    model: SteerableModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    sites: Sequence[Site],
    chosen: Bool[Tensor, "batch pos"],
) -> dict[Site, Float[Tensor, "n d_model"]]:
    """The chosen tokens of each site in one pass, which ends when it has seen all sites."""
    kept: dict[Site, Tensor] = {}
    by_hook: dict[str, list[Site]] = {}
    for site in sites:
        by_hook.setdefault(site.hook_name, []).append(site)
    with hooked(model, {name: _keep(kept, here, chosen, len(sites)) for name, here in by_hook.items()}):
        run_hooks(model, tokens, mask)
    return kept


def _keep(
    kept: dict[Site, Tensor], sites: Sequence[Site], chosen: Bool[Tensor, "batch pos"], wanted: int
) -> Callable[[Tensor], None]:
    """A hook that keeps the chosen tokens and changes nothing, and ends the pass when all wanted sites are kept."""

    def run(activation: Tensor) -> None:
        for site in sites:
            kept[site] = site.read(activation.detach())[chosen.to(activation.device)].float().cpu()
        if len(kept) == wanted:
            raise Enough

    return run
