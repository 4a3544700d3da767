"""Whether the verdicts of the reliability study are right: on other items, of shuffled labels, of random directions.

    python tests/benchmarks/verdicts.py --out verdicts.jsonl        about three hours on one core

The lab's planted truths say what each verdict must be. Every behaviour is judged on `--seeds` draws of its training,
validation and test items. Then vectors that can steer nothing take the place of the behaviour's own, on the first items
of three behaviours, with the norms of its own vector: of shuffled labels of its training texts, and random directions.
Null vector k is judged beside the random directions, and the vectors of shuffled labels, k + 1 to k + 20; what one of
them does at a place and strength does not depend on the others, so it is measured once. Settings are those of
`lens-steer reproduce`.

Every verdict is a line of the file given, with which the script goes on after it was ended. It prints tables and, last,
one line of JSON.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import fields, replace
from itertools import chain, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from lens_steer import load_model
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.evaluation.prompts import Prompts
from lens_steer.evaluation.score import ChoiceScores, ScoringOptions
from lens_steer.experiments.reliability import Reliability, judge, measure
from lens_steer.experiments.reliability.experiment import behaviour_vector, shuffled_controls
from lens_steer.experiments.reliability.judge import judge_vector
from lens_steer.experiments.reliability.measure import Asked, Place, ask
from lens_steer.experiments.reliability.rules import BIASED, NOT_STEERABLE, STEERABLE, UNRELIABLE
from lens_steer.experiments.reliability.study import ITEMS, LAB
from lens_steer.hooks import Scale
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS, TRUTHS
from lens_steer.metrics.statistics import share_interval
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

Done = Set[tuple[str, str, int]]
RIGHT = {"latent": STEERABLE, "flipped": UNRELIABLE, "position": BIASED, "decoy": NOT_STEERABLE}
PLANTED, SHUFFLED, RANDOM = "planted", "shuffled labels", "random"
NULL_ON = BEHAVIOURS[:3]
HOLDS, FALSE = 0.95, 0.05
SETTINGS = Reliability(**{field.name: getattr(LAB.settings, field.name) for field in fields(Reliability)})


def splits_of(behaviour: str, seed: int) -> Splits:
    """One draw of a behaviour's items, as many as the study takes."""
    drawn: dict[str, Any] = {split: open_items(behaviour, ITEMS[split], split=split, seed=seed) for split in SPLITS}
    return Splits(**drawn)


def judged(
    model: SteerableModel, own: SteeringVector, splits: Splits, seed: int, vector: SteeringVector | None = None
) -> dict[str, Any]:
    """The verdict on a behaviour's own vector, or another in its place, beside the controls from `seed` on."""
    settings = replace(SETTINGS, seed=seed)
    controls = shuffled_controls(model, own, splits, settings)
    row = judge_vector(model, vector or own, splits, settings, controls).row
    return {
        name: row[name] for name in ("site", "steerability", "p_random", "p_shuffled", "anti_share", "verdict", "why")
    }


def kept() -> Callable[..., list[Asked]]:
    """`ask` that measures each vector at each place and strength of the same questions once."""
    known: dict[tuple[Any, ...], dict[float, ChoiceScores]] = {}

    def run(
        model: SteerableModel,
        prompts: Prompts,
        vectors: Sequence[tuple[SteeringVector, Place]],
        strengths: Sequence[float],
        scale: Scale,
        options: ScoringOptions,
    ) -> list[Asked]:
        rows = tuple(map(tuple, prompts.rows))
        keys = [(rows, vector.name, place) for vector, place in vectors]
        missing = [n for n, key in enumerate(keys) if not set(strengths) <= set(known.get(key, ()))]
        if missing:
            found = ask(model, prompts, [vectors[n] for n in missing], strengths, scale, options)
            for n, asked in zip(missing, found, strict=True):
                known.setdefault(keys[n], {}).update(asked.scores)
        wanted = sorted({0.0, *strengths})
        return [Asked(prompts=prompts, scores={s: known[key][s] for s in wanted}) for key in keys]

    return run


def null_vector(model: SteerableModel, kind: str, own: SteeringVector, splits: Splits, seed: int) -> SteeringVector:
    """A vector that can steer nothing, with the norms of a behaviour's own."""
    if kind == RANDOM:
        return random_like(own, seed)
    (found,) = shuffled_controls(model, own, splits, replace(SETTINGS, n_shuffled=1, seed=seed))
    return found


def planted_rows(model: SteerableModel, seeds: int, done: Done, behaviours: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every behaviour's own vector, on each draw of its items."""
    for seed, truth in product(range(seeds), TRUTHS):
        if truth.behaviour in behaviours and (PLANTED, truth.behaviour, seed) not in done:
            splits = splits_of(truth.behaviour, seed)
            vector = behaviour_vector(model, truth.behaviour, splits, SETTINGS)
            case = {"kind": PLANTED, "behaviour": truth.behaviour, "seed": seed}
            yield case | judged(model, vector, splits, 1000 * seed)


def null_rows(model: SteerableModel, nulls: int, done: Done) -> Iterator[dict[str, Any]]:
    """Vectors of both kinds that can steer nothing."""
    for name in NULL_ON:
        splits = splits_of(name, 0)
        own = behaviour_vector(model, name, splits, SETTINGS)
        with patch.object(judge, "ask", measured := kept()), patch.object(measure, "ask", measured):
            for kind, seed in product((RANDOM, SHUFFLED), range(nulls // len(NULL_ON))):
                if (kind, name, seed) not in done:
                    vector = null_vector(model, kind, own, splits, seed)
                    yield {"kind": kind, "behaviour": name, "seed": seed} | judged(model, own, splits, seed + 1, vector)


def run(model: SteerableModel, out: Path, seeds: int, nulls: int, behaviours: Sequence[str]) -> pd.DataFrame:
    """Every verdict that the file does not have yet, a line each; all lines."""
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    done = {(row["kind"], row["behaviour"], row["seed"]) for row in rows}
    for row in chain(null_rows(model, nulls, done), planted_rows(model, seeds, done, behaviours)):
        rows.append(row)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=float) + "\n")
    return pd.DataFrame(rows)


def main() -> None:
    """Judges everything and prints what was said."""
    parser = argparse.ArgumentParser(description="Verdicts of the reliability study on the lab's planted truths.")
    parser.add_argument("--out", type=Path, default=Path("verdicts.jsonl"), help="a line each verdict")
    parser.add_argument("--seeds", type=int, default=20, help="draws of each behaviour's items")
    parser.add_argument("--nulls", type=int, default=60, help="vectors of each kind that can steer nothing")
    names = [truth.behaviour for truth in TRUTHS]
    parser.add_argument("--behaviours", nargs="+", choices=names, default=names, help="whose draws are judged")
    given = parser.parse_args()
    rows = run(load_model("lab"), given.out, given.seeds, given.nulls, given.behaviours)
    kinds = {truth.behaviour: RIGHT[truth.kind] for truth in TRUTHS}
    rows["right"] = rows["behaviour"].map(kinds).where(rows["kind"] == PLANTED, "not called steerable")
    print(pd.crosstab([rows["kind"], rows["behaviour"], rows["right"]], rows["verdict"]).to_string())
    shares, met = dict[str, float](), True
    for kind, own in rows.groupby("kind"):
        planted = kind == PLANTED
        counted = own["verdict"] == (own["right"] if planted else STEERABLE)
        found = share_interval(int(counted.sum()), len(own))
        shares[str(kind)] = round(found.value, 3)
        met &= found.value >= HOLDS if planted else found.value <= FALSE
        said = "judged as planted" if planted else "called steerable"
        print(f"{kind}: {counted.sum()} of {len(own)} {said} (95 % interval: {found.low:.3f} to {found.high:.3f})")
    print(json.dumps(shares | {"met": met}))


if __name__ == "__main__":
    main()
