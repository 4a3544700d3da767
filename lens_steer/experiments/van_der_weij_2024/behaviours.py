"""The paper's tables of individual, combined and simultaneous steering, from its released answers.

    individual      one vector at one block, three strengths: unsteered, subtracted, added              test items
    combined        one vector at one block: mean or sum over behaviours, of v or of strength times v   test items
    simultaneous    one vector a block, all times one scalar                                            test items
    search          one vector at one block over strengths; the strengths of the others were chosen on it

Source: van der Weij et al. 2024 (arXiv 2403.05767), results/multi_steering. Simultaneous answers were stored as counts
alone, so that their matches cannot be counted again. Every scalar was run on test items and none was chosen on
validation, while combined steering had one strength: the two tables do not compare the schemes at equal budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lens_steer.errors import FormatError
from lens_steer.experiments.van_der_weij_2024.answers import judged
from lens_steer.experiments.van_der_weij_2024.checkout import (
    BEHAVIOURS,
    Gold,
    gold_answers,
    group,
    number_after,
    numbers,
    read_results,
)
from lens_steer.hooks.sites import Site

INDIVIDUAL = "multiple_steering_results_on_test_v1.0.json"
COMBINED = {"mean": "mean_combined_steering_results_v1.3.json", "sum": "sum_combined_steering_results_v1.4.json"}
SIMULTANEOUS = "simultaneous_steering_v1.2.json"
SEARCH = {
    "multiple_steering_results__positive_ic_v1.4.json": 1,
    "multiple_steering_results__negative_ic_v1.5.json": -1,
}
"""The search of each sign; both files give strengths without their sign."""
LAYERS = (10, 15)
DIRECTIONS = ("default", "subtract", "add")
MODES = ("pos_avg", "pos_weighted", "neg_avg", "neg_weighted")
BLOCKS = {"myopic": 11, "wealth_seeking": 12, "sycophancy": 13, "agreeableness": 14, "anti_immigration": 15}
"""The block at which each vector was added in simultaneous steering; the file does not say."""
SIMULTANEOUS_FAULTY = 5

Split = Literal["test", "validation", "held_out"]
Answers = Mapping[str, Gold] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedBehaviours:
    """What the released files say of behaviours, as tidy frames: one row a cell and behaviour, as `judged` gives it.

    `individual` has `direction` and `strength`, `combined` `pooling` (mean, sum) and `mode`, `simultaneous` the scalar
    as `strength`, `search` `split` and `strength`; all have `site`.
    """

    individual: pd.DataFrame
    combined: pd.DataFrame
    simultaneous: pd.DataFrame
    search: pd.DataFrame

    def chosen(self) -> pd.DataFrame:
        """The strengths that the paper chose: one row a behaviour, one column a site and direction."""
        return self._individual("strength")

    def individual_table(self) -> pd.DataFrame:
        """Matching scores of individual steering: one row a behaviour, one column a site and direction."""
        return self._individual("matching_score")

    def combined_table(self) -> pd.DataFrame:
        """Matching scores of combined steering: one row a pooling, mode and site, one column a behaviour."""
        table = self.combined.pivot(index=["pooling", "mode", "site"], columns="behaviour", values="matching_score")
        return table.reindex(columns=list(BEHAVIOURS))

    def simultaneous_table(self) -> pd.DataFrame:
        """Matching scores of simultaneous steering: one row a scalar, one column a behaviour."""
        table = self.simultaneous.pivot(index="strength", columns="behaviour", values="matching_score")
        return table.reindex(columns=list(BEHAVIOURS))

    def collapse_counts(self) -> pd.DataFrame:
        """Of the scalars of simultaneous steering, how many each rule calls collapsed or faulty, by behaviour."""
        rules = ["paper_collapsed", "paper_faulty", "collapsed"]
        counts = self.simultaneous.groupby("behaviour")[rules].sum()
        return counts.assign(scalars=self.simultaneous.groupby("behaviour").size()).loc[list(BEHAVIOURS)]

    def _individual(self, values: str) -> pd.DataFrame:
        table = self.individual.pivot(index="behaviour", columns=["site", "direction"], values=values)
        columns = [(str(Site("resid_post", layer)), direction) for layer in LAYERS for direction in DIRECTIONS]
        return table.loc[list(BEHAVIOURS)].reindex(
            columns=pd.MultiIndex.from_tuples(columns, names=table.columns.names)
        )


def published_behaviours(folder: str | Path) -> PublishedBehaviours:
    """Rebuilds the tables of steered answers from a checkout.

    Args:
        folder: the checkout of the paper's repository; without its data/datasets, matches are taken as stored.

    Returns:
        Tidy frames.

    Raises:
        FormatError: a result file is missing, truncated, or lacks a cell.
        DataError: a cell's counts are not what its responses give; the cell is named.
    """
    gold = gold_answers(folder)
    return PublishedBehaviours(
        individual=pd.DataFrame(_individual(read_results(folder, INDIVIDUAL), gold)),
        combined=pd.DataFrame(
            [row for pooling, name in COMBINED.items() for row in _combined(read_results(folder, name), pooling, gold)]
        ),
        simultaneous=pd.DataFrame(_simultaneous(read_results(folder, SIMULTANEOUS), gold)),
        search=pd.DataFrame([row for name in SEARCH for row in _search(read_results(folder, name), name, gold)]),
    )


def _individual(content: dict[str, Any], gold: Answers) -> list[dict[str, object]]:
    """One row a block, behaviour and direction; the file says which strengths were the strengths."""
    chosen, rows = group(group(content, "meta", INDIVIDUAL), "ics", f"{INDIVIDUAL}, meta"), []
    for layer, behaviour in product(LAYERS, BEHAVIOURS):
        key, where = f"layer_{layer}", f"{INDIVIDUAL}, layer_{layer}, {behaviour}"
        strengths = numbers(
            group(chosen, behaviour, f"{INDIVIDUAL}, meta, ics"), key, f"{INDIVIDUAL}, meta, {behaviour}"
        )
        cells = group(group(content, key, INDIVIDUAL), behaviour, f"{INDIVIDUAL}, {key}")
        if len(strengths) != len(DIRECTIONS) or set(cells) != {f"m_{strength}" for strength in strengths}:
            raise FormatError(
                f"{where}: has {', '.join(cells)}, and strengths {strengths}; expected one for each direction."
            )
        for direction, strength in zip(DIRECTIONS, strengths, strict=True):
            place = {"site": _site(layer), "behaviour": behaviour, "direction": direction, "strength": float(strength)}
            answers, key = _split(gold, behaviour, "test"), f"m_{strength}"
            rows.append(place | judged(cells[key], behaviour, answers, f"{where}, {key}"))
    return rows


def _combined(content: dict[str, Any], pooling: str, gold: Answers) -> list[dict[str, object]]:
    """One row a block, mode and behaviour."""
    rows = []
    for layer, mode, behaviour in product(LAYERS, MODES, BEHAVIOURS):
        where = f"{COMBINED[pooling]}, layer_{layer}, {mode}_acts"
        cells = group(group(content, f"layer_{layer}", COMBINED[pooling]), f"{mode}_acts", where)
        place = {"pooling": pooling, "mode": mode, "site": _site(layer), "behaviour": behaviour}
        answers, cell = _split(gold, behaviour, "test"), group(cells, behaviour, where)
        rows.append(place | judged(cell, behaviour, answers, f"{where}, {behaviour}"))
    return rows


def _simultaneous(content: dict[str, Any], gold: Answers) -> list[dict[str, object]]:
    """One row a scalar and behaviour; scalars are rounded to what they were meant to be."""
    scalars = numbers(group(content, "meta", SIMULTANEOUS), "scalars", f"{SIMULTANEOUS}, meta")
    extra, rows = set(content) - {"meta", *(f"scalar_{scalar}" for scalar in scalars)}, []
    if extra:
        raise FormatError(
            f"{SIMULTANEOUS}: {', '.join(sorted(extra))} are not among its scalars; the file was changed."
        )
    for scalar, behaviour in product(scalars, BEHAVIOURS):
        key, where = f"scalar_{scalar}", f"{SIMULTANEOUS}, scalar_{scalar}"
        cell = group(group(content, key, SIMULTANEOUS), behaviour, where)
        place = {"strength": round(scalar, 4) + 0.0, "site": _site(BLOCKS[behaviour]), "behaviour": behaviour}
        answers = _split(gold, behaviour, "test")
        rows.append(place | judged(cell, behaviour, answers, f"{where}, {behaviour}", SIMULTANEOUS_FAULTY))
    return rows


def _search(content: dict[str, Any], name: str, gold: Answers) -> list[dict[str, object]]:
    """One row a behaviour, block and strength on validation items, and the unsteered one on all that were held out."""
    rows = []
    for behaviour in BEHAVIOURS:
        layers = group(content, behaviour, name)
        for layer in layers:
            where = f"{name}, {behaviour}, {layer}"
            cells = group(layers, layer, f"{name}, {behaviour}")
            if layer == "default":
                place = {"behaviour": behaviour, "site": "", "split": "held_out", "strength": 0.0}
                rows.append(place | judged(cells, behaviour, _split(gold, behaviour, "held_out"), where))
                continue
            place = {
                "behaviour": behaviour,
                "site": _site(int(number_after("layer_", layer, where))),
                "split": "validation",
            }
            answers = _split(gold, behaviour, "validation")
            for key in cells:
                found = judged(group(cells, key, where), behaviour, answers, f"{where}, {key}")
                rows.append(place | {"strength": SEARCH[name] * abs(number_after("multiplier_", key, where))} | found)
    return rows


def _site(layer: int) -> str:
    return str(Site("resid_post", layer))


def _split(gold: Answers, behaviour: str, split: Split) -> tuple[str, ...] | None:
    return None if gold is None else getattr(gold[behaviour], split)
