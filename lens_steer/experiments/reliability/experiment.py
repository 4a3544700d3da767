"""The reliability of steering, behaviour by behaviour: per item, per prompt, per layer, and what predicts it.

    judge        one vector of training items through the whole protocol; its verdict by stated rules   `judge`, `rules`
    beyond       other prompt settings, varied questions, other layers                                  `beyond`
    predictors   what could be told before steering, and how it ranks behaviours                        `predictors`

Sources: Tan et al. 2024 (arXiv 2407.12404), Braun et al. 2025 (arXiv 2505.22637). Unlike the former, every item is
asked in both option orders (or its options' texts are scored), flat items are not called anti-steerable, random
directions and vectors of shuffled labels go through the same choice, and every number has an interval. A behaviour that
fails is named in the facts, and the others go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import LensSteerError, ScoreError
from lens_steer.experiments.reliability.beyond import over_layers, shifted, varied
from lens_steer.experiments.reliability.judge import judge_vector
from lens_steer.experiments.reliability.predictors import predictors, ranking
from lens_steer.experiments.reliability.prompts import Persona, persona_of
from lens_steer.experiments.reliability.settings import Reliability, places_of
from lens_steer.extraction import extract, shuffled_vectors
from lens_steer.metrics.significance import holm
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector


@dataclass(frozen=True, kw_only=True, eq=False)
class ReliabilityResult(Tables):
    """The study as tidy frames.

    `behaviours`: one row a behaviour: steerability and its spread over items, anti-steerable share, fit, halves of the
    questions, variance explained, controls, predictors, verdict. `items`: one row a test item. `curves`: one row a
    strength. `controls`: one row a vector. `shift`: one row a pair of prompt settings. `variants`: one row a variant.
    `layers`: one row a site. `best_layers`: one row a behaviour. `ranking`: one row a predictor and target.
    """

    kind = "reliability"
    behaviours: pd.DataFrame
    items: pd.DataFrame
    curves: pd.DataFrame
    controls: pd.DataFrame
    shift: pd.DataFrame
    variants: pd.DataFrame
    layers: pd.DataFrame
    best_layers: pd.DataFrame
    ranking: pd.DataFrame


def reliability(
    model: SteerableModel,
    behaviours: Mapping[str, Splits],
    settings: Reliability | None = None,
    personas: Mapping[str, Persona] | None = None,
    paraphrases: Mapping[str, Sequence[ChoiceItem]] | None = None,
    progress: bool = False,
) -> ReliabilityResult:
    """Studies how reliably a mean-difference vector steers each behaviour.

    Args:
        model: a loaded model.
        behaviours: the items of each behaviour in three splits: vectors, choice of the place, test.
        settings: places, strengths, controls, sizes; the defaults where absent.
        personas: of behaviours, for the prompt settings; sentences of the settings, or made of the name, where absent.
        paraphrases: of the test items of behaviours; rule-made where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames; `facts` names behaviours that failed, and why.

    Raises:
        ScoreError: there are no behaviours, or all of them failed.
    """
    settings = settings or Reliability()
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in ReliabilityResult.names()}
    failed: dict[str, str] = {}
    for name, splits in track(behaviours.items(), "judging each behaviour", len(behaviours), progress):
        said = settings.personas.get(name, ())
        persona = (personas or {}).get(name) or persona_of(name, said, settings.chat)
        try:
            frames = _studied(model, name, splits, persona, (paraphrases or {}).get(name, ()), settings, progress)
        except LensSteerError as error:
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        for table, frame in frames.items():
            found[table].append(frame)
    if not found["behaviours"]:
        why = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise ScoreError(f"no behaviour could be judged; give at least one. {why}".rstrip())
    whole = {name: pd.concat(frames, ignore_index=True) for name, frames in found.items() if frames}
    whole["behaviours"]["p_holm"] = holm(whole["behaviours"]["p"].tolist())
    shift = whole.get("shift", pd.DataFrame())
    whole["ranking"] = ranking(whole["behaviours"], shift, settings.seed)
    facts = {"settings": asdict(settings) | {"checkpoint": None}, "failed": failed}
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    empty = {name: pd.DataFrame(columns=["behaviour"]) for name in ReliabilityResult.names()}
    return ReliabilityResult(**empty | whole, facts=facts)


def behaviour_vector(model: SteerableModel, name: str, splits: Splits, settings: Reliability) -> SteeringVector:
    """The mean difference of a behaviour's training items, at every site of the settings.

    Args:
        model: a loaded model.
        name: of the behaviour.
        splits: its items.
        settings: sites, template, and where the vector is read.

    Raises:
        ContrastError: there are no training items.
    """
    sites = tuple(dict.fromkeys(str(place.site) for place in places_of(model, settings)))
    contrast = _contrast(name, splits, settings)
    return extract(model, contrast, sites=sites, batch_size=settings.batch_size, cache=settings.checkpoint)


def shuffled_controls(
    model: SteerableModel, vector: SteeringVector, splits: Splits, settings: Reliability
) -> list[SteeringVector]:
    """Vectors of shuffled labels of the same training items, as many as the settings ask for.

    Args:
        model: a loaded model.
        vector: of `behaviour_vector`, by the behaviour's name.
        splits: its items.
        settings: template, where the vector is read, and the seed of the first.

    Raises:
        ContrastError: too few training items to shuffle.
    """
    contrast, n = _contrast(vector.name, splits, settings), settings.n_shuffled
    size, cache = settings.batch_size, settings.checkpoint
    return shuffled_vectors(model, vector, contrast, n, settings.seed, size, cache) if n else []


def _contrast(name: str, splits: Splits, settings: Reliability) -> ContrastSet:
    """The pairs of the training items."""
    return contrast_from_choices(name, splits.train, settings.template, settings.answer)


def _studied(
    model: SteerableModel,
    name: str,
    splits: Splits,
    persona: Persona,
    paraphrases: Sequence[ChoiceItem],
    settings: Reliability,
    progress: bool,
) -> dict[str, pd.DataFrame]:
    """Every table of one behaviour."""
    vector = behaviour_vector(model, name, splits, settings)
    controls = shuffled_controls(model, vector, splits, settings)
    judged = judge_vector(model, vector, splits, settings, controls, progress)
    place, rule = judged.place, judged.place.positions
    row: dict[str, Any] = {**judged.row, **predictors(model, vector, place, splits, settings)}
    frames = {
        "behaviours": pd.DataFrame([row]),
        "items": judged.items,
        "curves": judged.curves,
        "controls": judged.controls,
    }
    if settings.shifted:
        frames["shift"] = shifted(model, name, place, splits, persona, settings)
    if settings.varied:
        frames["variants"] = varied(model, vector, place, splits.test, paraphrases, settings)
    alike = [one for one in places_of(model, settings) if one.positions == rule]
    frames["layers"], best = over_layers(model, vector, alike, splits.test, settings)
    if best:
        frames["best_layers"] = pd.DataFrame([best])
    for frame in frames.values():
        frame.insert(0, "behaviour", name)
    return frames
