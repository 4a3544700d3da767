"""Directions of random halves of the data, for noise correction.

    halves[site][s, i] = method(pos[half i of split s], neg[half i of split s])

Rows of the same item (its two option orders) stay in the same half; otherwise both halves would share their noise and
reliability would be overestimated. The same seed splits data of the same size in the same way, so that methods and
sites can be compared on the same halves.
"""

from collections.abc import Callable, Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.hooks.sites import Site

Halves = Mapping[Site, Float[Tensor, "resample 2 width"]]
"""For each site, the directions of both halves of every split."""


def half_directions(
    sides: Mapping[Site, tuple[Tensor, Tensor]],
    method: Callable[[Tensor, Tensor], Tensor],
    splits: int = 20,
    block: int = 2,
    seed: int = 0,
) -> Halves:
    """The directions of random halves of paired data.

    Args:
        sides: from `contrast_activations`: for each site the positive and the negative rows, row i of both of one pair.
        method: makes a direction of both classes, such as `METHODS["mean_difference"].function`.
        splits: random halvings.
        block: so many pairs in a row go into one half together; 2 for items asked in both option orders.
        seed: the same seed gives the same halves.

    Returns:
        Directions by site; a block too many is left out.

    Raises:
        ScoreError: no splits, classes that are not paired, or fewer than two blocks.
    """
    lengths = {len(side) for both in sides.values() for side in both}
    if len(lengths) != 1 or splits < 1 or block < 1 or min(lengths) < 2 * block:
        raise ScoreError(
            f"sides of {sorted(lengths)} rows, {splits} splits, blocks of {block}; give paired sides of one length, "
            "two blocks or more, and at least one split."
        )
    generator, count = torch.Generator().manual_seed(seed), lengths.pop() // block
    found: dict[Site, list[Tensor]] = {site: [] for site in sides}
    for _ in range(splits):
        order = torch.randperm(count, generator=generator, device="cpu")[: count // 2 * 2]
        starts = block * rearrange(order, "(half n) -> half n 1", half=2)
        rows = rearrange(starts + torch.arange(block, device="cpu"), "half n block -> half (n block)")
        for site, (pos, neg) in sides.items():
            found[site].append(torch.stack([method(pos[half], neg[half]).detach() for half in rows]))
    return {site: torch.stack(directions) for site, directions in found.items()}
