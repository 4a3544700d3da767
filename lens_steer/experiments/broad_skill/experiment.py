"""Steering a broad skill away: does code fall faster than text, and is a narrow skill easier to single out?

    vector    text minus code, text minus Python; written at all tokens of one site, or of several at once
    curve     relative top-1 of the target against relative top-1 of text, over strengths, on fixed documents
    retained  relative text accuracy where the target has fallen to 95, 90, 80, 50, 20 %

Source: van der Weij, Poesio & Schoots 2024 (arXiv 2403.05767). Every configuration is measured on the same documents
(theirs were not), with intervals over documents and norm-matched random directions beside their permuted control.
Vectors are read as in the paper (`as_published`) and by a corrected rule (`vectors`). The site, the reading rule and
the strength are chosen on validation documents; all test numbers come from one pass over test documents. Negative
strengths steer towards the skill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.data.corpora import SPLITS, Corpus
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError, ScoreError
from lens_steer.experiments.broad_skill.curves import (
    STEERING,
    MeasuredCurve,
    SkillCurve,
    Write,
    Writing,
    curve_rows,
    measure_curves,
    retained_rows,
    scale_in_words,
    side_effect_row,
)
from lens_steer.experiments.broad_skill.points import (
    Choice,
    choose_lower,
    choose_raise,
    compare_targets,
    point_row,
    preferred,
)
from lens_steer.experiments.broad_skill.vectors import (
    ReadingRule,
    mean_activations,
    permuted_control,
    skill_vector,
    vector_geometry,
)
from lens_steer.experiments.evaluator import Evaluator, scoring_options
from lens_steer.hooks import Scale
from lens_steer.hooks.sites import Site, parse_sites
from lens_steer.metrics.selectivity import LEVELS
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector, random_like

Vectors = Mapping[tuple[str, ReadingRule], SteeringVector]
OF_ONE_VECTOR = ("points", "curves", "retained", "others")


@dataclass(frozen=True, kw_only=True)
class BroadSkill:
    """How skills are steered away: at the `sites` one by one, and at each group of `joint_sites` at once.

    `level` is the relative accuracy to which the target should fall: sites and reading rules are compared by the text
    retained there. `strengths` hold 0; as in the paper the vector is added, at all tokens, and they multiply it as
    extracted (`raw`). With `write="match"` the component along the vector is set to text's instead: strength 1 is all
    the way, and `scale` changes nothing. `positions="content"` leaves out the first token, an attention sink.
    """

    targets: tuple[str, ...] = ("code", "python")
    neutral: str = "text"
    sites: str | tuple[str, ...] = "resid_post@*"
    joint_sites: tuple[tuple[str, ...], ...] = ()
    strengths: tuple[float | int, ...] = (-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    scale: Scale = "raw"
    positions: str = "all"
    write: Write = "add"
    readings: tuple[ReadingRule, ...] = ("as_published", "corrected")
    level: float = 0.5
    levels: tuple[float, ...] = LEVELS
    n_random: int = 20
    n_permuted: int = 3
    max_tokens: int | None = 4096
    batch_size: int = 32
    resamples: int = 999
    checkpoint: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class BroadSkillResult(Tables):
    """Everything that was found, as tidy frames.

    `points`: one row a target, reading and direction (`lower`, `raise`): the point chosen on validation and its test
    numbers, `chosen` where the reading is best on validation. `curves`: one row a target, reading, split, vector
    (`steering`, `random k`, `permuted k`), site, strength and skill. `retained`: what text retains at each level.
    `others`: every skill's test documents at the points that lower the target. `comparison`: what text retains under
    the first target's vector minus what it retains under another's, at the same loss of either's own skill, paired by
    text document. `geometry`: the vectors.
    """

    kind = "broad_skill"
    points: pd.DataFrame
    curves: pd.DataFrame
    retained: pd.DataFrame
    others: pd.DataFrame
    comparison: pd.DataFrame
    geometry: pd.DataFrame

    def table(self, split: str = "test") -> pd.DataFrame:
        """Text retained (per cent) at each level of the target, one row a target, reading, vector and site."""
        rows = self.retained[self.retained["split"] == split].assign(percent=lambda frame: 100 * frame["retained"])
        index = ["target", "reading", "vector", "site"]
        table = rows.pivot(index=index, columns="level", values="percent")
        return table.reindex(rows.set_index(index).index.unique()).sort_index(axis=1, ascending=False)


def broad_skill(
    model: SteerableModel,
    corpora: Mapping[str, Corpus],
    settings: BroadSkill | None = None,
    vectors: Vectors | None = None,
    progress: bool = False,
) -> BroadSkillResult:
    """Steers each target skill away, and towards, and reports the accuracy that text retains.

    Args:
        model: a loaded model.
        corpora: the targets and the text that should stay by name; further skills are measured at the chosen points.
        settings: targets, sites, strengths, readings, controls; the defaults where absent.
        vectors: by target and reading, such as published ones; made of the training documents where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        DataError: a corpus is missing, corpora share documents across splits, or a document has fewer than two tokens.
        ScoreError: the strengths lack 0 or a positive one, a split has fewer than two documents, or a group of sites
            has one twice.
        SiteError: the model has no such site, or a vector lacks it.
    """
    settings = settings or BroadSkill()
    _check(corpora, settings)
    places = _places(model, settings)
    vectors = skill_vectors(model, corpora, settings) if vectors is None else vectors
    evaluators = {split: _evaluator(model, corpora, split, settings) for split in SPLITS}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in OF_ONE_VECTOR}
    chosen: dict[tuple[str, ReadingRule], MeasuredCurve] = {}
    for (target, reading), vector in track(vectors.items(), "steering skills", len(vectors), progress):
        rows, chosen[target, reading] = _one_vector(evaluators, vector, places, target, reading, settings)
        for name, found in rows.items():
            frame = pd.DataFrame(found)
            frame.insert(0, "target", target)
            frame.insert(1, "reading", reading)
            tables[name].append(frame)
    frames = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    frames["points"] = preferred(frames["points"])
    frames["curves"] = frames["curves"].assign(scale=scale_in_words(settings.write, settings.scale))
    comparison = compare_targets(chosen, settings.levels, settings.resamples, settings.seed)
    facts = _facts(model, corpora, settings)
    return BroadSkillResult(**frames, comparison=comparison, geometry=vector_geometry(vectors), facts=facts)


def skill_vectors(model: SteerableModel, corpora: Mapping[str, Corpus], settings: BroadSkill) -> Vectors:
    """Text minus each target, in each reading, at every site of the settings.

    Args:
        model: a loaded model.
        corpora: as for `broad_skill`.
        settings: targets, readings and sites.

    Returns:
        Vectors by target and reading.
    """
    sites = tuple(sorted({site for place in _places(model, settings) for site in place}))
    text, cut, batch = corpora[settings.neutral], settings.max_tokens, settings.batch_size
    return {
        (target, reading): skill_vector(model, text, corpora[target], sites, reading, cut, batch)
        for target in settings.targets
        for reading in settings.readings
    }


def _evaluator(model: SteerableModel, corpora: Mapping[str, Corpus], split: str, settings: BroadSkill) -> Evaluator:
    """The documents of one split."""
    return Evaluator(
        model=model,
        corpora={name: getattr(corpus, split) for name, corpus in corpora.items()},
        neutral=settings.neutral,
        options=scoring_options(settings),
        max_tokens=settings.max_tokens,
    )


def _one_vector(
    evaluators: Mapping[str, Evaluator],
    vector: SteeringVector,
    places: Sequence[tuple[Site, ...]],
    target: str,
    reading: ReadingRule,
    settings: BroadSkill,
) -> tuple[dict[str, list[dict[str, object]]], MeasuredCurve]:
    """Validation, choice, test and controls of one vector, as rows of each table; and its test curve at the choice."""
    grid = tuple(sorted(float(strength) for strength in settings.strengths))
    curves = [SkillCurve(vector, STEERING, place, grid) for place in places]
    writing = _writing(evaluators["train"], vector, reading, settings)
    validated = measure_curves(evaluators["validation"], curves, target, writing)
    lower, raised = choose_lower(validated, settings.level), choose_raise(validated)
    controls = _controls(evaluators["train"], vector, target, reading, lower, raised, settings)
    tested = measure_curves(evaluators["test"], [*curves, *controls], target, writing)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in OF_ONE_VECTOR}
    for split, found in (("validation", validated), ("test", tested)):
        rows["curves"] += [{"split": split, **row} for row in curve_rows(found, settings.resamples, settings.seed)]
        retained = retained_rows(found, settings.levels, settings.resamples, settings.seed)
        rows["retained"] += [{"split": split, **row} for row in retained]
    for direction, choice in (("lower", lower), ("raise", raised)):
        if choice is not None:
            row = point_row(tested, choice, settings.resamples, settings.seed)
            rows["points"].append({"direction": direction, **row})
    curve = SkillCurve(vector, STEERING, lower[0], (lower[1],))
    for skill in evaluators["test"].corpora:
        (side_effects,) = evaluators["test"].side_effects([curve.edits(lower[1], writing)], skill)
        row = side_effect_row(side_effects, settings.resamples, settings.seed)
        rows["others"].append({"site": curve.site, "strength": lower[1], "skill": skill, **row})
    return rows, next(found for found in tested if found.curve.place == lower[0])


def _controls(
    train: Evaluator,
    vector: SteeringVector,
    target: str,
    reading: ReadingRule,
    lower: Choice,
    raised: Choice | None,
    settings: BroadSkill,
) -> list[SkillCurve]:
    """Random directions at the chosen points; the paper's permuted means, for the paper's reading, at the lower one."""
    upward = tuple(sorted(float(strength) for strength in settings.strengths if strength >= 0))
    curves = []
    for k in range(settings.n_random):
        random = random_like(vector, settings.seed + k)
        curves.append(SkillCurve(random, f"random {k}", lower[0], upward))
        curves += [SkillCurve(random, f"random {k}", raised[0], (raised[1],))] if raised is not None else []
    if reading == "as_published" and settings.n_permuted:
        text, skill = (_means(train, name, vector, reading, settings) for name in (settings.neutral, target))
        permuted = (permuted_control(vector, text, skill, settings.seed + k) for k in range(settings.n_permuted))
        curves += [SkillCurve(control, f"permuted {k}", lower[0], upward) for k, control in enumerate(permuted)]
    return curves


def _writing(train: Evaluator, vector: SteeringVector, reading: ReadingRule, settings: BroadSkill) -> Writing:
    """How the settings have a vector written."""
    means = _means(train, settings.neutral, vector, reading, settings) if settings.write == "match" else None
    return Writing(scale=settings.scale, positions=settings.positions, means=means)


def _means(
    train: Evaluator, name: str, vector: SteeringVector, reading: ReadingRule, settings: BroadSkill
) -> dict[Site, Tensor]:
    """The mean activations of one corpus's training documents at the sites of a vector."""
    cut, batch = settings.max_tokens, settings.batch_size
    return mean_activations(train.model, train.corpora[name], vector.sites, reading, cut, batch)


def _places(model: SteerableModel, settings: BroadSkill) -> list[tuple[Site, ...]]:
    """Every site alone, then the groups."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    places: list[tuple[Site, ...]] = [(site,) for site in parse_sites(settings.sites, n_layers, n_heads)]
    for group in settings.joint_sites:
        if len({Site.parse(site) for site in group}) < max(len(group), 2):
            raise ScoreError(f"joint sites {', '.join(group)}; give two or more different ones, each once.")
        places.append(tuple(Site.parse(site) for site in group))
    return places


def _check(corpora: Mapping[str, Corpus], settings: BroadSkill) -> None:
    """Refuses what cannot be compared."""
    missing = [name for name in (settings.neutral, *settings.targets) if name not in corpora]
    if missing or settings.neutral in settings.targets or not settings.targets:
        raise DataError(
            f"corpora {', '.join(corpora) or 'none'}; the targets {', '.join(settings.targets) or '(none)'} and the "
            f"text {settings.neutral!r} that should stay must be among them, and differ."
        )
    if 0 not in settings.strengths or max(settings.strengths) <= 0:
        raise ScoreError(
            f"strengths {list(settings.strengths)}; give 0, the unsteered model, and at least one above 0."
        )
    where: dict[str, tuple[str, str]] = {}
    for name, corpus in corpora.items():
        for split in SPLITS:
            for document in getattr(corpus, split):
                corpus_before, split_before = where.setdefault(document, (name, split))
                if split_before != split:
                    raise DataError(
                        f"a {split} document of corpus {name!r} is a {split_before} document of {corpus_before!r}; "
                        "vectors must not be made of what they are judged on: leave it out of one."
                    )


def _facts(model: SteerableModel, corpora: Mapping[str, Corpus], settings: BroadSkill) -> dict[str, Any]:
    """What holds for all frames: settings, model, documents, libraries."""
    sizes = {name: {split: len(getattr(corpus, split)) for split in SPLITS} for name, corpus in corpora.items()}
    return {
        "settings": asdict(settings) | {"checkpoint": None},
        "model": fingerprint(model).to_dict(),
        "corpora": {name: {"hash": corpus.hash, **sizes[name]} for name, corpus in corpora.items()},
        "versions": versions(),
    }
