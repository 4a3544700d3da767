"""The activations of a contrast as two matrices per site, for analyses that need all rows (halves, samples, plots).

    sides[site] = (pos (n_pos, width), neg (n_neg, width))      of pairs, row i of both belongs to the same pair

They take `n_pos + n_neg` rows of float32 per site, up to the memory limit of the options. Rows are in the order of the
contrast, independent of the batches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lens_steer.data.contrast import Contrast, as_contrast
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.task import prepare, recordings
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, Sites, sites_of
from lens_steer.model import SteerableModel, require_model

_KEEPS_AS_MUCH = "median_difference"


def contrast_activations(
    model: SteerableModel,
    source: Contrast,
    negatives: Sequence[str] | None = None,
    sites: Sites = "resid_post@*",
    position: str | int | Sequence[int] | Positions = "last",
    batch_size: int = 32,
    cache: str | Path | None = None,
    options: ExtractOptions | None = None,
    paired: bool = False,
) -> Mapping[Site, tuple[Tensor, Tensor]]:
    """Reads all activations of a contrast.

    Args:
        model: a loaded model.
        source: positive texts; (positive, negative) pairs of texts; or a contrast set or text contrast.
        negatives: negative texts, where the source is a list of positive texts.
        sites: in the syntax of `parse_sites`; all in one pass.
        position: which tokens are read, in the syntax of `Positions.parse`.
        batch_size: sequences in one forward pass.
        cache: a folder for activations, shared with `extract`.
        options: as for `extract`; the method's options and `drop_massive` are ignored.
        paired: whether text i of both lists is a pair; otherwise the lists may differ in length.

    Returns:
        For each site the positive and the negative rows, float32 on the CPU.

    Raises:
        SiteError, PositionError, ContrastError, DataError: as `extract` says.
        MethodError: they would take more memory than the options allow.
        ActivationError: an activation is NaN or infinite.
    """
    require_model(model, "contrast_activations(model, positives, negatives)", source, negatives, sites)
    contrast = as_contrast(source, negatives, paired)
    options, wanted = options or ExtractOptions(), sites_of(model, sites)
    task = prepare(model, contrast, wanted, _KEEPS_AS_MUCH, Positions.parse(position), batch_size, options)
    found = list(recordings(model, task, cache, options.progress))
    for recording in found:
        recording.require_finite(task.sequences.label)
    sequences, places = (torch.cat([getattr(r, name) for r in found]) for name in ("sequences", "positions"))
    order = torch.argsort(sequences * (int(places.max()) + 1) + places)
    positive = task.sequences.is_positive(sequences[order])
    sides = {}
    for site in wanted:
        rows = torch.cat([recording.activations[site] for recording in found])[order]
        sides[site] = rows[positive], rows[~positive]
    return sides
