"""The automatic choice of vector, site and strength on validation items, strength 0 ("do not steer") among them.

    rank      the slope of m over the strength, of every vector at every site, by one forward and one backward pass over
              a few items (`first_order`); the `places` of largest slope are kept, as adding must help
    sweep     every strength at these places, exactly, on all validation items
    choose    the least strength whose objective is within one standard error of the best;  strength 0 costs nothing

    accuracy  share of orders in which the correct option is the answer       margin  m of the item, nats
    valid     the answers have not newly collapsed, and keep 90 % of the unsteered answer probability

The standard error is that of the paired difference between a point and the best one. Whoever draws controls lets them
go through `select` too, so that they gain what any vector gains by being chosen. The full grid of Cui & Chen 2025
(arXiv 2509.22739) is `places=None`; they never try strength 0, and count answers in one option order (`place`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import Item
from lens_steer.evaluation.score import ChoiceScores, GridScores, ScoringOptions, score_grid, score_prompts
from lens_steer.evaluation.select import RETAINED
from lens_steer.evaluation.sweep.first_order import first_order
from lens_steer.hooks import Intervention, Scale, require_unsteered
from lens_steer.hooks.sites import Site, Sites, sites_of
from lens_steer.model import SteerableModel, require_model
from lens_steer.vector import SteeringVector

Objective = Literal["accuracy", "margin"]


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """What is tried: every vector at `sites`, at each of `strengths` (above 0) in units of `scale`.

    `places` is how many pairs of vector and site are swept (None: all), as ranked on the first `ranked` items. With
    `place`, accuracy is counted in one option order only, that in which the correct option stands there, and no point
    counts as collapsed: a vector that says one letter then gains.
    """

    sites: Sites = "resid_post@*"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    scale: Scale = "relative"
    positions: str = "last"
    objective: Objective = "accuracy"
    places: int | None = 6
    ranked: int = 16
    place: int | None = None
    scoring: ScoringOptions = field(default_factory=ScoringOptions)


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The chosen point and every point that was measured.

    `strength` is 0 where nothing beats not steering; `vector` is then empty and `site` None. `points` has
    one row a point: `vector, site, strength, objective, gain, error, valid, chosen`; `gain` is over strength 0, `error`
    its standard error. `passes` counts sequences forwarded, a backward pass as two.
    """

    vector: str
    site: Site | None
    strength: float
    options: SelectOptions
    points: pd.DataFrame
    passes: int

    def intervention(self, vectors: Mapping[str, SteeringVector]) -> Intervention | None:
        """The edit of the chosen point; None where the answer is not to steer."""
        if self.site is None:
            return None
        options = self.options
        return Intervention.of(vectors[self.vector], self.site, self.strength, options.scale, options.positions)

    def to_frame(self) -> pd.DataFrame:
        """Every point."""
        return self.points


def select(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    items: Sequence[Item],
    options: SelectOptions | None = None,
) -> Selection:
    """Chooses which vector to add, where and how strongly, on validation items.

    Args:
        model: the vectors' model.
        vectors: candidates by name, such as those of several methods.
        items: validation questions; two-choice, or with more options.
        options: what is tried and by which objective; the defaults where absent.

    Returns:
        The chosen point, which may be not to steer, and every point measured.

    Raises:
        ScoreError: no vectors, no items, or a strength that is not above 0.
        SiteError, OptionTokenError, MismatchError, SteeringError: as `sweep`.
    """
    grid, scored, passes = _measured(model, vectors, items, options or SelectOptions(), "select", joint=True)
    return _selection(grid, scored, passes, options or SelectOptions())


def select_each(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    items: Sequence[Item],
    options: SelectOptions | None = None,
) -> dict[str, Selection]:
    """Chooses where and how strongly for each vector by itself; what they share is forwarded once.

    Args:
        model: the vectors' model.
        vectors: by name; controls beside them are chosen in the same way.
        items: validation questions.
        options: as for `select`; `places` is the number of sites of each vector.

    Returns:
        What `select` gives for each vector alone, with the passes that it would take alone.

    Raises:
        ScoreError, SiteError, OptionTokenError, MismatchError, SteeringError: as `select`.
    """
    options = options or SelectOptions()
    grid, scored, passes = _measured(model, vectors, items, options, "select_each", joint=False)
    found = {}
    for name in vectors:
        own = [number for number, point in enumerate(grid) if point[0] == name]
        part = replace(scored, configurations=tuple(scored.configurations[number] for number in own))
        found[name] = _selection([grid[number] for number in own], part, passes, options)
    return found


Point = tuple[str, Site, float]
"""A vector's name, a site and a strength."""


def _measured(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    items: Sequence[Item],
    options: SelectOptions,
    call: str,
    joint: bool,
) -> tuple[list[Point], GridScores, int]:
    """The points that are tried, their answers, and the passes of ranking; places of all vectors, or of each."""
    require_model(model, f"{call}(model, vectors, items)", vectors, items)
    require_unsteered(model, call, "choose without steering")
    if not vectors or not options.strengths or min(options.strengths) <= 0:
        raise ScoreError(
            f"{len(vectors)} vectors and strengths {list(options.strengths)}; give at least one vector, and strengths "
            "above 0 (0 is always tried)."
        )
    prompts = options.scoring.prepare(model, items)
    sites = sites_of(model, options.sites)
    places, passes = [(name, site) for name in vectors for site in sites], 0
    each = len(places) if joint else len(sites)
    if options.places is not None and options.places < each:
        few = items[: options.ranked]
        asked = options.scoring.prepare(model, few)
        unsteered = score_prompts(model, asked, batch_size=options.scoring.batch_size)
        ranked = _ranked(model, vectors, _pairs(few, unsteered), sites, options)
        groups = [ranked] if joint else [[place for place in ranked if place[0] == name] for name in vectors]
        places = [place for group in groups for place in group[: options.places]]
        passes = len(asked.rows) + 6 * len(few)
    grid = [(name, site, strength) for name, site in places for strength in sorted(options.strengths)]
    edits = [
        [Intervention.of(vectors[name], site, strength, options.scale, options.positions)]
        for name, site, strength in grid
    ]
    return grid, score_grid(model, prompts, edits, options.scoring), passes


def _selection(grid: Sequence[Point], scored: GridScores, passes: int, options: SelectOptions) -> Selection:
    """The choice among measured points."""
    points = _points(grid, scored.unsteered, scored.configurations, options)
    chosen = points[points["chosen"]].iloc[0]
    unsteered = scored.unsteered
    rows = len(unsteered.items) * (unsteered.scores.shape[1] if unsteered.by_letter else len(unsteered.letters))
    return Selection(
        vector=str(chosen["vector"]),
        site=Site.parse(str(chosen["site"])) if chosen["strength"] else None,
        strength=float(chosen["strength"]),
        options=options,
        points=points,
        passes=passes + rows * (1 + len(grid)),
    )


def correct(scores: ChoiceScores, place: int | None = None) -> Float[Tensor, " item"]:
    """The share of option orders in which each item is answered correctly; or whether it is in one of them.

    Args:
        scores: the answers.
        place: of the correct option in the one order that counts; all orders where absent, or where texts are scored.
    """
    right = (scores.chosen == 0).float()
    return right.mean(dim=1) if place is None or not scores.by_letter else right[:, place]


def _pairs(items: Sequence[Item], unsteered: ChoiceScores) -> list[ChoiceItem]:
    """Each item as its correct option against the likeliest other one."""
    best = unsteered.scores[:, :, 1:].mean(dim=1).argmax(dim=1).tolist()
    return [
        ChoiceItem(id=item.id, stem=item.content[0], matching=item.content[1], other=item.content[2 + other])
        for item, other in zip(items, best, strict=True)
    ]


def _ranked(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    items: Sequence[ChoiceItem],
    sites: Sequence[Site],
    options: SelectOptions,
) -> list[tuple[str, Site]]:
    """Vectors and sites by their slopes, the largest first; adding must help."""
    renamed = [replace(vector, name=name) for name, vector in vectors.items()]
    slopes = first_order(model, renamed, items, list(sites), options.positions, options.scale, options.scoring)
    means = slopes.groupby(["vector", "site"])["slope"].mean().sort_values(ascending=False, kind="stable")
    return [(str(name), Site.parse(str(site))) for name, site in means.index]


def _points(
    grid: Sequence[Point],
    unsteered: ChoiceScores,
    steered: Sequence[ChoiceScores],
    options: SelectOptions,
) -> pd.DataFrame:
    """Strength 0 and every point of the grid, with the chosen one marked."""

    def measure(scores: ChoiceScores) -> Float[Tensor, " item"]:
        return correct(scores, options.place) if options.objective == "accuracy" else scores.item_differences

    values = torch.stack([measure(scores) for scores in (unsteered, *steered)]).double()
    before = unsteered.collapse.collapsed
    least = RETAINED * float(unsteered.answer_probability.mean()) if unsteered.by_letter else 0.0
    valid = [True] + [
        options.place is not None
        or ((before or not scores.collapse.collapsed) and float(scores.answer_probability.mean()) >= least)
        for scores in steered
    ]
    means = values.mean(dim=1)
    best = max((number for number, fine in enumerate(valid) if fine), key=lambda number: float(means[number]))
    near = [
        number
        for number, fine in enumerate(valid)
        if fine and float(means[best] - means[number]) <= float(_error(values[best] - values[number]))
    ]
    rows = [("", "", 0.0), *((name, str(site), strength) for name, site, strength in grid)]
    chosen = min(near, key=lambda number: (rows[number][2], -float(means[number])))
    gains = values - values[0]
    return pd.DataFrame(rows, columns=["vector", "site", "strength"]).assign(
        objective=means.tolist(),
        gain=gains.mean(dim=1).tolist(),
        error=[float(_error(gain)) for gain in gains],
        valid=valid,
        chosen=[number == chosen for number in range(len(rows))],
    )


def _error(differences: Float[Tensor, " item"]) -> Float[Tensor, ""]:
    """The standard error of a mean of paired differences; 0 of a single item."""
    n = len(differences)
    return differences.std() / n**0.5 if n > 1 else torch.zeros((), dtype=torch.float64, device="cpu")
