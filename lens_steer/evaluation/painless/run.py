"""From a labelled data set to a tested vector in one call: nobody writes prompts, nobody chooses a layer or a strength.

    for each seed   split      60 % make vectors, 20 % choose, 20 % test; by content, near duplicates together
                    build      a vector of each method from the model's own answers to training items
                    choose     of each vector, and of random ones, site and strength on validation items, 0 among them
                    test       all chosen points on test items, which are opened once

    gain            accuracy on test items, steered - unsteered;     beyond    gain - mean gain of random vectors
    best            the method whose gain on validation items is largest; not to steer where none is above 0

An item's options are listed in an order of its own, the same for all seeds, so that each text is read once. Gains of
different splits share items: the interval and `p_corrected` take account of it (`metrics.repeated_splits`); p-values
are corrected over the methods (Holm). What is kept to steer with is the best vector of the first seed.

Source: Cui & Chen 2025 (arXiv 2509.22739). Unlike there, strength 0 is in the grid, random vectors pay the same
selection, the option order differs from item to item, and vectors are written where they were read. With
`orders="by_run"` one letter is right in a whole run, as in the authors' code, and only that order is asked.

Example:
    >>> from lens_steer import load_model
    >>> from lens_steer.evaluation.automatic import SelectOptions
    >>> from lens_steer.evaluation.painless import PainlessOptions, painless
    >>> from lens_steer.lab.items import open_items
    >>> model, items = load_model("lab"), open_items("sycophancy", 60, split="train")
    >>> found = painless(model, items, PainlessOptions(seeds=(0,), methods=("caa",), select=SelectOptions(places=1)))
    >>> found.runs["method"].tolist()
    ['caa', 'random 0', 'best']
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from warnings import warn

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.data.own_answers import Listing, Orders, OwnAnswers
from lens_steer.data.splits import SPLITS, split_items
from lens_steer.errors import ContrastError, DataError
from lens_steer.evaluation.automatic import Selection, SelectOptions, correct, select_each
from lens_steer.evaluation.painless.result import Painless
from lens_steer.evaluation.prompts import Item
from lens_steer.evaluation.score import ChoiceScores, score_grid, score_prompts
from lens_steer.extraction.own_answers import OwnAnswerRows, read_own_answers
from lens_steer.hooks import require_unsteered
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.metrics.significance import with_holm
from lens_steer.model import SteerableModel, fingerprint, require_model, versions
from lens_steer.vector import SteeringVector
from lens_steer.vector.controls import random_like

BEST, RANDOM = "best", "random"
P_VALUES = ("p_t", "p_corrected", "p_flips")
ONE_LETTER = 0.95
"""A model that gives one letter to at least this share of the questions, in all orders, is said to."""


@dataclass(frozen=True, kw_only=True)
class PainlessOptions:
    """How a data set becomes a vector.

    `methods` are tried; one of which a side has fewer than `fewest` texts is left out of that seed. `seeds` are of the
    splits. `near`: items of this similarity stay together (`split_items`). `n_train` is the most training items, drawn
    by the seed; all where 0. `n_random` random vectors a seed are chosen and tested like the others. `orders`: see
    `data.own_answers`. `select` says what is tried, and how items are asked.
    """

    methods: tuple[OwnAnswers, ...] = ("pas_full", "ipas_all", "ipas_wrong_only", "caa")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    near: float | int | None = 0.8
    fewest: int = 4
    n_train: int = 0
    n_random: int = 1
    orders: Orders = "by_item"
    select: SelectOptions = field(default_factory=SelectOptions)


def painless(
    model: SteerableModel,
    items: Sequence[Item],
    options: PainlessOptions | None = None,
    name: str = "painless",
    progress: bool = False,
) -> Painless:
    """Turns labelled questions into a tested vector, or into the answer not to steer.

    Args:
        model: a loaded model.
        items: the questions, all with the same number of options.
        options: methods, seeds, what is tried and how items are asked; the defaults where absent.
        name: of the data set.
        progress: draw a progress bar.

    Returns:
        Tables, and the best vector of the first seed. A model that gives one letter whatever is asked is warned of.

    Raises:
        DataError: too few items, so that a split is empty.
        ContrastError: no method has texts on both sides: the model answers nearly all right, or nearly all wrong.
        ScoreError, SiteError, OptionTokenError, SteeringError: as `score_choices` and `select`.
    """
    options = options or PainlessOptions()
    require_model(model, "painless(model, items)", items)
    require_unsteered(model, "painless", "call it without steering")
    readings: dict[int, Reading] = {}
    runs, points = [], []
    vector, point = None, {}
    for seed in track(options.seeds, f"painless: {name}", len(options.seeds), progress):
        listing = _listing(options, seed)
        if listing.seed not in readings:
            readings[listing.seed] = read_answers(model, items, options, listing, name, progress)
        found = run_seed(model, items, readings[listing.seed].rows, listing, seed, options)
        runs.append(found.runs)
        points.append(found.points)
        if not point:
            vector, point = found.vector, found.point
    first = readings[_listing(options, options.seeds[0]).seed]
    if first.warning:
        warn(f"{name}: {first.warning}", UserWarning, 2)
    table = pd.concat(runs, ignore_index=True)
    return Painless(
        runs=table,
        points=pd.concat(points, ignore_index=True),
        tests=summarise(table),
        answers=first.answers,
        vector=vector,
        facts={
            "name": name,
            "point": point,
            "options": _written(options),
            "answers": first.warning,
            "model": fingerprint(model).to_dict(),
            "versions": versions(),
        },
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a model answers, the activations of all texts, and what there is to say of the answers."""

    rows: OwnAnswerRows
    answers: pd.DataFrame
    warning: str


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedRun:
    """The tables of one seed, and the best vector with its point."""

    runs: pd.DataFrame
    points: pd.DataFrame
    vector: SteeringVector | None
    point: dict[str, Any]


def read_answers(
    model: SteerableModel,
    items: Sequence[Item],
    options: PainlessOptions,
    listing: Listing,
    name: str,
    progress: bool = False,
) -> Reading:
    """Asks the model for its own answers, in the order in which options are listed, and reads all texts.

    Args:
        model: a loaded model.
        items: the questions.
        options: methods and sites, and how items are asked.
        listing: the order of the options.
        name: of the data set.
        progress: draw a progress bar.

    Raises:
        ContrastError: no method has texts on both sides.
    """
    scoring = options.select.scoring
    arranged, indices, places = zip(*map(listing.arranged, items), strict=True)
    prompts = scoring.prepare(model, arranged)
    scores = score_prompts(model, prompts, batch_size=scoring.batch_size, progress=progress)
    orders = list(places) if scores.by_letter else [0] * len(places)
    chosen = scores.chosen[range(len(orders)), orders].tolist()
    answers = [own[option] for own, option in zip(indices, chosen, strict=True)]
    rows = read_own_answers(
        model,
        items,
        answers,
        options.methods,
        name=name,
        sites=options.select.sites,
        listing=listing,
        batch_size=scoring.batch_size,
        cache=scoring.checkpoint,
        progress=progress,
    )
    table = pd.DataFrame({"item": [item.id for item in items], "answer": answers, "right": [not a for a in answers]})
    return Reading(rows=rows, answers=table, warning=_one_letter(scores))


def run_seed(
    model: SteerableModel,
    items: Sequence[Item],
    rows: OwnAnswerRows,
    listing: Listing,
    seed: int,
    options: PainlessOptions,
) -> SeedRun:
    """One split: vectors of training items, points chosen on validation items, all tested together once.

    Args:
        model: a loaded model.
        items: the questions, as they were read.
        rows: what was read.
        listing: the order in which options were listed.
        seed: of the split.
        options: methods and what is tried.

    Raises:
        DataError: a split is empty.
        ContrastError: no vector can be built of the training items.
    """
    splits = split_items(items, options.fractions, seed, options.near)
    train = splits.train
    if 0 < options.n_train < len(train):
        train = tuple(random.Random(f"train:{seed}").sample(train, options.n_train))
    sizes = {f"n_{split}": len(getattr(splits, split)) for split in SPLITS} | {"n_train": len(train)}
    if not all(sizes.values()):
        raise DataError(f"{rows.name}: {len(items)} items make splits of {[*sizes.values()]}; give more items.")
    vectors, why = build(rows, items, train, options)
    controls = {
        f"{RANDOM} {k}": random_like(next(iter(vectors.values())), 1000 * seed + k) for k in range(options.n_random)
    }
    tried = vectors | controls
    place = listing.arranged(items[0])[2] if options.orders == "by_run" else None
    selections = select_each(model, tried, splits.validation, replace(options.select, place=place))
    edits = {name: found.intervention(tried) for name, found in selections.items()}
    acting = {name: edit for name, edit in edits.items() if edit is not None}
    scoring = options.select.scoring
    scored = score_grid(model, scoring.prepare(model, splits.test), [[edit] for edit in acting.values()], scoring)
    before = float(correct(scored.unsteered, place).mean())
    after = {name: float(correct(one, place).mean()) for name, one in zip(acting, scored.configurations, strict=True)}
    best = max(vectors, key=lambda name: (_gain(selections[name]), -selections[name].strength))
    table = []
    for name in (*options.methods, *controls, BEST):
        row: dict[str, Any] = {"seed": seed, "method": name, "of": "", "site": "", "why": why.get(name, ""), **sizes}
        own = best if name == BEST else name
        if own in selections:
            row |= _tested(selections[own], tried[own], before, after.get(own, before)) | {"of": own}
        table.append(row)
    points = [found.points.assign(seed=seed, method=name) for name, found in selections.items()]
    site = selections[best].site
    return SeedRun(
        runs=pd.DataFrame(table).reindex(columns=RUNS),
        points=pd.concat(points, ignore_index=True),
        vector=None if site is None else vectors[best].only(site),
        point={"method": best, "site": str(site or ""), "strength": selections[best].strength}
        | {"scale": options.select.scale, "positions": options.select.positions, "seed": seed},
    )


def build(
    rows: OwnAnswerRows, items: Sequence[Item], train: Sequence[Item], options: PainlessOptions
) -> tuple[dict[str, SteeringVector], dict[str, str]]:
    """The vector of each method of some items; and why those that cannot be built were not.

    Args:
        rows: what was read of all items.
        items: all items, in the order in which they were read.
        train: those that make vectors.
        options: methods, and the fewest texts of a side.

    Raises:
        ContrastError: there is none.
    """
    number = {id(item): index for index, item in enumerate(items)}
    vectors, why = dict[str, SteeringVector](), dict[str, str]()
    for method in options.methods:
        try:
            vector = rows.vector(method, [number[id(item)] for item in train])
        except ContrastError as error:
            why[method] = str(error)
            continue
        fewer = min(vector.n_positive, vector.n_negative)
        if fewer < options.fewest:
            why[method] = f"{fewer} texts on one side; at least {options.fewest} are needed"
        else:
            vectors[method] = vector
    if not vectors:
        raise ContrastError(f"no vector can be built. {' '.join(f'{name}: {said}' for name, said in why.items())}")
    return vectors, why


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """The tests of each method over the seeds.

    Args:
        runs: of all seeds of one data set.

    Returns:
        One row a method, `random` (each seed's mean) last: gain with its corrected interval and three p-values, each
        corrected over the methods (`_holm`); `beyond` and its interval: the gain that random vectors do not have.
    """
    is_random = runs["method"].str.startswith(RANDOM)
    columns = ["gain", "unsteered", "steered", "n_train", "n_validation", "n_test"]
    control = runs[is_random].groupby("seed")[columns].mean().reset_index().assign(method=RANDOM, strength=0.0)
    rows = []
    for method, own in pd.concat([runs[~is_random], control]).groupby("method", sort=False):
        built = own.dropna(subset=["gain"]).set_index("seed")
        row: dict[str, Any] = {"method": method, "seeds": len(built)}
        if len(built):
            sizes = built[["n_train", "n_validation", "n_test"]].mean()
            rest = float(sizes["n_train"] + sizes["n_validation"])
            row |= {name: float(built[name].mean()) for name in ("unsteered", "steered")}
            row |= splits_test(_column(built["gain"]), float(sizes["n_test"]), rest).columns("gain")
            row["steers"] = float((built["strength"] > 0).mean())
            if method == RANDOM:
                row |= dict.fromkeys(P_VALUES, float("nan")) | {"steers": float("nan")}
            elif len(control):
                difference = built["gain"] - control.set_index("seed")["gain"].reindex(built.index)
                beyond = splits_test(_column(difference), float(sizes["n_test"]), rest)
                row |= {"beyond": beyond.value, "beyond_low": beyond.low, "beyond_high": beyond.high}
                row |= {"beyond_p": beyond.p_corrected}
        rows.append(row)
    found = pd.DataFrame(rows).reindex(columns=TESTS)
    for p in P_VALUES:
        found = with_holm(found, p, "methods")
    return found


RUNS = ("seed", "method", "of", "why", "n_train", "n_positive", "n_negative", "n_validation", "n_test", "site",
        "strength", "validation_gain", "unsteered", "steered", "gain", "passes")  # fmt: skip
TESTS = ("method", "seeds", "unsteered", "steered", "gain", "gain_low", "gain_high", "steers", "beyond", "beyond_low",
         "beyond_high", "beyond_p", *P_VALUES)  # fmt: skip


def _tested(found: Selection, vector: SteeringVector, before: float, after: float) -> dict[str, Any]:
    """The cells of one method in one seed."""
    return {
        "n_positive": vector.n_positive,
        "n_negative": vector.n_negative,
        "site": str(found.site or ""),
        "strength": found.strength,
        "validation_gain": _gain(found),
        "unsteered": before,
        "steered": after,
        "gain": after - before,
        "passes": found.passes,
    }


def _gain(found: Selection) -> float:
    """The gain of the chosen point on validation items."""
    return float(found.points.loc[found.points["chosen"], "gain"].iloc[0])


def _written(options: PainlessOptions) -> dict[str, Any]:
    """The options as JSON values, without the workers, which change no number."""
    scoring = replace(options.select.scoring, pool=None)
    plain = replace(options, select=replace(options.select, scoring=scoring))
    return json.loads(json.dumps(asdict(plain), default=str))


def _listing(options: PainlessOptions, seed: int) -> Listing:
    """The order of the options: one for all seeds, or as published one for each."""
    own = seed if options.orders == "by_run" else 0
    return Listing(template=options.select.scoring.template, seed=own, orders=options.orders)


def _one_letter(scores: ChoiceScores) -> str:
    """What there is to say of a model that gives one letter whatever is asked; nothing otherwise."""
    if not scores.by_letter:
        return ""
    shares = torch.bincount(scores.chosen_place.flatten(), minlength=len(scores.letters)) / scores.chosen.numel()
    share, place = float(shares.max()), int(shares.argmax())
    if share < ONE_LETTER:
        return ""
    return (
        f"the model answers {scores.letters[place]} to {share:.0%} of the questions in all option orders, so that its "
        "answers follow the place and not the content; score texts instead: scoring='option_token'."
    )


def _column(values: pd.Series) -> Float[Tensor, " split"]:
    return torch.tensor(values.to_numpy(dtype=float), dtype=torch.float64, device="cpu")
