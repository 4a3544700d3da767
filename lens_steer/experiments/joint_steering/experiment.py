"""Several behaviours at once: combined, orthogonalised, by least-squares strengths, simultaneous; chosen once, tested
once.

    objective   mean over behaviours of target x change of the logit difference                    nats, paired by item
    best        the strength of largest objective on validation with KL <= budget and nothing newly collapsed
    equal       the strength whose KL on validation texts is the budget: schemes compared at equal side effects
    as published    the points of the paper on the same curves: combined at strength 1, simultaneous at every strength

Source: van der Weij, Poesio & Schoots 2024 (arXiv 2403.05767), section on multiple behaviours. There simultaneous
steering was swept on test items and combined steering had one strength; here every scheme (`schemes`) has the same
grid of global strengths; points are chosen on validation and measured on test once. Every configuration is measured on
all behaviours and on neutral text. Interference between behaviours is measured, and predicted from the geometry of
their vectors (`interference`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.prompts import Scoring
from lens_steer.experiments.evaluator import Evaluator, scoring_options
from lens_steer.experiments.joint_steering.interference import interference, interference_agreement
from lens_steer.experiments.joint_steering.points import (
    WHOLE,
    SchemePoint,
    compared,
    further_points,
    measure_points,
    validate,
)
from lens_steer.experiments.joint_steering.schemes import (
    DIRECTIONS,
    SCHEMES,
    SchemeCurve,
    Weights,
    individual_curves,
    scheme_curves,
)
from lens_steer.hooks import Scale
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector
from lens_steer.vector.compose import require_behaviours


@dataclass(frozen=True, kw_only=True)
class JointSteering:
    """How several behaviours are steered at once.

    `site` is that of combined steering, `places` has one for each behaviour's simultaneous steering, `targets` +1, -1
    or 0 for each (all +1 where empty). `schemes` are those that are compared, `sum` and `simultaneous` among them.
    `strengths` are global ones, 0 and upwards: each is used to add and to subtract. `kl` is the budget of side effects,
    nats a token on neutral text. `interference_strength` is that at which behaviours are steered one by one to measure
    how they affect each other.
    """

    site: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    schemes: tuple[str, ...] = SCHEMES
    strengths: tuple[float | int, ...] = (0, 0.125, 0.25, 0.5, 1, 2, 4)
    positions: str = "all"
    scale: Scale = "raw"
    kl: float = 0.2
    ridge: float = 1e-3
    interference_strength: float = 1.0
    n_random: int = 20
    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64
    max_tokens: int | None = None
    resamples: int = 999
    checkpoint: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class JointResult(Tables):
    """Everything that was found, as tidy frames.

    `configurations`: one row a split, scheme, direction, point (`grid`, `best`, `equal`, `as_published`), strength and
    behaviour. `points`: one row a scheme, direction and point on test, with its objective, side effects, and what has
    collapsed. `objective`: the same by item, so that schemes can be compared in pairs. `placements`: strength and
    projected strength of each behaviour at global strength 1. `interference`: one row an ordered pair, predicted and
    measured. `agreement`: of the two. Points of the scheme `individual` that pool all behaviours have `steered` =
    `each`.
    """

    kind = "joint"
    configurations: pd.DataFrame
    points: pd.DataFrame
    objective: pd.DataFrame
    placements: pd.DataFrame
    interference: pd.DataFrame
    agreement: pd.DataFrame

    def compared(self, with_scheme: str = "simultaneous", point: str = "equal") -> pd.DataFrame:
        """How much more than one scheme each of the others moves the behaviours, paired by item.

        Args:
            with_scheme: the one that is subtracted.
            point: `equal` (side effects) or `best`.

        Returns:
            One row a scheme and direction: `difference` in nats with `low` and `high` (95 %); schemes that have no such
            point are left out.

        Raises:
            ScoreError: that scheme has no such point.
        """
        settings = self.facts["settings"]
        return compared(self.objective, with_scheme, point, settings["resamples"], settings["seed"])


def joint_steering(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    behaviours: Mapping[str, Splits],
    texts: Corpus,
    settings: JointSteering,
) -> JointResult:
    """Steers several behaviours at once in every scheme, and reports effects, side effects and interference.

    Args:
        model: the vectors' model.
        vectors: by behaviour, such as those of `individual_steering`.
        behaviours: the items of each behaviour in three splits, of which validation and test are used.
        texts: neutral documents in three splits, of which validation and test are used.
        settings: sites, strengths, targets, budget.

    Returns:
        Tidy frames.

    Raises:
        ScoreError: vectors, places or targets for other behaviours than the items, no target that is not 0, an unknown
            scheme or none of `WHOLE`, or a grid without 0, below 0, or with nothing above it.
        DataError: behaviours of unequal size, with one label only, or whose splits overlap.
        SiteError: two behaviours have the same place, or a vector lacks its site.
    """
    targets = dict(settings.targets) or dict.fromkeys(vectors, 1.0)
    _check(vectors, behaviours, targets, settings)
    strengths = tuple(sorted(float(strength) for strength in settings.strengths))
    validation, test = (_evaluator(model, behaviours, texts, split, settings) for split in ("validation", "test"))
    alone = individual_curves(vectors, settings.site, targets, settings.positions, settings.scale)
    found = [_alone(validation, alone, name, strengths, settings.kl) for name in vectors if targets[name]]
    own = [point for _, points in found for point in points]
    weights: Weights = {
        direction: {
            point.curve.steered: point.strength
            for point in own
            if point.kind == "best" and point.curve.direction == direction
        }
        for direction in DIRECTIONS
    }
    how = (settings.positions, settings.scale, settings.ridge)
    every = scheme_curves(vectors, settings.site, settings.places, targets, weights, *how)
    curves = [curve for curve in every if curve.scheme in settings.schemes]
    grid, chosen = validate(validation, curves, strengths, settings.kl)
    points = [*own, *chosen, *further_points(curves, strengths)]
    tested, table, objective = measure_points(test, points, settings.resamples, settings.seed)
    validated = pd.concat([*(frame for frame, _ in found), grid]).assign(split="validation")
    configurations = pd.concat([validated, tested.assign(split="test")], ignore_index=True)
    pairs, agreements = _interference(test, vectors, settings)
    n = {split: len(getattr(next(iter(behaviours.values())), split)) for split in ("validation", "test")}
    return JointResult(
        configurations=configurations.assign(scale=settings.scale, n=configurations["split"].map(n)),
        points=table.assign(n=n["test"], n_texts=len(texts.test)),
        objective=objective,
        placements=pd.DataFrame([row for curve in curves for row in curve.strength_rows()]),
        interference=pairs.assign(n=n["test"]),
        agreement=agreements,
        facts=_facts(model, behaviours, texts, replace(settings, targets=targets)),
    )


def _evaluator(
    model: SteerableModel, behaviours: Mapping[str, Splits], texts: Corpus, split: str, settings: JointSteering
) -> Evaluator:
    """The evaluator of one split."""
    return Evaluator(
        model=model,
        items={name: getattr(splits, split) for name, splits in behaviours.items()},
        corpora={"text": getattr(texts, split)},
        options=scoring_options(settings),
        max_tokens=settings.max_tokens,
    )


def _alone(
    evaluator: Evaluator, curves: list[SchemeCurve], name: str, strengths: tuple[float, ...], kl: float
) -> tuple[pd.DataFrame, list[SchemePoint]]:
    """One behaviour alone, both ways: validated and chosen on its own items."""
    own = replace(evaluator, items={name: evaluator.items[name]})
    return validate(own, [curve for curve in curves if curve.steered == name], strengths, kl)


def _interference(
    evaluator: Evaluator, vectors: Mapping[str, SteeringVector], settings: JointSteering
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicted and measured, at the one site and at a site each; random directions at the one site.

    Agreement has rows from three behaviours on. Side effects are not used, so one text is enough.
    """
    with_one_text = replace(evaluator, corpora={"text": evaluator.corpora["text"][:1]})
    pairs, agreements = [], []
    for where, places, n_random in (
        ("combined", settings.site, settings.n_random),
        ("simultaneous", settings.places, 0),
    ):
        how = (settings.interference_strength, settings.positions, settings.scale, n_random, settings.seed)
        frame, changes = interference(with_one_text, vectors, places, *how)
        pairs.append(frame.assign(where=where))
        if len(vectors) >= 3:
            found = interference_agreement(frame, changes, settings.resamples, settings.seed)
            agreements.append(found.assign(where=where))
    empty = pd.DataFrame(columns=["statistic", "value", "low", "high", "why", "n", "where"])
    return pd.concat(pairs, ignore_index=True), pd.concat(agreements, ignore_index=True) if agreements else empty


def _check(
    vectors: Mapping[str, SteeringVector],
    behaviours: Mapping[str, Splits],
    targets: Mapping[str, float],
    settings: JointSteering,
) -> None:
    """Refuses what cannot be compared."""
    for given, what in ((vectors, "vectors"), (settings.places, "places"), (targets, "targets")):
        require_behaviours(given, behaviours, what)
    if not any(targets.values()):
        raise ScoreError("every target is 0; give +1 or -1 to at least one behaviour.")
    if not {*WHOLE} <= {*settings.schemes} <= {*SCHEMES}:
        raise ScoreError(
            f"schemes {list(settings.schemes)}; give {' and '.join(WHOLE)}, and any of {', '.join(SCHEMES)}."
        )
    if 0 not in settings.strengths or min(settings.strengths) < 0 or max(settings.strengths) <= 0:
        raise ScoreError(
            f"strengths {list(settings.strengths)}; give 0, the unsteered model, and sizes above it: each is used to "
            "add and to subtract."
        )
    seen: dict[tuple[str, str, str], tuple[str, str]] = {}
    for name, splits in behaviours.items():
        _require_two_labels(name, splits)
        for split in SPLITS:
            for item in getattr(splits, split):
                other, where = seen.setdefault(item.content, (name, split))
                if where != split:
                    raise DataError(
                        f"item {item.id!r} of behaviour {name!r} is in its {split} split and in the {where} split of "
                        f"{other!r}; vectors and strengths must not be judged on what they are made of."
                    )


def _require_two_labels(name: str, splits: Splits) -> None:
    """Refuses items of which one and the same answer always matches: its vector would be that answer's."""
    items = [item for split in SPLITS for item in getattr(splits, split)]
    options = {option.strip() for item in items for option in (item.matching, item.other)}
    matching = {item.matching.strip() for item in items}
    if len(items) > 1 and len(options) == 2 and len(matching) == 1:
        raise DataError(
            f"behaviour {name!r}: {matching.pop()!r} matches in all of its {len(items)} items; a vector of one label "
            "only cannot be told from the answer itself. Add items in which the other answer matches."
        )


def _facts(
    model: SteerableModel, behaviours: Mapping[str, Splits], texts: Corpus, settings: JointSteering
) -> dict[str, Any]:
    """What holds for all frames: settings, model, data, libraries."""
    sizes = {name: {split: len(getattr(splits, split)) for split in SPLITS} for name, splits in behaviours.items()}
    return {
        "settings": asdict(settings) | {"checkpoint": None},
        "model": fingerprint(model).to_dict(),
        "data": {name: {"splits": splits.hash, **sizes[name]} for name, splits in behaviours.items()},
        "texts": texts.hash,
        "versions": versions(),
    }
