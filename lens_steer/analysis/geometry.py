"""Angles between directions: several vectors at one site, or one vector at all its layers.

    cosine(v, w) = v . w / (||v|| ||w||)

Two random directions in d dimensions have a cosine of about 0 +- 1/sqrt(d): read small values against that. A cosine
between layers compares directions in one residual stream; it says nothing of how the layers between transform them.
"""

import math
from collections.abc import Mapping

import pandas as pd

from lens_steer.errors import ScoreError
from lens_steer.sites import Site, SiteLike
from lens_steer.vector import SteeringVector


def cosine_map(vectors: Mapping[str, SteeringVector], site: SiteLike) -> pd.DataFrame:
    """The cosine of every two vectors at one site.

    Args:
        vectors: vectors of one model, by the name they get in the table.
        site: where; every vector has it.

    Returns:
        One row for each ordered pair: site, first, second, cosine, and `chance`, the standard deviation
        1/sqrt(d_model) of the cosine of two random directions.

    Raises:
        ScoreError: there are no vectors.
        MismatchError: the vectors are of different models.
        SiteError: a vector lacks the site.
    """
    if not vectors:
        raise ScoreError("no vectors; give at least one.")
    where = str(Site.parse(site))
    rows = [
        {"site": where, "first": first, "second": second, "cosine": v.cosine(w, site), "chance": _chance(v)}
        for first, v in vectors.items()
        for second, w in vectors.items()
    ]
    return pd.DataFrame(rows)


def layer_map(vector: SteeringVector) -> pd.DataFrame:
    """The cosine of a vector's directions at every two of its sites.

    Args:
        vector: a vector of one or more sites.

    Returns:
        One row for each ordered pair: vector, first site, second site, cosine, and `chance` as in `cosine_map`.
    """
    units = {site: direction.double() / direction.double().norm() for site, direction in vector.directions.items()}
    rows = [
        {
            "vector": vector.name,
            "first_site": str(first),
            "second_site": str(second),
            "cosine": float((v @ w).clamp(-1, 1)),
            "chance": _chance(vector),
        }
        for first, v in units.items()
        for second, w in units.items()
    ]
    return pd.DataFrame(rows)


def _chance(vector: SteeringVector) -> float:
    return 1 / math.sqrt(vector.fingerprint.d_model)
