"""How often individual steering calls a random direction steering, and what it says of every planted behaviour.

    python tests/benchmarks/false_positives.py --out false_positives.jsonl        about an hour on one core

Sixty random directions, twenty on each of three behaviours of the lab, take the place of the vector. Each goes through
the whole protocol, as a reader runs it: screening, the choice on validation items beside 20 random directions that are
chosen in the same way, the test, the verdict. Direction k has the norms of the behaviour's own vector, and the
directions k + 1 to k + 20 as its controls. What one vector does at a site and strength does not depend on the others,
so it is measured once and kept. The verdict is exact at its level: of exchangeable directions one in 21 goes furthest.

Then the vectors of the lab's behaviours, whose truth is known: five that are steered, a decoy, one whose meaning
changes with the context, and one that only prefers a letter.

Every verdict is a line of the file given, with which the script goes on after it was ended. It prints tables and, last,
one line of JSON.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from lens_steer.cli.data import LAB_SIZES
from lens_steer.data.splits import Splits
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.sweep import SweepResult, sweep_each
from lens_steer.experiments.finding import Finding
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.individual_steering import Individual, individual_steering, own_vector
from lens_steer.experiments.individual_steering import experiment as protocol
from lens_steer.experiments.individual_steering.verdict import NOT_SHOWN, QUESTION, VERDICTS
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS, TRUTHS
from lens_steer.metrics.statistics import share_interval
from lens_steer.model import SteerableModel, load_model
from lens_steer.vector import SteeringVector, random_like

AT_MOST = 0.05
RANDOM_ON = BEHAVIOURS[:3]
Sweep = Callable[..., tuple[SweepResult, ...]]


def kept() -> Sweep:
    """`sweep_each` that measures each vector at each site, rule and strength of the same items once."""
    known: dict[tuple[Any, ...], pd.DataFrame] = {}
    first: dict[tuple[Any, ...], SweepResult] = {}

    def run(
        model: SteerableModel,
        vectors: Sequence[SteeringVector],
        items: Sequence[Any],
        sites: Sequence[Any],
        strengths: Sequence[float],
        rule: str,
        scale: Any,
        options: ScoringOptions,
    ) -> tuple[SweepResult, ...]:
        about, grid = (tuple(items), rule), tuple(sorted({0.0, *strengths}))
        points = [(str(site), strength) for site in sites for strength in grid]
        missing = [v for v in vectors if any((about, v.name, *point) not in known for point in points)]
        for found in sweep_each(model, missing, items, sites, grid, rule, scale, options) if missing else ():
            first[about, found.vector] = found
            for (site, strength), rows in found.frame.groupby(["site", "strength"], sort=False):
                known[about, found.vector, str(site), strength] = rows
        return tuple(
            replace(
                first[about, vector.name],
                sites=tuple(sites),
                strengths=grid,
                frame=pd.concat([known[about, vector.name, *point] for point in points], ignore_index=True),
            )
            for vector in vectors
        )

    return run


def splits_of(behaviour: str) -> Splits:
    """The items with which `lens-steer reproduce` asks a behaviour of the lab."""
    return Splits(**{split: open_items(behaviour, n, split=split) for split, n in LAB_SIZES.items()})  # type: ignore[arg-type]


def judged(
    model: SteerableModel, behaviour: str, splits: Splits, vector: SteeringVector, settings: Individual
) -> dict[str, Any]:
    """The protocol's row of one vector, and its verdict in the words of the report."""
    result = individual_steering(model, {behaviour: splits}, settings, {behaviour: vector})
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder)
        result.curves.to_csv(Path(folder) / "steering_curves.csv", index=False)
        finding: Finding = QUESTION.find(read_results(folder))[1]
    (row,) = result.summary().to_dict("records")
    return {**{str(name): value for name, value in row.items()}, "vector": vector.name, "verdict": finding.verdict}


def random_rows(
    model: SteerableModel, behaviour: str, seeds: Sequence[int], settings: Individual
) -> Iterator[dict[str, Any]]:
    """Random directions in the place of a behaviour's vector."""
    splits = splits_of(behaviour)
    own = own_vector(model, behaviour, splits, settings)
    with patch.object(protocol, "sweep_each", kept()):
        for seed in seeds:
            yield judged(model, behaviour, splits, random_like(own, seed), replace(settings, seed=seed + 1))


def planted_row(model: SteerableModel, behaviour: str, settings: Individual) -> dict[str, Any]:
    """The behaviour's own vector."""
    splits = splits_of(behaviour)
    return judged(model, behaviour, splits, own_vector(model, behaviour, splits, settings), settings)


def run(model: SteerableModel, out: Path, n: int, settings: Individual) -> pd.DataFrame:
    """Everything that the file does not have yet, a line each; all lines."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["behaviour"], row["vector"]) for row in rows}

    def missing() -> Iterator[dict[str, Any]]:
        for place, name in enumerate(RANDOM_ON):
            seeds = range(1000 * place, 1000 * place + n // len(RANDOM_ON))
            yield from random_rows(model, name, [k for k in seeds if (name, f"random {k}") not in done], settings)
        for truth in TRUTHS:
            if (truth.behaviour, truth.behaviour) not in done:
                yield planted_row(model, truth.behaviour, settings)

    for row in missing():
        rows.append(row)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=float) + "\n")
    return pd.DataFrame(rows)


def main() -> None:
    """Runs the protocol and prints what it said."""
    parser = argparse.ArgumentParser(description="False positives of individual steering on the lab.")
    parser.add_argument("--out", type=Path, default=Path("false_positives.jsonl"), help="a line each verdict")
    parser.add_argument("--random", type=int, default=60, help="random directions, over three behaviours")
    parser.add_argument("--screening", choices=("exact", "first_order"), default=Individual().screening)
    given = parser.parse_args()
    settings = Individual(mapped=False, screening=given.screening)
    rows = run(load_model("lab"), given.out, given.random, settings)
    random = rows["vector"].str.startswith("random ")
    called = ~rows["verdict"].str.startswith(NOT_SHOWN)
    n, false = int(random.sum()), int((called & random).sum())
    one_way = int((random & rows["verdict"].str.startswith(tuple(VERDICTS.values())[:3])).sum())
    columns = ["behaviour", "vector", "site", "positions", "strength", "effect", "effect_low", "p", "verdict"]
    print(rows.loc[random & called, columns].to_string(index=False))
    print(rows.loc[~random, columns].to_string(index=False))
    interval = share_interval(false, n)
    low, high = f"{interval.low:.3f}", f"{interval.high:.3f}"
    print(f"{false} of {n} random directions are called steering (95 % interval of the share: {low} to {high});")
    print(f"the answers of {one_way} are said to change in a direction.")
    steered = {row["behaviour"]: row["verdict"] for row in rows[~random].to_dict("records")}
    result = {"random": n, "called": false, "answers_change": one_way, "met": false <= AT_MOST * n, "planted": steered}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
