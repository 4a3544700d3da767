"""Two lists of texts: the vector between them, chosen and tested beside controls, what it costs and what it writes.

    L_i(s)     mean log-likelihood of the tokens of text i at strength s                              nats a token
    effect     mean over positive texts of e_i - mean over negative ones,    e_i = [L_i(+s) - L_i(-s)] / 2
    site       where adding makes the positive validation texts likelier than the negative ones fastest, to first order
    strength   the largest up to which neutral texts stay predictable (`metrics.costs.usable_strength`), by bisection;
               0 where none is, or where adding helps at no site
    p          (1 + controls with as large an effect) / (1 + controls)

Vectors of shuffled labels are made, chosen and tested by their own labels, and random directions by the true ones. As
all labellings are exchangeable where the labels say nothing, p of the former is exact: two halves of one list are
called steerable in at most one of 20 runs. Test texts are read once, at the chosen points. What lowers or raises the
likelihood of all texts alike is no effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.analysis.lens import vector_lens
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import SPLITS
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.likelihood import TextLikelihoods, text_likelihoods, text_rows, text_slopes
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.experiments.text_lists.lists import (
    Labels,
    read_lists,
    shuffled,
    split_lists,
    texts_of,
    true_labels,
)
from lens_steer.experiments.text_lists.rules import verdict_of
from lens_steer.experiments.text_lists.settings import (
    LEAST_CONTROLS,
    LEAST_NEUTRAL,
    LIMITING,
    LIMITING_TOKENS,
    NEUTRAL,
    PROMPTS,
    TextLists,
)
from lens_steer.generation import Decoding, generate
from lens_steer.generation.steps import token_steps
from lens_steer.hooks import Intervention, require_unsteered
from lens_steer.hooks.sites import Site, sites_of
from lens_steer.metrics.collapse import generation_collapse
from lens_steer.metrics.costs import usable_strength
from lens_steer.metrics.significance import control_p
from lens_steer.metrics.statistics import Interval, difference_interval, mean_interval
from lens_steer.model import SteerableModel, fingerprint, held, require_model, versions
from lens_steer.vector import SteeringVector, load_vector, random_like

VECTOR, STEPS = "vector.safetensors", "steps"
RESAMPLES = 1999
SIGNS = (1, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextListsResult(Tables):
    """What was found, as tidy frames, and the vector at the chosen site.

    `summary`: one row, the verdict with its numbers. `vectors`: one row a vector, `steering`, `shuffled k` and
    `random k`: its site, strength and effect. `layers`: one row a site: the slope on validation texts, and the middle
    95 % of the controls. `curves`: one row a strength and list: the change of likelihood of test texts. `texts`: one
    row a test text. `side_effects`: one row a strength and measure. `lens`: tokens of the vector. `generations`: one
    row a strength and prompt. `steps`: one row a token of these, with its edit; none in results of before there were.
    """

    kind = "text_lists"
    later = (STEPS,)
    summary: pd.DataFrame
    vectors: pd.DataFrame
    layers: pd.DataFrame
    curves: pd.DataFrame
    texts: pd.DataFrame
    side_effects: pd.DataFrame
    lens: pd.DataFrame
    generations: pd.DataFrame
    steps: pd.DataFrame
    vector: SteeringVector

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(name for name in super().names() if name != "vector")

    @property
    def verdict(self) -> str:
        """The verdict alone; its rules are in `experiments.text_lists.rules`."""
        return str(self.summary["verdict"].iloc[0])

    def to_frame(self) -> pd.DataFrame:
        """The verdict with its numbers, one row: `summary`."""
        return self.summary

    def plot(self) -> Any:
        """The choice of the site, the effect beside controls, the likelihood of both lists, and the side effects."""
        from lens_steer.experiments.text_lists.figures import text_list_panels

        return text_list_panels(self.layers, self.vectors, self.curves, self.side_effects)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the tables and the vector; `load` reads them back."""
        return [*super().save(folder), self.vector.save(Path(folder) / VECTOR)]

    @classmethod
    def load(cls, folder: str | Path, model: SteerableModel | None = None) -> "TextListsResult":
        """Reads what `save` wrote.

        Args:
            folder: of the files.
            model: where given, the vector must be of this model.

        Raises:
            FormatError: a file is missing, truncated, edited, foreign or of a newer schema.
            MismatchError: the vector is of another model.
        """
        frames, facts = cls._read(folder)
        return cls(**frames, facts=facts, vector=load_vector(Path(folder) / VECTOR, model))


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One vector and the labels by which it is chosen and tested; `site`, `slope` and `strength` are the choice."""

    vector: SteeringVector
    labels: Labels
    site: Site
    slope: float
    strength: float = 0.0

    def edit(self, strength: float, settings: TextLists) -> list[Intervention]:
        """The configuration of a strength."""
        return [Intervention.of(self.vector, self.site, strength, settings.scale, settings.positions)]


def study_texts(
    model: SteerableModel,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    name: str = "study",
    neutral: Sequence[str] = NEUTRAL,
    prompts: Sequence[str] = PROMPTS,
    settings: TextLists | None = None,
    progress: bool = False,
) -> TextListsResult:
    """Studies the vector between two lists of texts.

    Args:
        model: a loaded model.
        positive: texts of what the vector shall add; at least 12 different ones, better 20 or more.
        negative: texts of its opposite, or without it; their number may differ.
        name: of the vector.
        neutral: texts that steering should leave alone, at least 12; the first four limit the strength.
        prompts: what is continued at every strength; at least two.
        settings: sites, strengths, controls, sizes; the defaults where absent.
        progress: draw a progress bar.

    Returns:
        Tidy frames, and the vector.

    Raises:
        DataError: too few different texts in a list, a text in both lists, or one of fewer than two tokens; too few
            neutral texts or prompts.
        ScoreError: a strength that is not above 0, or too few controls for a verdict.
        SiteError, PositionError, SteeringError, ActivationError, LogitError: as `extract` and `text_likelihoods`.

    Example:
        >>> from lens_steer import load_model
        >>> study_texts(load_model("lab"), ["The king slept."], ["The cat ran."])
        Traceback (most recent call last):
        lens_steer.errors.DataError: the positive list: 1 different texts of 1 ...
    """
    settings = settings or TextLists()
    require_model(model, "study_texts(model, positive, negative)", positive, negative)
    require_unsteered(model, "study_texts", "call it without steering")
    lists = split_lists(positive, negative, settings)
    _require(model, lists, neutral, prompts, settings)
    with held(model):
        return _studied(model, name, lists, neutral, prompts, settings, progress)


def _studied(
    model: SteerableModel,
    name: str,
    lists: tuple[Corpus, Corpus],
    neutral: Sequence[str],
    prompts: Sequence[str],
    settings: TextLists,
    progress: bool,
) -> TextListsResult:
    """The study of lists that may be studied."""
    pool, layers = _candidates(model, name, lists, settings, progress)
    pool = _with_strengths(model, pool, neutral[:LIMITING], settings, progress)
    steering, size = pool[STEERING], pool[STEERING].strength or min(settings.strengths)
    vectors, curves, texts, effect = _tested(model, pool, lists, settings, size, progress)
    side_effects = _side_effects(model, steering, neutral[LIMITING:], settings, progress)
    generations, steps = _generations(model, steering, size, prompts, settings, progress)
    summary = _summary(name, steering, vectors, effect, size, side_effects, generations, lists, settings)
    facts: dict[str, Any] = {"settings": asdict(settings), "versions": versions(), "vector": name}
    facts |= {"model": fingerprint(model).to_dict(), "neutral": len(neutral), "prompts": list(prompts)}
    facts["texts"] = {corpus.name: {split: len(getattr(corpus, split)) for split in SPLITS} for corpus in lists}
    return TextListsResult(
        summary=summary,
        vectors=vectors,
        layers=layers,
        curves=curves,
        texts=texts,
        side_effects=side_effects,
        lens=vector_lens(model, steering.vector, steering.site, settings.k),
        generations=generations,
        steps=steps,
        facts=facts,
        vector=steering.vector.only(steering.site),
    )


def _require(
    model: SteerableModel,
    lists: tuple[Corpus, Corpus],
    neutral: Sequence[str],
    prompts: Sequence[str],
    settings: TextLists,
) -> None:
    """Refuses what a verdict cannot be given on, before anything is run."""
    strengths, controls = settings.strengths, min(settings.n_shuffled, settings.n_random)
    if not strengths or min(strengths) <= 0 or controls < LEAST_CONTROLS:
        raise ScoreError(
            f"strengths {list(strengths)}, {settings.n_shuffled} vectors of shuffled labels and {settings.n_random} "
            f"random directions; give strengths above 0 (0 is always tried), and at least {LEAST_CONTROLS} of each "
            "control, without which no p is below .05."
        )
    if len(neutral) < LEAST_NEUTRAL or len(prompts) < 2:
        raise DataError(
            f"{len(neutral)} neutral texts and {len(prompts)} prompts; give at least {LEAST_NEUTRAL} texts, of which "
            f"the first {LIMITING} limit the strength, and at least two prompts."
        )
    for texts in ([text for split in SPLITS for text in texts_of(lists, split)], neutral):
        text_rows(model, texts)


def _difference(values: Float[Tensor, "... n"], positive: Bool[Tensor, " n"]) -> Float[Tensor, "..."]:
    """The mean over the texts that count as positive minus that over the others."""
    return values[..., positive].mean(dim=-1) - values[..., ~positive].mean(dim=-1)


def _candidates(
    model: SteerableModel, name: str, lists: tuple[Corpus, Corpus], settings: TextLists, progress: bool
) -> tuple[dict[str, Candidate], pd.DataFrame]:
    """The vector and its controls, each at the site of its largest slope; and the slopes of all sites."""
    rows, labels = read_lists(model, name, lists, settings, progress), {STEERING: true_labels(lists)}
    vectors = {STEERING: rows.vector(name, labels[STEERING]["train"])}
    for k in range(settings.n_shuffled):
        labels[f"shuffled {k}"] = shuffled(lists, settings.seed + k)
        vectors[f"shuffled {k}"] = rows.vector(f"shuffled {k}", labels[f"shuffled {k}"]["train"])
    for k in range(settings.n_random):
        labels[f"random {k}"] = labels[STEERING]
        vectors[f"random {k}"] = random_like(vectors[STEERING], settings.seed + k)
    sites = sites_of(model, settings.sites)
    slopes = text_slopes(
        model,
        list(vectors.values()),
        texts_of(lists, "validation"),
        sites,
        settings.positions,
        settings.scale,
        GridOptions(progress=progress),
        settings.max_tokens,
    )
    found, columns = {}, []
    for (key, vector), own in zip(vectors.items(), slopes, strict=True):
        differences = _difference(own, labels[key]["validation"])
        best = int(differences.argmax())
        found[key] = Candidate(vector=vector, labels=labels[key], site=sites[best], slope=float(differences[best]))
        columns.append(differences)
    own, controls = columns[0], torch.stack(columns[1:])
    ends = controls.quantile(torch.tensor([0.025, 0.975], device="cpu"), dim=0)
    table = {"site": list(map(str, sites)), "layer": [site.layer for site in sites], "slope": own.tolist()}
    layers = pd.DataFrame(table | {"control_low": ends[0].tolist(), "control_high": ends[1].tolist()})
    chosen = layers["site"].eq(str(found[STEERING].site))
    n = len(labels[STEERING]["validation"])
    return found, layers.assign(chosen=chosen, scale=settings.scale, n=n, n_controls=len(controls))


def _with_strengths(
    model: SteerableModel,
    pool: Mapping[str, Candidate],
    neutral: Sequence[str],
    settings: TextLists,
    progress: bool,
) -> dict[str, Candidate]:
    """Each vector with the largest strength that neutral texts allow, by bisection: they suffer more from more."""
    sizes = sorted(set(settings.strengths))
    usable = {key: 0 for key in pool}
    spoilt = {key: len(sizes) if own.slope > 0 else 0 for key, own in pool.items()}
    while asked := {key: (usable[key] + spoilt[key]) // 2 for key in pool if usable[key] < spoilt[key]}:
        edits = [pool[key].edit(sign * sizes[at], settings) for key, at in asked.items() for sign in SIGNS]
        found = text_likelihoods(model, neutral, edits, GridOptions(progress=progress), LIMITING_TOKENS)
        for (key, at), ratios in zip(asked.items(), found.relative_perplexity.split(len(SIGNS)), strict=True):
            if usable_strength([sign * sizes[at] for sign in SIGNS], ratios.tolist()):
                usable[key] = at + 1
            else:
                spoilt[key] = at
    return {key: replace(own, strength=sizes[usable[key] - 1] if usable[key] else 0.0) for key, own in pool.items()}


def _tested(
    model: SteerableModel,
    pool: Mapping[str, Candidate],
    lists: tuple[Corpus, Corpus],
    settings: TextLists,
    size: float,
    progress: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Interval]:
    """The tables of vectors, curves and texts, and the vector's effect; test texts are read here alone."""
    points = [(STEERING, sign * s) for s in sorted({*settings.strengths, size}) for sign in SIGNS]
    points += [
        (key, sign * own.strength) for key, own in pool.items() if key != STEERING and own.strength for sign in SIGNS
    ]
    edits, texts = [pool[key].edit(s, settings) for key, s in points], texts_of(lists, "test")
    found = text_likelihoods(model, texts, edits, GridOptions(progress=progress), settings.max_tokens)
    steered = dict(zip(points, found.steered, strict=True))
    rows = []
    for key, own in pool.items():
        row = {"vector": key, "site": str(own.site), "positions": settings.positions, "scale": settings.scale}
        row |= {"slope": own.slope, "strength": own.strength, "effect": 0.0}
        if own.strength:
            half = (steered[key, own.strength] - steered[key, -own.strength]) / 2
            row["effect"] = float(_difference(half, own.labels["test"]))
        rows.append(row)
    positive = pool[STEERING].labels["test"]
    added, subtracted = steered[STEERING, size], steered[STEERING, -size]
    half = (added - subtracted) / 2
    each = pd.DataFrame({"list": ["positive" if own else "negative" for own in positive.tolist()], "text": texts})
    each = each.assign(tokens=found.tokens.tolist(), unsteered=found.unsteered.tolist(), strength=size)
    each = each.assign(added=added.tolist(), subtracted=subtracted.tolist(), effect=half.tolist())
    curves = _curves({s: own for (key, s), own in steered.items() if key == STEERING}, found, positive)
    curves = curves.assign(site=str(pool[STEERING].site), scale=settings.scale)
    return pd.DataFrame(rows), curves, each, difference_interval(half[positive], half[~positive])


def _curves(
    steered: Mapping[float, Float[Tensor, " n"]], found: TextLikelihoods, positive: Bool[Tensor, " n"]
) -> pd.DataFrame:
    """The mean change of the likelihood of each list over the signed strengths."""
    rows = []
    for s, (name, own) in product(sorted({0.0, *steered}), (("positive", positive), ("negative", ~positive))):
        change = (steered.get(s, found.unsteered) - found.unsteered)[own]
        bounds = mean_interval(change, resamples=RESAMPLES)
        rows.append({"strength": s, "list": name, **bounds.columns("change"), "n": bounds.n})
    return pd.DataFrame(rows)


def _side_effects(
    model: SteerableModel, own: Candidate, neutral: Sequence[str], settings: TextLists, progress: bool
) -> pd.DataFrame:
    """One row a strength and measure, with its interval over the neutral texts that did not limit the strength."""
    grid = sorted(sign * s for s in settings.strengths for sign in SIGNS)
    edits, options = [own.edit(s, settings) for s in grid], GridOptions(progress=progress)
    measured, rows = side_effect_grid(model, neutral, edits, options, settings.max_tokens), []
    for s, spoilt in zip(grid, measured, strict=True):
        for measure, bounds in spoilt.intervals(resamples=RESAMPLES).items():
            row = {"text": "neutral", "strength": s, "scale": settings.scale, "measure": measure}
            rows.append(
                row | {"value": bounds.value, "low": bounds.low, "high": bounds.high, "why": bounds.why, "n": bounds.n}
            )
    return pd.DataFrame(rows)


def _generations(
    model: SteerableModel, own: Candidate, size: float, prompts: Sequence[str], settings: TextLists, progress: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Continuations at the strength subtracted, unsteered, added, and added twice; and their tokens."""
    how, rows, steps = Decoding(max_new_tokens=settings.new_tokens, seed=settings.seed), list[dict[str, Any]](), []
    for s in (-size, 0.0, size, 2 * size):
        edits = own.edit(s, settings) if s else []
        entries = generate(model, list(prompts), edits, how, record=True, progress=progress).continuations
        fallen = generation_collapse([entry.tokens for entry in entries], [entry.text for entry in entries])
        row = {"strength": s, "scale": settings.scale, "collapsed": fallen.collapsed, "reason": fallen.reason}
        rows += [row | {"prompt": entry.prompt, "text": entry.text} for entry in entries]
        for entry in entries:
            steps.append(token_steps(model, entry, edits, how).assign(**row, prompt=entry.prompt))
    return pd.DataFrame(rows), pd.concat(steps, ignore_index=True)


def _summary(
    name: str,
    own: Candidate,
    vectors: pd.DataFrame,
    effect: Interval,
    size: float,
    side_effects: pd.DataFrame,
    generations: pd.DataFrame,
    lists: tuple[Corpus, Corpus],
    settings: TextLists,
) -> pd.DataFrame:
    """The verdict with its numbers, one row."""
    row: dict[str, Any] = {"vector": name, "site": str(own.site), "positions": settings.positions}
    row |= {"strength": own.strength, "shown": size, "scale": settings.scale, "slope": own.slope}
    row |= effect.columns("effect") | {f"n_{corpus.name}": len(corpus.test) for corpus in lists}
    reached = vectors.loc[vectors["vector"] == STEERING, "effect"].item()
    for kind in ("shuffled", "random"):
        others = vectors.loc[vectors["vector"].str.startswith(f"{kind} "), "effect"]
        row |= {f"p_{kind}": control_p(reached, others), f"n_{kind}": len(others)}
        row[f"{kind}_high"] = float(others.max())
    spoilt = side_effects[side_effects["strength"].eq(size)].set_index("measure")
    for measure in ("kl", "relative_perplexity"):
        row |= {f"{measure}{end}": spoilt.loc[measure, column] for end, column in ENDS.items()}
    fallen: Any = generations.drop_duplicates("strength").set_index("strength")
    reasons = [fallen.loc[s, "reason"] for s in (size, -size)] if not fallen.loc[0.0, "collapsed"] else []
    row["collapsed"] = "; ".join(filter(None, reasons))
    verdict, why = verdict_of(row)
    return pd.DataFrame([row | {"verdict": verdict, "why": why}])


ENDS = {"": "value", "_low": "low", "_high": "high"}
