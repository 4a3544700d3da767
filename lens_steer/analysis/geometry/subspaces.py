"""Sets of vectors as subspaces: principal angles between two sets, and the effective rank of each.

The null is the central 95 % of `draws` sets of as many random directions of the same width. Directions are normalised
to unit length. Formulas and sources: `lens_steer.metrics.geometry`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.metrics.geometry import effective_rank, principal_angles
from lens_steer.model import require_same_model
from lens_steer.vector import SteeringVector

BAND = (0.025, 0.975)


def subspace_angles(
    first: Sequence[SteeringVector], second: Sequence[SteeringVector], site: SiteLike, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """The principal angles between the spans of two sets of vectors at a site.

    Args:
        first: linearly independent vectors that have the site.
        second: others of the same model.
        site: where.
        draws: pairs of random sets.
        seed: of the random sets.

    Returns:
        model, site, angle (1 is the smallest), degrees, null_low, null_high, n_first, n_second, n_random.

    Raises:
        ScoreError: a set is empty or linearly dependent.
        MismatchError: vectors of different models.
        SiteError: a vector lacks the site.
    """
    one, two = _rows(first, site), _rows(second, site)
    require_same_model(first[0].fingerprint, second[0].fingerprint, "the two sets of vectors")
    shapes = [one.shape, two.shape]
    null = _null(lambda sets: principal_angles(*sets).numpy(), shapes, draws, seed)
    degrees = principal_angles(one, two).tolist()
    return pd.DataFrame(
        {
            "model": first[0].fingerprint.label,
            "site": str(Site.parse(site)),
            "angle": range(1, len(degrees) + 1),
            "degrees": degrees,
            "null_low": null[0],
            "null_high": null[1],
            "n_first": len(one),
            "n_second": len(two),
            "n_random": draws,
        }
    )


def effective_ranks(
    sets: Mapping[str, Sequence[SteeringVector]], site: SiteLike, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """The effective rank of each set of vectors at a site.

    Args:
        sets: vectors by the name of their set, such as the behaviours of one method.
        site: where; every vector has it.
        draws: random sets.
        seed: of the random sets.

    Returns:
        model, set, site, n, effective_rank, null_low, null_high, n_random.

    Raises:
        ScoreError: there are no sets, or one is empty.
        MismatchError: vectors of different models.
        SiteError: a vector lacks the site.
    """
    if not sets:
        raise ScoreError("no sets of vectors; give at least one.")
    rows = []
    for name, vectors in sets.items():
        directions = _rows(vectors, site)
        null = _null(lambda drawn: np.array([effective_rank(drawn[0])]), [directions.shape], draws, seed)
        rows.append(
            {
                "model": vectors[0].fingerprint.label,
                "set": name,
                "site": str(Site.parse(site)),
                "n": len(directions),
                "effective_rank": effective_rank(directions),
                "null_low": null[0, 0],
                "null_high": null[1, 0],
                "n_random": draws,
            }
        )
    return pd.DataFrame(rows)


def _rows(vectors: Sequence[SteeringVector], site: SiteLike) -> Float[Tensor, "n width"]:
    """The unit directions of vectors of one model."""
    if not vectors:
        raise ScoreError("a set has no vectors; give at least one.")
    for vector in vectors[1:]:
        what = f"vectors {vectors[0].name!r} and {vector.name!r}"
        require_same_model(vectors[0].fingerprint, vector.fingerprint, what)
    return torch.stack([vector.at(site) / vector.norm(site) for vector in vectors])


def _null(
    measure: Callable[[list[Tensor]], np.ndarray], shapes: Sequence[torch.Size], draws: int, seed: int
) -> np.ndarray:
    """The 95 % band of a measure of sets of random directions."""
    if draws < 1:
        raise ScoreError(f"{draws} random sets; give at least one.")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        sets = [torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu") for shape in shapes]
        found.append(measure([rows / rows.norm(dim=1, keepdim=True) for rows in sets]))
    return np.quantile(np.stack(found), BAND, axis=0)
