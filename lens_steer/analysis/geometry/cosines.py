"""Cosines between directions: of vectors at one site, of one vector across sites, or all pairs.

    cosine(v, w) = v . w / (||v|| ||w||)

Each cosine comes with its 95 % band under random directions, isotropic (exact) or with the covariance of given rows,
and a p-value corrected over all pairs of the table (Holm 1979). Noise shrinks cosines; with `half_directions`, the
table also has noise-corrected cosines and reliabilities. A cosine between layers compares directions in the residual
stream and ignores how the layers in between transform them. Vectors of different behaviours from the same question
template can have a positive cosine because of the template alone. Formulas and sources: `lens_steer.metrics.geometry`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.plotting import draw
from lens_steer._util.shown import shown
from lens_steer.analysis.geometry.halves import Halves
from lens_steer.analysis.lens.stream import in_stream
from lens_steer.errors import MismatchError, ScoreError, SiteError
from lens_steer.hooks.sites import HEADS, Site, SiteLike
from lens_steer.metrics.geometry import corrected_cosine, cosine_band, cosine_p, reliability, unrelated_directions
from lens_steer.metrics.significance import control_p, with_holm
from lens_steer.model import SteerableModel, require_same_model
from lens_steer.vector import SteeringVector

Rows = Mapping[str, Mapping[Site, Tensor]]
"""Rows of activations by the vector's name and the site; for the null, the differences of the vector's pairs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """One direction of the table, in the residual stream, with its halves and rows where given."""

    vector: str
    site: Site
    direction: Float[Tensor, " width"]
    note: str
    halves: Float[Tensor, "resample 2 width"] | None
    null: Float[Tensor, "n width"] | None


@shown("to_frame")
@dataclass(frozen=True, eq=False)
class Cosines:
    """A table of cosines that draws itself."""

    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """One row for each ordered pair; a copy."""
        return self.frame.copy()

    def plot(self) -> Any:
        """Draws the cosines as a heat map."""
        return draw("cosine_heatmap", self)


def cosine_map(vectors: Mapping[str, SteeringVector] | Sequence[SteeringVector], site: SiteLike) -> Cosines:
    """The cosine of every two vectors at one site.

    Args:
        vectors: vectors of one model, by the name they get in the table; of a list, each vector's own name.
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
    vectors = vectors if isinstance(vectors, Mapping) else {vector.name: vector for vector in vectors}
    where = str(Site.parse(site))
    rows = [
        {"site": where, "first": first, "second": second, "cosine": v.cosine(w, site), "chance": _chance(v)}
        for first, v in vectors.items()
        for second, w in vectors.items()
    ]
    return Cosines(pd.DataFrame(rows))


def layer_map(vector: SteeringVector) -> Cosines:
    """The cosine of a vector's directions at every two of its sites.

    Args:
        vector: a vector of one or more sites, all as wide as each other.

    Returns:
        One row for each ordered pair: vector, first site, second site, cosine, and `chance` as in `cosine_map`.
    """
    rows = [
        {
            "vector": vector.name,
            "first_site": str(first),
            "second_site": str(second),
            "cosine": _cosine(vector.at(first), vector.at(second)),
            "chance": _chance(vector),
        }
        for first in vector.sites
        for second in vector.sites
    ]
    return Cosines(pd.DataFrame(rows))


def cosine_atlas(
    vectors: Mapping[str, SteeringVector],
    model: SteerableModel | None = None,
    halves: Mapping[str, Halves] | None = None,
    null_rows: Rows | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """All pairwise cosines of the vectors' directions, across layers, sites, behaviours and methods.

    Args:
        vectors: vectors of one model, by the name they get in the table, each at any sites.
        model: their model; needed where a vector has heads, whose directions are mapped through `W_O`.
        halves: by name, from `half_directions`; corrects for noise.
        null_rows: by name and site, the differences of the vector's pairs; makes the null of directions with their
            covariance, in place of isotropic ones.
        seed: of the directions drawn from those rows.

    Returns:
        One row for each unordered pair, a direction with itself too: model, first, first_site, second, second_site,
        cosine, null_low, null_high (95 % for this pair alone), p (two-sided) and p_holm (over all pairs of the table:
        `family`), null ("isotropic" or "rows"), corrected, first_reliability, second_reliability (NaN without halves),
        note.
        Pairs of a direction with itself have no null.

    Raises:
        ScoreError: there are no vectors.
        MismatchError: the vectors are of different models, or halves or rows are not theirs.
        SiteError: a vector has heads and there is no model, or heads cannot be brought into the stream.
    """
    entries = _entries(vectors, model, halves or {}, null_rows or {}, seed)
    rows = [_pair(one, two) for one, two in combinations_with_replacement(entries, 2)]
    frame = pd.DataFrame(rows)
    frame.insert(0, "model", next(iter(vectors.values())).fingerprint.label)
    return with_holm(frame, "p", "pairs")


def _entries(
    vectors: Mapping[str, SteeringVector],
    model: SteerableModel | None,
    halves: Mapping[str, Halves],
    rows: Rows,
    seed: int,
) -> list[_Entry]:
    """Every direction of some vectors, in the residual stream."""
    if not vectors:
        raise ScoreError("no vectors; give at least one.")
    strangers = sorted((set(halves) | set(rows)) - set(vectors))
    if strangers:
        raise MismatchError(f"halves or rows of {', '.join(strangers)}, of which there is no vector; use their names.")
    first, found = next(iter(vectors.values())), []
    for name, vector in vectors.items():
        require_same_model(first.fingerprint, vector.fingerprint, f"vectors {first.name!r} and {vector.name!r}")
        for site in vector.sites:
            if site.kind == HEADS and model is None:
                raise SiteError(f"vector {name!r} has a head, {site}, as wide as a head; give the model, to map it.")
            direction, note = (vector.at(site), "") if model is None else in_stream(model, vector, site)
            own, data = halves.get(name, {}).get(site), rows.get(name, {}).get(site)
            if site.kind == HEADS and (own is not None or data is not None):
                raise MismatchError(
                    f"vector {name!r} at {site}: halves and rows of a head are not mapped; leave it out."
                )
            if any(part is not None and part.shape[-1] != len(direction) for part in (own, data)):
                raise MismatchError(f"vector {name!r} at {site}: halves or rows are not {len(direction)} wide.")
            null = None if data is None else unrelated_directions(data, seed=seed + len(found))
            found.append(_Entry(vector=name, site=site, direction=direction, note=note, halves=own, null=null))
    return found


def _pair(one: _Entry, two: _Entry) -> dict[str, Any]:
    """One row of the atlas."""
    cosine, same = _cosine(one.direction, two.direction), one is two
    low = high = p = corrected = math.nan
    drawn = one.null is not None and two.null is not None
    if not same and one.null is not None and two.null is not None:
        null = (one.null * two.null).sum(dim=1).numpy()
        low, high = np.quantile(null, [0.025, 0.975])
        p = control_p(abs(cosine), np.abs(null))
    elif not same:
        (low, high), p = cosine_band(len(one.direction)), cosine_p(cosine, len(one.direction))
    if one.halves is not None and two.halves is not None:
        corrected = corrected_cosine(one.halves, two.halves)
    notes = {entry.note: f"{entry.vector} {entry.note}" for entry in (one, two) if entry.note}
    return {
        "first": one.vector,
        "first_site": str(one.site),
        "second": two.vector,
        "second_site": str(two.site),
        "cosine": cosine,
        "null_low": float(low),
        "null_high": float(high),
        "null": "rows" if drawn else "isotropic",
        "p": p,
        "corrected": corrected,
        "first_reliability": math.nan if one.halves is None else reliability(one.halves),
        "second_reliability": math.nan if two.halves is None else reliability(two.halves),
        "note": "; ".join(notes.values()),
    }


def _cosine(v: Tensor, w: Tensor) -> float:
    return float(torch.cosine_similarity(v.double(), w.double(), dim=0).clamp(-1, 1))


def _chance(vector: SteeringVector) -> float:
    return 1 / math.sqrt(vector.fingerprint.d_model)
