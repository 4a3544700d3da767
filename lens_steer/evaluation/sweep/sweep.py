"""Every site and strength of a vector, on the same fixed items; and every combination of several vectors' strengths.

    points = sites x strengths                  strength 0 = the unhooked model, computed once for all sites
    points = strengths_1 x strengths_2 x ...    several vectors at once, each at a site of its own

What does not change between points is forwarded once (`lens_steer.evaluation.grid`): the tokens before the first
edited one, and the blocks before the edited site; strengths share a batch. Where that is not exact, every point is run
by itself, and the result says so. It does not choose among the points.

Example:
    >>> from lens_steer import contrast_from_choices, extract, load_model, sweep
    >>> from lens_steer.lab.items import open_items
    >>> model, items = load_model("lab"), open_items("myopic", 10, split="train")
    >>> vector = extract(model, contrast_from_choices("myopic", items, answer="text"), sites="resid_post@1")
    >>> found = sweep(model, vector, items, "resid_post@1", [-1, 1])
    >>> found.summary()["strength"].tolist(), found.path
    ([-1.0, 0.0, 1.0], 'reused')
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ScoreError, SteeringWarning
from lens_steer.evaluation.score import ScoringOptions, score_grid
from lens_steer.evaluation.sweep.result import SweepResult
from lens_steer.hooks import Intervention, Scale, require_unsteered
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike, Sites, sites_of
from lens_steer.model import SteerableModel, fingerprint, require_model
from lens_steer.vector import SteeringVector

STRENGTHS = tuple(sign * s for sign in (-1, 1) for s in (0.5, 1.0, 2.0, 3.0))
"""A grid for the raw scale, both signs; 0 joins every grid."""


def sweep(
    model: SteerableModel,
    vector: SteeringVector,
    items: Sequence[ChoiceItem],
    sites: Sites,
    strengths: Sequence[float | int],
    positions: str | int | Sequence[int] | Positions = "all",
    scale: Scale = "raw",
    options: ScoringOptions | None = None,
) -> SweepResult:
    """Scores the same items at every site and strength of a vector.

    Args:
        model: the vector's model.
        vector: what is added.
        items: the questions, the same at every point, each in both option orders.
        sites: as `parse_sites` reads them; the vector must have them. Among several, those that its extraction left out
            are left out too, with a `SteeringWarning`.
        strengths: in units of the scale; 0 is added where it is missing.
        positions: which tokens of the prompt are edited.
        scale: what strength 1 means, as in `Intervention.of`.
        options: template, batch size, reuse, checkpoint and progress bar; the defaults where absent.

    Returns:
        The answers, strengths in rising order.

    Raises:
        SiteError: the vector has no such site.
        ScoreError: no items, or a strength that is not finite.
        OptionTokenError: the letters are not one token each.
        MismatchError: a vector of another model.
        SteeringError: the position rule selects nothing in the prompts, or a steering context is open, which would
            steer strength 0 too.
    """
    require_model(model, "sweep(model, vector, items, sites, strengths)", vector, items, sites)
    return sweep_each(model, [vector], items, sites, strengths, positions, scale, options)[0]


def sweep_each(
    model: SteerableModel,
    vectors: Sequence[SteeringVector],
    items: Sequence[ChoiceItem],
    sites: Sites,
    strengths: Sequence[float | int],
    positions: str | int | Sequence[int] | Positions = "all",
    scale: Scale = "raw",
    options: ScoringOptions | None = None,
) -> tuple[SweepResult, ...]:
    """Sweeps several vectors, such as one and its random controls, each alone, over the same items in one grid.

    Args:
        model: the vectors' model.
        vectors: what is added, one at a time; each must have the sites.
        items, sites, strengths, positions, scale, options: as `sweep` takes them.

    Returns:
        What `sweep` gives of each vector; the items are asked unsteered once.

    Raises:
        ScoreError: no vectors.
        SiteError, OptionTokenError, MismatchError, SteeringError: as `sweep`.
    """
    options = options or ScoringOptions()
    require_unsteered(model, "sweep", "sweep both vectors: sweep_together(model, vectors, items, sites, strengths)")
    if not vectors:
        raise ScoreError("no vectors to sweep; give at least one.")
    wanted, grid = _with_direction(vectors[0], sites_of(model, sites)), _grid(strengths)
    points = [
        (number, site, strength)
        for number in range(len(vectors))
        for site in wanted
        for strength in grid
        if strength != 0
    ]
    configurations = [
        [Intervention.of(vectors[number], site, strength, scale, positions)] for number, site, strength in points
    ]
    scores = score_grid(model, options.prepare(model, items), configurations, options)
    scored = dict(zip(points, scores.configurations, strict=True))
    name, rule, found = fingerprint(model).name, str(Positions.parse(positions)), []
    for number, vector in enumerate(vectors):
        facts = {"model": name, "vector": vector.name, "scale": str(scale), "positions": rule}
        frames = []
        for site in wanted:
            for strength in grid:
                point = {**facts, "site": str(site), "kind": site.kind, "layer": site.layer, "strength": strength}
                frames.append(_behind(point, scored.get((number, site, strength), scores.unsteered).to_frame()))
        frame = pd.concat(frames, ignore_index=True)
        whole = {**facts, "method": vector.method, "path": scores.path, "scoring": options.scoring}
        found.append(SweepResult(**whole, sites=wanted, strengths=grid, frame=frame))
    return tuple(found)


def sweep_together(
    model: SteerableModel,
    vectors: Sequence[SteeringVector],
    items: Sequence[ChoiceItem],
    sites: Sequence[SiteLike],
    strengths: Sequence[Sequence[float | int]],
    positions: str | int | Sequence[int] | Positions = "all",
    scale: Scale = "raw",
    options: ScoringOptions | None = None,
) -> pd.DataFrame:
    """Scores the same items at every combination of several vectors' strengths, all acting at once.

    Args:
        model: the vectors' model.
        vectors: what is added, of different names; at one site they act in this order.
        items: the questions, the same at every point, each in both option orders.
        sites: one of each vector's.
        strengths: one grid for each vector; 0 is added where it is missing.
        positions: which tokens of the prompt are edited.
        scale: what strength 1 means, as in `Intervention.of`.
        options: template, batch size, reuse, checkpoint and progress bar; the defaults where absent.

    Returns:
        One row for each combination, item and option order: the strength of each vector in a column of the vector's
        name, then the columns of `ChoiceScores.to_frame`. `attrs["path"]` says how it was computed.

    Raises:
        ScoreError: not one site and grid for each vector, names that are not all different, or no items.
        SiteError, MismatchError, SteeringError: as `sweep`.
    """
    options, names = options or ScoringOptions(), [vector.name for vector in vectors]
    if not vectors or len(set(names)) < len(names) or not len(vectors) == len(sites) == len(strengths):
        raise ScoreError(
            f"{len(vectors)} vectors named {names}, {len(sites)} sites and {len(strengths)} grids; give vectors of "
            "different names, and one site and one grid of strengths for each."
        )
    places = [Site.parse(site) for site in sites]
    points = list(product(*(_grid(grid) for grid in strengths)))
    configurations = [
        [
            Intervention.of(vector, site, strength, scale, positions)
            for vector, site, strength in zip(vectors, places, point, strict=True)
            if strength != 0
        ]
        for point in points
    ]
    scores = score_grid(model, options.prepare(model, items), configurations, options)
    frames = [
        _behind(dict(zip(names, point, strict=True)), found.to_frame())
        for point, found in zip(points, scores.configurations, strict=True)
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs["path"] = scores.path
    return frame


def _with_direction(vector: SteeringVector, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites without those at which the vector's extraction found no direction; all, where it found none at any."""
    missing = [site for site in sites if site in vector.left_out and site not in vector.sites]
    if not missing or len(missing) == len(sites):
        return tuple(sites)
    warnings.warn(
        f"vector {vector.name!r} has no direction at {', '.join(map(str, missing))}, which the sweep leaves out: "
        f"{vector.left_out[missing[0]]}.",
        SteeringWarning,
        stacklevel=4,
    )
    return tuple(site for site in sites if site not in missing)


def _grid(strengths: Sequence[float | int]) -> tuple[float, ...]:
    """The strengths in rising order, each once, with 0 among them."""
    if not all(math.isfinite(strength) for strength in strengths):
        raise ScoreError(f"strengths {list(strengths)}; give finite numbers.")
    return tuple(sorted({0.0, *(float(strength) for strength in strengths)}))


def _behind(point: Mapping[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """The answers at one point, with the point they belong to in front."""
    return frame.assign(**point).reindex(columns=[*point, *frame.columns])
