"""Quality report on a vector, from activations alone: norm, stability and separability of its directions.

    norm, relative_norm        ||v||, and over the median activation norm of the site
    split_half_cosine          cos of the method's directions of two random halves of the training pairs
    agreement                  mean cosine of a training pair's difference with the mean of the others; held-out pairs:
                               with v itself
    d_prime, overlap, auroc    of held-out activations projected on v
    energy_1, _2, _10          share of ||v||^2 in the largest dimensions (massive activations)

Definitions and source: `lens_steer.metrics.quality` (Braun et al. 2025, arXiv 2505.22637). Undefined values are NaN:
split halves for joint or grouped methods and those not in `METHODS`, agreement without pairs, separability without
held-out data. None of the numbers shows that a vector steers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.contrast import ContrastSet
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import MismatchError, ScoreError
from lens_steer.extraction import contrast_activations
from lens_steer.extraction.methods import METHODS
from lens_steer.hooks.sites import Site
from lens_steer.metrics.quality import (
    cosine_by_size,
    directional_agreement,
    energy_shares,
    separability,
    split_half_cosine,
)
from lens_steer.model import SteerableModel, fingerprint, require_same_model
from lens_steer.vector import SteeringVector

ENERGY = (1, 2, 10)


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """`sites`: one row per site; `sizes`: one row per site and number of pairs, with the cosine to the full vector."""

    vector: str
    sites: pd.DataFrame
    sizes: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """One row a site; a copy."""
        return self.sites.copy()


def vector_quality(
    model: SteerableModel,
    vector: SteeringVector,
    training: ContrastSet | TextContrast,
    held_out: ContrastSet | TextContrast | None = None,
    repeats: int = 20,
    seed: int = 0,
    batch_size: int = 32,
) -> Quality:
    """Reports on a vector at each of its sites.

    Args:
        model: the vector's model.
        vector: an extracted vector.
        training: what it was extracted from.
        held_out: a contrast of the same kind that it was not extracted from.
        repeats: random halves, and random choices of each number of pairs.
        seed: the same seed gives the same numbers.
        batch_size: sequences in one forward pass.

    Returns:
        The report.

    Raises:
        MismatchError: a vector of another model, or of other training data.
        ScoreError: too little data for a number that was asked for.
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model")
    if training.hash != vector.data_hash:
        raise MismatchError(
            f"vector {vector.name!r} was not extracted from {training.name!r} (their hashes differ); give its own "
            "training data, and other data as held_out."
        )
    if repeats < 1:
        raise ScoreError(f"{repeats} repeats; give at least one.")
    read = partial(contrast_activations, model, sites=vector.sites, position=vector.position, batch_size=batch_size)
    trained, tested = read(training), None if held_out is None else read(held_out)
    method, paired = _method(vector), isinstance(training, ContrastSet)
    rows, sizes = [], []
    for site in vector.sites:
        pos, neg = trained[site]
        row = _lengths(vector, site)
        aligned = paired and len(pos) == len(neg)
        if aligned and len(pos) > 1:
            row["agreement"] = directional_agreement(pos - neg)
        if method is not None and min(len(pos), len(neg)) >= 4:
            row["split_half_cosine"] = split_half_cosine(pos, neg, method, repeats, seed, aligned)
            grid = _sizes(min(len(pos), len(neg)))
            found = cosine_by_size(pos, neg, method, grid, repeats, seed, aligned)
            sizes += [{"site": str(site), **vars(entry)} for entry in found]
        if tested is not None:
            row |= _held_out(vector, site, *tested[site], isinstance(held_out, ContrastSet))
        rows.append(row)
    columns = [*_COLUMNS, *(f"energy_{k}" for k in ENERGY), "dimensions"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return Quality(vector=vector.name, sites=frame, sizes=pd.DataFrame(sizes, columns=list(_SIZE_COLUMNS)))


_COLUMNS = ("site", "norm", "relative_norm", "split_half_cosine", "agreement")
_COLUMNS += ("agreement_held_out", "d_prime", "overlap", "auroc")
_SIZE_COLUMNS = ("site", "size", "mean", "low", "high", "repeats")


def _method(vector: SteeringVector) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The vector's own method as a function of two classes; None where halves of the data have no direction of it."""
    found = METHODS.get(vector.method)
    if found is None or found.joint or found.grouped or found.name == "single_pair" or "expression" in vector.options:
        return None
    return partial(found.function, **vector.options.get("method", {}))


def _lengths(vector: SteeringVector, site: Site) -> dict[str, object]:
    """Numbers from the direction alone."""
    direction = vector.at(site)
    energy = energy_shares(direction, [k for k in ENERGY if k <= len(direction)])
    return {
        "site": str(site),
        "norm": vector.norm(site),
        "relative_norm": vector.norm(site) / vector.activation_norm(site),
        **{f"energy_{k}": share for k, share in energy.shares.items()},
        "dimensions": " ".join(map(str, energy.dimensions)),
    }


def _held_out(vector: SteeringVector, site: Site, pos: Tensor, neg: Tensor, paired: bool) -> dict[str, float]:
    """Numbers from held-out activations."""
    found = separability(pos, neg, vector.at(site))
    said = {"d_prime": found.d_prime, "overlap": found.overlap, "auroc": found.auroc}
    if paired and len(pos) == len(neg):
        said["agreement_held_out"] = directional_agreement(pos - neg, vector.at(site))
    return said


def _sizes(n: int) -> Sequence[int]:
    """Numbers of pairs, doubling up to half of all pairs; larger samples overlap too much with the full set."""
    sizes = [2]
    while sizes[-1] * 2 <= n // 2:
        sizes.append(sizes[-1] * 2)
    return sizes
