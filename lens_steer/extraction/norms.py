"""Median activation norms, the unit of the `relative` strength scale, for vectors from other sources.

    activation_norm[site] = median ||h[site]|| over the chosen tokens of the given texts

`extract` measures them on its training tokens. Memory is one number per token and site.
"""

from collections.abc import Sequence

import torch

from lens_steer.errors import PositionError
from lens_steer.extraction.record import record
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, Sites, sites_of
from lens_steer.model import Prompts, SteerableModel


def activation_norms(
    model: SteerableModel,
    sequences: Prompts,
    sites: Sites,
    positions: str | int | Sequence[int] | Positions = "all",
    prompt_lengths: Sequence[int] | None = None,
    batch_size: int = 32,
) -> dict[Site, float]:
    """Measures the median activation norm at each site.

    Args:
        model: a loaded model.
        sequences: texts (BOS is added once) or token rows including BOS, like those the vector will be used on.
        sites: in the syntax of `parse_sites`.
        positions: which tokens, in the syntax of `Positions.parse`.
        prompt_lengths: number of prompt tokens of each sequence, for rules relative to the prompt.
        batch_size: sequences in one forward pass.

    Returns:
        The median norm of each site, in the units of its activations.

    Raises:
        SiteError: the model has no such site.
        PositionError: no sequence has such a position.
        DataError: no sequences, or one that is empty or longer than the context.

    Example:
        >>> from lens_steer import load_model
        >>> found = activation_norms(load_model("lab"), ["Once upon a time"], "resid_post@0:2")
        >>> [str(site) for site in found], all(norm > 0 for norm in found.values())
        (['resid_post@0', 'resid_post@1'], True)
    """
    wanted = sites_of(model, sites)
    norms: dict[Site, list[torch.Tensor]] = {site: [] for site in wanted}
    for batch in record(model, sequences, wanted, positions, prompt_lengths, batch_size):
        for site in wanted:
            norms[site].append(batch.activations[site].norm(dim=-1))
    whole = {site: torch.cat(parts) for site, parts in norms.items()}
    if not whole[wanted[0]].numel():
        raise PositionError(f"position {positions!r} selects no token of these sequences; choose one that they have.")
    return {site: float(values.median()) for site, values in whole.items()}
