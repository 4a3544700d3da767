"""Steering behaviours one by one: extract, choose on validation, test once, beside controls chosen in the same way.

    for each behaviour   CAA vector at every layer, and random directions of its norms
      screen             every vector at every site and position rule, at one strength, on a few validation items
      choose             every vector over all strengths at the places where any of them goes furthest; each vector's
                         point is chosen beside all the others (`evaluation.select`)
      refine             with `coarse`, every second strength is swept first; then all vectors once more, at the
                         strengths left out next to the furthest of all points, and the choice is made anew
      test               each at its own point; and all of them over all strengths at the steering vector's place

    excess of a vector   mean over test items of [m(+s) - m(-s)] / 2  -  the band of the others on validation    nats
    p                    (1 + random directions whose excess is at least the vector's) / (1 + random directions)
    effect_p, added_p    sign flips of the items' effects, and of the change of their matching rates at +s (at -s:
                         subtracted_p), each family corrected by Holm's method

What any vector would gain by being chosen at its best point, a random direction gains too: places and strengths are a
symmetric function of all vectors, so that p is that of a permutation test of exchangeable vectors.

Source: van der Weij, Poesio & Schoots 2024 (arXiv 2403.05767), individual steering; Panickssery et al. 2023 (arXiv
2312.06681) for the vector. Unlike the former, every item is asked in both option orders, the option letters alone are
scored, collapsed points are marked in every table, and nothing is chosen on test items. Joint steering builds on this
study. Behaviours are any choice items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from lens_steer._util.files import write_whole
from lens_steer._util.progress import track
from lens_steer.analysis.geometry import cosine_map
from lens_steer.analysis.lens import vector_lens
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.data.contrast import Completion, contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import Scoring
from lens_steer.evaluation.select import OperatingPoint, choose_each
from lens_steer.evaluation.sweep import SweepResult, first_order, sweep_each
from lens_steer.experiments.evaluator import scoring_options
from lens_steer.experiments.plan import every_second
from lens_steer.extraction import extract
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import Site, sites_of
from lens_steer.metrics.significance import control_p, holm, sign_flip_p
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

STEERING = "steering"
"""The vector in question, in the column `vector` of the tables; the others are `random k`."""

EFFECT = ("effect", "effect_low", "effect_high", "effect_why", "effect_p")

Places = Mapping[str, Sequence[Site]]
"""Sites by position rule."""


@dataclass(frozen=True, kw_only=True)
class Individual:
    """How behaviours are steered one by one; the defaults are those of `lens-steer reproduce`.

    `positions` are rules, one of which is chosen on validation: all tokens of the prompt, or only its first 20, where
    its question begins. `answer` is where the vector is read: at the answer's letter, at the end of its text, or over
    the tokens of an option's text behind a question without options (`option`); `as_asked` is `option` where options
    are scored by their texts, and `text` where by their letters.
    `places` is how many pairs of site and rule are swept with the controls, those at which any vector goes furthest:
    at the middle strength on the first `screened` validation items (`exact`), or by the slope at strength 0 on as many
    (`first_order`, one forward and one backward pass for all sites and vectors). `coarse` sweeps every second strength
    first, and then those next to the best. `mapped` sweeps the vector alone at all places too, for the map of layers
    and strengths. `checkpoint` is a folder in which activations and finished passes are kept, so that a run that was
    ended goes on.
    """

    sites: str | tuple[str, ...] = "resid_post@*"
    strengths: tuple[float, ...] = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
    scale: Scale = "raw"
    positions: tuple[str, ...] = ("all", "0:20")
    answer: Completion | Literal["as_asked"] = "as_asked"
    n_random: int = 20
    places: int = 2
    screening: Literal["exact", "first_order"] = "exact"
    screened: int = 6
    coarse: bool = False
    mapped: bool = True
    lens_tokens: int = 8
    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64
    checkpoint: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class IndividualResult:
    """Everything that individual steering found, as tidy frames; in all, the column `vector` is `steering`, `random k`
    or the name of another control.

    `validation`: the steering vectors' sweeps, one row a behaviour, site and strength. `chosen`: one row a behaviour
    and vector: the point chosen on validation with its effect there, and its effect and excess on test items, nats.
    `curves`: one row a behaviour, vector and strength, on test items at the steering vector's place. `answers`: the
    steering vectors' test answers, one row an item and option order. `cosines`: of every two vectors at each chosen
    site. `lens`: the tokens of each vector.
    """

    vectors: Mapping[str, SteeringVector]
    points: Mapping[str, OperatingPoint]
    validation: pd.DataFrame
    chosen: pd.DataFrame
    curves: pd.DataFrame
    answers: pd.DataFrame
    cosines: pd.DataFrame
    lens: pd.DataFrame
    facts: Mapping[str, object] = field(default_factory=dict)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that are saved, by the name of their file."""
        return {"test_answers": self.answers, "summary": self.summary(), "chosen": self.chosen}

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the summary, the chosen points of all vectors, the test answers and the vectors.

        Args:
            folder: created where it does not exist.

        Returns:
            The paths written.
        """
        written = [
            write_whole(Path(folder) / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g").encode())
            for name, frame in self.tables().items()
        ]
        vectors = self.vectors.items()
        return written + [vector.save(Path(folder) / "vectors" / f"{name}.safetensors") for name, vector in vectors]

    def summary(self) -> pd.DataFrame:
        """One row a behaviour: its point; the effect on test items with its interval and p; rates at -s, 0 and +s.

        `effect_p_holm` is corrected over the effects of all behaviours, `added_p_holm` and `subtracted_p_holm` over
        both rates of all of them (`family`). p beside random directions is not corrected: of n directions it cannot be
        below 1 / (n + 1).
        """
        frame = pd.DataFrame([self._row(name, point) for name, point in self.points.items()])
        n = len(frame)
        frame["effect_p_holm"] = holm(frame["effect_p"].tolist())
        rates = holm([*frame["added_p"], *frame["subtracted_p"]])
        frame["added_p_holm"], frame["subtracted_p_holm"] = rates[:n], rates[n:]
        return frame.assign(family=f"effects: {n} behaviours; rates: {n} behaviours, both ways")

    def _row(self, name: str, point: OperatingPoint) -> dict[str, object]:
        rows = self.curves[self.curves["behaviour"] == name]
        steered = rows[rows["vector"] == STEERING].set_index("strength")
        random = rows[(rows["vector"] != STEERING) & (rows["strength"] == point.strength)]["matching_rate"]
        ends, rates = steered.loc[[-point.strength, point.strength]], steered["matching_rate"].to_dict()
        chosen = self.chosen[self.chosen["behaviour"] == name].set_index("vector")
        effect, before = chosen.loc[STEERING], str(steered["reason"].to_dict()[0.0])
        return {
            "behaviour": name,
            "site": str(point.site),
            "positions": point.positions,
            "strength": point.strength,
            "scale": point.scale,
            **{column: effect[column] for column in EFFECT},
            **self._rate_tests(name, point.strength),
            "p": p_value(pd.DataFrame(chosen.reset_index())),
            "subtracted": rates[-point.strength],
            "unsteered": rates[0.0],
            "added": rates[point.strength],
            "random_low": random.quantile(0.025),
            "random_high": random.quantile(0.975),
            "answer_probability": ends["answer_probability"].min(),
            "collapsed": not point.valid or (bool(ends["collapsed"].any()) and not before),
        }

    def _rate_tests(self, name: str, strength: float) -> dict[str, float]:
        """The p of the change of one behaviour's matching rate, added and subtracted, paired by item."""
        own = self.answers[self.answers["behaviour"] == name]
        by_item = own.pivot_table(index="item", columns="strength", values="matches", aggfunc="mean", sort=False)
        changes = {
            end: torch.tensor((by_item[sign * strength] - by_item[0.0]).to_numpy(dtype=float), device="cpu")
            for end, sign in (("added", 1), ("subtracted", -1))
        }
        return {f"{end}_p": sign_flip_p(change) for end, change in changes.items()}


def individual_steering(
    model: SteerableModel,
    behaviours: Mapping[str, Splits],
    settings: Individual | None = None,
    vectors: Mapping[str, SteeringVector] | None = None,
    controls: Mapping[str, Sequence[SteeringVector]] | None = None,
    progress: bool = False,
) -> IndividualResult:
    """Steers each behaviour by a vector of its own, chosen on validation and reported on test.

    Args:
        model: a loaded model.
        behaviours: the items of each behaviour in three splits.
        settings: sites, strengths, positions, controls; the defaults where absent.
        vectors: by behaviour, such as those of another method; made of the training items where absent.
        controls: by behaviour, vectors that go through the protocol as the random directions do, such as those of
            shuffled labels (`data.contrast.shuffled_labels`); their names end in a number.
        progress: draw a progress bar.

    Returns:
        Vectors, chosen points, and tidy frames of validation, test, geometry and lens.

    Raises:
        ScoreError: there are no behaviours.
        ContrastError: a behaviour has no training items.
    """
    settings = settings or Individual()
    if not behaviours:
        raise ScoreError("no behaviours; give at least one, such as {'myopic': split_items(items)}.")
    used, points, found = {}, {}, []
    for name, splits in track(behaviours.items(), "steering each behaviour", len(behaviours), progress):
        used[name] = vectors[name] if vectors else own_vector(model, name, splits, settings)
        points[name], frames = steer_behaviour(model, used[name], splits, settings, (controls or {}).get(name, ()))
        found.append([_labelled(frame, name, settings.scale) for frame in frames])
    validation, chosen, curves, answers = (pd.concat(frames, ignore_index=True) for frames in zip(*found, strict=True))
    return IndividualResult(
        vectors=used,
        points=points,
        validation=validation,
        chosen=chosen,
        curves=curves,
        answers=answers,
        cosines=_cosines(used, points),
        lens=_lens(model, used, points, settings.lens_tokens),
        facts=asdict(settings) | {"checkpoint": None},
    )


def own_vector(model: SteerableModel, name: str, splits: Splits, settings: Individual) -> SteeringVector:
    """The vector of a behaviour, of its training items.

    Args:
        model: a loaded model.
        name: of the behaviour.
        splits: its items.
        settings: where the vector is read, and behind what.

    Returns:
        The mean difference at every site of the settings.

    Raises:
        ContrastError: the behaviour has no training items.
    """
    answer: Completion = "text" if settings.scoring == "letter" else "option"
    answer = answer if settings.answer == "as_asked" else settings.answer
    contrast = contrast_from_choices(name, splits.train, settings.template, answer)
    return extract(
        model,
        contrast,
        sites=settings.sites,
        position="after_prompt" if answer == "option" else "last",
        batch_size=settings.batch_size,
        cache=settings.checkpoint,
    )


def steer_behaviour(
    model: SteerableModel,
    vector: SteeringVector,
    splits: Splits,
    settings: Individual,
    controls: Sequence[SteeringVector] = (),
) -> tuple[OperatingPoint, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Puts one vector and its controls through the whole protocol.

    Args:
        model: the vector's model.
        vector: of one behaviour.
        splits: its items.
        settings: sites, strengths, positions, random directions.
        controls: further vectors beside the random directions.

    Returns:
        The vector's point; and the frames `validation`, `chosen`, `curves` and `answers` of `IndividualResult`.
    """
    pool = [vector, *(random_like(vector, settings.seed + k) for k in range(settings.n_random)), *controls]
    places = _places(model, pool, splits.validation, settings)
    swept, points = _chosen(model, pool, splits.validation, places, settings)
    tested, curves = _tested(model, pool, points, splits.test, _strengths_at(points[0], swept[0]), settings)
    mapped = swept[0]
    if settings.mapped:
        everywhere = dict.fromkeys(settings.positions, sites_of(model, settings.sites))
        (mapped,) = _swept(model, [vector], splits.validation, everywhere, settings.strengths, settings)
    chosen = pd.DataFrame(
        [
            _chosen_row(STEERING if entry is vector else entry.name, point, result)
            for entry, point, result in zip(pool, points, tested, strict=True)
        ]
    )
    validation = pd.concat([result.summary().assign(positions=result.positions) for result in mapped])
    validation = validation.drop_duplicates(["site", "positions", "strength"])
    here = validation["site"].eq(str(points[0].site)) & validation["strength"].eq(points[0].strength)
    validation = validation.assign(chosen=here & validation["positions"].eq(points[0].positions))
    curve = [curves[0].summary().assign(vector=STEERING)]
    curve += [result.summary(confidence=None).assign(vector=result.vector) for result in curves[1:]]
    return points[0], (
        validation,
        chosen,
        pd.concat(curve).assign(positions=points[0].positions),
        curves[0].to_frame(),
    )


def p_value(chosen: pd.DataFrame) -> float:
    """The share of vectors, the steering one included, that go through the protocol at least as well.

    Args:
        chosen: rows of one behaviour, with columns `vector`, `valid` and `excess`; random directions whose point is
            not valid do not count as going as far.

    Returns:
        p; 1 where the steering vector's own point is not valid.
    """
    steering = chosen["vector"].eq(STEERING)
    excess = chosen["excess"].where(chosen["valid"], float("-inf"))
    return control_p(float(excess[steering].iloc[0]), excess[~steering])


def between_strengths(best: float, strengths: Sequence[float], known: Sequence[float]) -> list[float]:
    """The strengths next to the best of a coarse grid, which are swept after it.

    Args:
        best: the best of the known ones, above 0.
        strengths: all that there are; those without their negative are passed over.
        known: those that were swept.

    Returns:
        The new ones of both signs; none where the neighbours of the best are known.
    """
    sizes = sorted({s for s in strengths if s > 0 and -s in strengths} | {best})
    place = sizes.index(best)
    new = [s for s in sizes[max(place - 1, 0) : place + 2] if s not in known]
    return [sign * s for sign in (-1, 1) for s in new]


def _places(
    model: SteerableModel, pool: Sequence[SteeringVector], items: Sequence[ChoiceItem], settings: Individual
) -> Places:
    """The sites and rules at which any vector of the pool moves the answers most."""
    few, sites = items[: settings.screened], sites_of(model, settings.sites)
    reach: dict[tuple[str, Site], float] = {}
    for rule in settings.positions:
        if settings.screening == "first_order":
            slopes = first_order(model, pool, few, sites, rule, settings.scale, scoring_options(settings))
            means = slopes.groupby(["site", "vector"])["slope"].mean().abs().groupby("site").max()
            reach |= {(rule, site): float(means[str(site)]) for site in sites}
        else:
            middle = sorted(s for s in settings.strengths if s > 0)[sum(s > 0 for s in settings.strengths) // 2]
            swept = sweep_each(
                model, pool, few, sites, (-middle, middle), rule, settings.scale, scoring_options(settings)
            )
            for site in swept[0].sites:
                means = [result.differences(site).mean(dim=0) for result in swept]
                reach[rule, site] = max(abs(float(mean[-1] - mean[0])) for mean in means)
    best = sorted(reach, key=lambda place: -reach[place])[: settings.places]
    return {
        rule: sorted(site for here, site in best if here == rule) for rule in dict.fromkeys(rule for rule, _ in best)
    }


def _chosen(
    model: SteerableModel,
    pool: Sequence[SteeringVector],
    items: Sequence[ChoiceItem],
    places: Places,
    settings: Individual,
) -> tuple[list[list[SweepResult]], list[OperatingPoint]]:
    """Of each vector, its sweeps and its point; where the strengths are coarse at first, refined once for all."""
    cost = partial(_relative_norm, pool[0], settings.scale)
    strengths = every_second(settings.strengths) if settings.coarse else settings.strengths
    swept = _swept(model, pool, items, places, strengths, settings)
    points = choose_each(swept, cost)
    best = max(points, key=lambda point: (point.valid, point.beyond))
    between = between_strengths(best.strength, settings.strengths, strengths)
    if not between:
        return swept, points
    fine = _swept(model, pool, items, {best.positions: [best.site]}, between, settings)
    swept = [[*own, *more] for own, more in zip(swept, fine, strict=True)]
    return swept, choose_each(swept, cost)


def _strengths_at(point: OperatingPoint, swept: Sequence[SweepResult]) -> list[float]:
    """The strengths at which a vector was swept at the place of a point."""
    here = (result for result in swept if result.positions == point.positions and point.site in result.sites)
    return sorted({strength for result in here for strength in result.strengths})


def _swept(
    model: SteerableModel,
    pool: Sequence[SteeringVector],
    items: Sequence[ChoiceItem],
    places: Places,
    strengths: Sequence[float],
    settings: Individual,
) -> list[list[SweepResult]]:
    """Of each vector, its sweeps over some strengths, one a rule."""
    by_rule = [
        sweep_each(model, pool, items, sites, strengths, rule, settings.scale, scoring_options(settings))
        for rule, sites in places.items()
    ]
    return [list(own) for own in zip(*by_rule, strict=True)]


def _tested(
    model: SteerableModel,
    pool: Sequence[SteeringVector],
    points: Sequence[OperatingPoint],
    items: Sequence[ChoiceItem],
    drawn: Sequence[float],
    settings: Individual,
) -> tuple[list[SweepResult], list[SweepResult]]:
    """Each vector on test at its own place; and all vectors over the strengths drawn at the place of the first."""
    found: dict[int, SweepResult] = {}
    home = (points[0].positions, points[0].site)
    everyone = list(range(len(pool)))
    curves: list[SweepResult] = []
    for place in dict.fromkeys((point.positions, point.site) for point in points):
        here = [number for number in everyone if (points[number].positions, points[number].site) == place]
        members = everyone if place == home else here
        needed = {sign * points[number].strength for number in here for sign in (-1, 1)}
        strengths = drawn if place == home else sorted(needed)
        swept = sweep_each(
            model,
            [pool[number] for number in members],
            items,
            [place[1]],
            strengths,
            place[0],
            settings.scale,
            scoring_options(settings),
        )
        curves = list(swept) if place == home else curves
        found |= {number: result for number, result in zip(members, swept, strict=True) if number in here}
    return [found[number] for number in everyone], curves


def _chosen_row(vector: str, point: OperatingPoint, tested: SweepResult) -> dict[str, object]:
    """One vector: its point on validation, and its effect there on test items."""
    differences = dict(zip(tested.strengths, tested.differences(point.site).T, strict=True))
    effects = (differences[point.strength] - differences[-point.strength]) / 2
    found = mean_interval(effects)
    return {
        "vector": vector,
        "site": str(point.site),
        "positions": point.positions,
        "strength": point.strength,
        "valid": point.valid,
        "validation_effect": point.effect,
        "band": point.band,
        **found.columns("effect"),
        "effect_p": sign_flip_p(effects),
        "excess": found.value - point.band,
    }


def _relative_norm(vector: SteeringVector, scale: Scale, point: OperatingPoint) -> float:
    """The norm of what is added at a point, over the site's median activation norm."""
    edit = Intervention.of(vector, point.site, point.strength, scale)
    return float(edit.strength * edit.direction.norm()) / vector.activation_norm(point.site)


def _labelled(frame: pd.DataFrame, name: str, scale: str) -> pd.DataFrame:
    """The behaviour in front of every row, and the strength's scale behind it."""
    labelled = frame.assign(scale=scale)
    labelled.insert(0, "behaviour", name)
    return labelled


def _cosines(vectors: Mapping[str, SteeringVector], points: Mapping[str, OperatingPoint]) -> pd.DataFrame:
    """Cosines at every chosen site that all vectors share, in order of site."""
    sites = sorted({point.site for point in points.values()})
    return pd.concat([cosine_map(vectors, site).to_frame() for site in sites], ignore_index=True)


def _lens(
    model: SteerableModel, vectors: Mapping[str, SteeringVector], points: Mapping[str, OperatingPoint], k: int
) -> pd.DataFrame:
    """The logit lens of each vector at its chosen site."""
    frames = [vector_lens(model, v, points[name].site, k).assign(behaviour=name) for name, v in vectors.items()]
    return pd.concat(frames, ignore_index=True)
