"""Steering evaluated on open-ended prompts: likelihoods of given continuations, and what the model writes itself.

    for each behaviour   mean-difference vector of the training continuations; random directions of its norms
      choose             every vector at every site and strength on validation prompts: the largest effect at which
                         neither +s nor -s makes both groups of continuations less likely by more than `most_fall`
      likelihood         each vector on test prompts at its own point, added and subtracted: Pos_q, Neg_q, drift, shift
      text               conversations of several turns on test prompts, each turn scored by every judge

    effect of a point    [shift(+s) - shift(-s)] / 2                                                nats a token
    p                    (1 + random directions that go at least as far) / (1 + random directions)

An item is a prompt (`stem`) with a continuation that shows the behaviour (`matching`) and one that does not (`other`);
no letters, no list of options. Random directions are chosen in the same way as the vector, so that p is that of a
permutation test of exchangeable vectors.

Source: Pres et al. 2024 (arXiv 2410.17245); formulas in `lens_steer.metrics.continuations`. Unlike there, the point is
chosen on other prompts than it is reported on, and random directions and intervals stand beside every number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.data.contrast import ContrastPair, ContrastSet
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import ScoreError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.judge import ClassifierJudge, Judge, LikelihoodJudge
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.evaluation.score import ChoiceScores, score_grid
from lens_steer.experiments.open_ended.settings import OpenEnded
from lens_steer.experiments.open_ended.texts import judged_summary, written_texts
from lens_steer.experiments.plan import evenly_spaced
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention
from lens_steer.lab.items import statement_items
from lens_steer.metrics.continuations import QUANTILES, ContinuationLikelihoods
from lens_steer.metrics.significance import control_p
from lens_steer.metrics.statistics import Interval
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector, random_like

STEERING = "steering"
"""The vector in question, in the column `vector` of the tables; the others are `random k`."""
DIRECTIONS = {"added": 1, "subtracted": -1}
EXAMPLES = 4
"""Training texts of each side that stand before a text that the likelihood judge reads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenEndedResult(Tables):
    """What was found, as tidy frames; the column `vector` is `steering`, `random k` or `unsteered`.

    `validation`: one row a behaviour, site and signed strength of the steering vector. `points`: one row a behaviour
    and vector: its point, and its shift on test prompts with p. `changes`: one row a behaviour, vector, direction and
    share q: Pos_q (`promoted`) and Neg_q (`suppressed`), drift of both groups, with intervals. `likelihoods`: of the
    steering vector, one row a direction and prompt. `texts`: one row a generated text and judge. `judged`: mean
    scores, and differences to the unsteered model, with intervals.
    """

    kind = "open_ended"
    validation: pd.DataFrame
    points: pd.DataFrame
    changes: pd.DataFrame
    likelihoods: pd.DataFrame
    texts: pd.DataFrame
    judged: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Point:
    """One site and strength of a vector on validation prompts: its effect, and how far both groups fall together."""

    site: str
    strength: float
    effect: float
    fall: float
    valid: bool


def open_ended(
    model: SteerableModel,
    behaviours: Mapping[str, Splits[ChoiceItem]],
    settings: OpenEnded | None = None,
    vectors: Mapping[str, SteeringVector] | None = None,
    judges: Mapping[str, Judge] | None = None,
    progress: bool = False,
) -> OpenEndedResult:
    """Evaluates one vector a behaviour on open-ended prompts.

    Args:
        model: a loaded model.
        behaviours: prompts with a matching and another continuation, in three splits.
        settings: sites, strengths, controls, conversations; the defaults where absent.
        vectors: by behaviour, such as those of another method; made of the training continuations where absent.
        judges: by name, the first one the main judge; a classifier and a likelihood judge where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        ScoreError: no behaviours, a split of one with fewer than two prompts, or a strength that is not above 0.
        ModelFolderError: `chat`, and the tokenizer has no chat template.
    """
    settings = settings or OpenEnded()
    if not behaviours or not settings.strengths or min(settings.strengths) <= 0:
        raise ScoreError(
            f"{len(behaviours)} behaviours and strengths {list(settings.strengths)}; give at least one behaviour, and "
            "strengths above 0, whose negatives are tried too."
        )
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in OpenEndedResult.names()}
    for name, given in track(behaviours.items(), "open-ended", len(behaviours), progress):
        splits = _statements(name, given) if settings.prompts == "lab_statements" else given
        if min(len(getattr(splits, split)) for split in SPLITS) < 2:
            raise ScoreError(
                f"behaviour {name!r}: give at least two prompts in each of the splits {', '.join(SPLITS)}."
            )
        vector = vectors[name] if vectors else _vector(model, name, splits.train, settings)
        for table, frame in _behaviour(model, vector, splits, settings, judges, progress).items():
            frame.insert(0, "behaviour", name)
            found[table].append(frame)
    facts = {"settings": asdict(settings) | {"checkpoint": None}, "versions": versions()}
    return OpenEndedResult(
        **{name: pd.concat(frames, ignore_index=True) for name, frames in found.items()},
        facts=facts | {"model": fingerprint(model).to_dict()},
    )


def local_judges(model: SteerableModel, train: Sequence[ChoiceItem]) -> dict[str, Judge]:
    """The judges that need no other model, made of the training continuations of a behaviour."""
    matching, other = [item.matching for item in train], [item.other for item in train]
    likelihood = LikelihoodJudge(model=model, matching=matching[:EXAMPLES], other=other[:EXAMPLES])
    return {"classifier": ClassifierJudge.fit(matching, other), "likelihood": likelihood}


def _statements(name: str, given: Splits[ChoiceItem]) -> Splits[ChoiceItem]:
    """As many statements of a lab behaviour as there are items."""
    train, validation, test = (statement_items(name, len(getattr(given, split)), split=split) for split in SPLITS)
    return Splits(train=train, validation=validation, test=test)


def _template(chat: bool) -> ChoiceTemplate:
    """The prompt as it is, and its continuation behind a space, or as the beginning of the assistant's answer."""
    return ChoiceTemplate(question="{stem}\n" if chat else "{stem}", option="{text}" if chat else " {text}")


def _vector(model: SteerableModel, name: str, train: Sequence[ChoiceItem], settings: OpenEnded) -> SteeringVector:
    """The mean difference of the two continuations of each training prompt, written as plain text."""
    pairs = [
        ContrastPair(id=item.id, prompt=item.stem, positive=f" {item.matching}", negative=f" {item.other}")
        for item in train
    ]
    sites = settings.sites or evenly_spaced(int(model.cfg.n_layers), 4)
    return extract(
        model,
        ContrastSet(name=name, pairs=tuple(pairs)),
        sites=sites,
        position=settings.read_at,
        batch_size=settings.batch_size,
    )


def _behaviour(
    model: SteerableModel,
    vector: SteeringVector,
    splits: Splits[ChoiceItem],
    settings: OpenEnded,
    judges: Mapping[str, Judge] | None,
    progress: bool,
) -> dict[str, pd.DataFrame]:
    """The tables of one behaviour."""
    pool = {STEERING: vector}
    pool |= {f"random {k}": random_like(vector, settings.seed + k) for k in range(settings.n_random)}
    chosen, validation = _choose(model, pool, splits.validation, settings, progress)
    edits = {
        (name, direction): _edit(pool[name], point, sign, settings)
        for name, point in chosen.items()
        for direction, sign in DIRECTIONS.items()
    }
    measured = _measure(model, splits.test, list(edits.values()), settings, progress)
    tested = dict(zip(edits, measured, strict=True))
    rows = [
        row
        for (name, direction), likelihoods in tested.items()
        for row in _change_rows(name, direction, likelihoods, settings)
    ]
    changes = pd.DataFrame(rows)
    ids = [item.id for item in splits.test]
    items = [_item_frame(way, ids, own) for (name, way), own in tested.items() if name == STEERING]
    written = {key: edit for key, edit in edits.items() if key[0] in list(pool)[: 1 + settings.n_written]}
    texts = written_texts(
        model, vector.name, splits.test, written, judges or local_judges(model, splits.train), settings, progress
    )
    return {
        "validation": validation,
        "points": _points_frame(chosen, tested, settings),
        "changes": changes,
        "likelihoods": pd.concat(items, ignore_index=True),
        "texts": texts,
        "judged": judged_summary(texts, settings.seed),
    }


def _edit(vector: SteeringVector, point: Point, sign: int, settings: OpenEnded) -> Intervention:
    return Intervention.of(vector, point.site, sign * point.strength, settings.scale, settings.positions)


def _measure(
    model: SteerableModel,
    items: Sequence[ChoiceItem],
    edits: Sequence[Intervention],
    settings: OpenEnded,
    progress: bool,
) -> list[ContinuationLikelihoods]:
    """The likelihoods of both continuations of every prompt, under each edit."""
    scoring = "option_token" if settings.per_token else "option_sum"
    prompts = prepare_choices(model, items, _template(settings.chat), scoring, settings.chat)
    options = GridOptions(batch_size=settings.batch_size, checkpoint=settings.checkpoint, progress=progress)
    scores = score_grid(model, prompts, [[edit] for edit in edits], options)

    def columns(found: ChoiceScores) -> tuple[torch.Tensor, torch.Tensor]:
        return found.scores[:, 0, 0], found.scores[:, 0, 1]

    unsteered = dict(zip(("matching_unsteered", "other_unsteered"), columns(scores.unsteered), strict=True))
    return [
        ContinuationLikelihoods(
            **unsteered, **dict(zip(("matching_steered", "other_steered"), columns(found), strict=True))
        )
        for found in scores.configurations
    ]


def _choose(
    model: SteerableModel,
    pool: Mapping[str, SteeringVector],
    items: Sequence[ChoiceItem],
    settings: OpenEnded,
    progress: bool,
) -> tuple[dict[str, Point], pd.DataFrame]:
    """The point of every vector on validation prompts, and the steering vector's whole grid."""
    places = [(str(site), strength) for site in pool[STEERING].sites for strength in settings.strengths]
    grid = [(name, site, sign * s) for name in pool for site, s in places for sign in DIRECTIONS.values()]
    edits = [Intervention.of(pool[name], site, s, settings.scale, settings.positions) for name, site, s in grid]
    measured = dict(zip(grid, _measure(model, items, edits, settings, progress), strict=True))
    chosen = {}
    for name in pool:
        points = [_point(site, s, [measured[name, site, sign * s] for sign in (1, -1)], settings) for site, s in places]
        allowed = [point for point in points if point.valid]
        chosen[name] = (
            max(allowed, key=lambda point: point.effect) if allowed else min(points, key=lambda point: point.fall)
        )
    rows = [
        {"site": site, "strength": s, "scale": settings.scale, "positions": settings.positions}
        | {"shift": own.shift(0).value, "drift_matching": own.drift(True, 0).value}
        | {"drift_other": own.drift(False, 0).value}
        | {"chosen": (site, abs(s)) == (chosen[STEERING].site, chosen[STEERING].strength)}
        for (name, site, s), own in measured.items()
        if name == STEERING
    ]
    return chosen, pd.DataFrame(rows)


def _point(site: str, strength: float, ends: Sequence[ContinuationLikelihoods], settings: OpenEnded) -> Point:
    """One place, from the likelihoods added and subtracted."""
    added, subtracted = ends
    fall = -min(max(end.drift(side, 0).value for side in (True, False)) for end in ends)
    effect = (added.shift(0).value - subtracted.shift(0).value) / 2
    return Point(site=site, strength=strength, effect=effect, fall=fall, valid=fall <= settings.most_fall)


def _change_rows(
    name: str, direction: str, own: ContinuationLikelihoods, settings: OpenEnded
) -> Iterator[dict[str, Any]]:
    """Pos_q and Neg_q of one vector and direction at every share, with intervals for the steering vector."""
    resamples = 1999 if name == STEERING else 0
    drifts = {
        f"drift_{side}": own.drift(side == "matching", resamples, settings.seed) for side in ("matching", "other")
    }
    for share in QUANTILES:
        numbers = {
            "promoted": own.promoted(share, settings.normalisation, resamples, settings.seed),
            "suppressed": own.suppressed(share, settings.normalisation, resamples, settings.seed),
            **drifts,
        }
        row: dict[str, Any] = {"vector": name, "direction": direction, "share": share}
        row |= {"normalisation": settings.normalisation}
        for column, interval in numbers.items():
            row |= _spread(column, interval)
        yield row | {"n": len(own.matching_unsteered)}


def _spread(column: str, interval: Interval) -> dict[str, float]:
    return {column: interval.value, f"{column}_low": interval.low, f"{column}_high": interval.high}


def _item_frame(direction: str, ids: Sequence[str], own: ContinuationLikelihoods) -> pd.DataFrame:
    """One row a prompt, of the steering vector."""
    columns = ("matching_unsteered", "other_unsteered", "matching_steered", "other_steered")
    values = {column: getattr(own, column).double().tolist() for column in columns}
    return pd.DataFrame({"vector": STEERING, "direction": direction, "item": ids, **values})


def _points_frame(
    chosen: Mapping[str, Point], tested: Mapping[tuple[str, str], ContinuationLikelihoods], settings: OpenEnded
) -> pd.DataFrame:
    """One row a vector: its point on validation; on test prompts its shift and, for the vector, the three p."""
    rows = []
    for name, point in chosen.items():
        own = tested[name, "added"]
        shift = own.shift(1999 if name == STEERING else 0, settings.seed)
        row = {"vector": name, "site": point.site, "positions": settings.positions, "strength": point.strength}
        row |= {"scale": settings.scale, "valid": point.valid, "validation_effect": point.effect}
        row |= _spread("shift", shift)
        half = {"promoted": own.promoted, "suppressed": own.suppressed}
        rows.append(row | {column: f(0.5, settings.normalisation, 0).value for column, f in half.items()})
    frame = pd.DataFrame(rows)
    for column in ("shift", "promoted", "suppressed"):
        others = frame.loc[frame["vector"] != STEERING, column]
        frame[f"p_{column}"] = control_p(float(frame[column].iloc[0]), others)
    return frame
