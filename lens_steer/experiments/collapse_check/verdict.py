"""Collapse: from which strength on do answers, and generated text, collapse?"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lens_steer.experiments.collapse_check.experiment import STEERING
from lens_steer.experiments.finding import Finding, Question, bracketed
from lens_steer.experiments.folder import ResultFolder
from lens_steer.figures.style import words


def find(results: ResultFolder) -> list[Finding]:
    """One finding for each rule and direction of steering."""
    strengths, thresholds = (results.tables[name] for name in NEEDS)
    onsets, frame = thresholds.frame, strengths.frame
    steering, controls = (onsets[(onsets["vector"] == STEERING) == same] for same in (True, False))
    found = []
    for row in steering.to_dict("records"):
        beside = controls[(controls["rule"] == row["rule"]) & (controls["direction"] == row["direction"])]
        found.append(_finding(row, frame[frame["vector"] == STEERING], beside, _vector(strengths.facts)))
    return found


def _finding(row: dict[str, Any], strengths: pd.DataFrame, controls: pd.DataFrame, vector: str) -> Finding:
    rule, direction = str(row["rule"]), str(row["direction"])
    scale, grid = strengths["scale"].iloc[0], strengths["strength"]
    edge = float(grid.max() if direction == "adding" else grid.min())
    already = bool(strengths.loc[grid == 0, f"{rule}_collapsed"].any())
    n = f"{row['n']} {'items' if rule == 'answers' else 'prompts'}"
    control = f"Unsteered, they are {'collapsed already' if already else 'not collapsed'} ({n}). {_random(controls)}"
    subject, name = f"{rule}, {direction}", "answers" if rule == "answers" else "continuations"
    begun = f"{direction.capitalize()} {vector}, {name}"
    if bool(row["censored"]):
        said = f"{begun} do not collapse up to {edge:g} ({scale}), the end of the grid. {control}"
        return Finding(subject=subject, verdict=f"not up to {edge:g}", words=said)
    at, low, high = (float(row[key]) for key in ("strength", "low", "high"))
    ends = bracketed(f"{_end(low)}, {_end(high)}", low, row.get("why"))
    said = f"{begun} collapse from strength {at:.2f} ({scale}) on, interval {ends}; strengths were"
    return Finding(subject=subject, verdict=f"from {at:.2f} on", words=f"{said} tried up to {edge:g}. {control}")


def _random(controls: pd.DataFrame) -> str:
    """When random directions collapse."""
    sizes = controls.loc[~controls["censored"].astype(bool), "strength"].abs()
    if not len(controls):
        return "No random directions were tried."
    between = f", from {sizes.min():.2f} to {sizes.max():.2f} in size" if len(sizes) else ""
    return f"Of {len(controls)} random directions of the same norm, {len(sizes)} collapse on this grid{between}."


def _vector(facts: Mapping[str, Any]) -> str:
    return f"the vector of {words(str(facts['vector']))}" if "vector" in facts else "the vector"


def _end(value: float) -> str:
    return "beyond the grid" if math.isinf(value) else f"{value:.2f}"


NEEDS = {
    "collapse/strengths.csv": ("vector", "strength", "scale", "collapsed_share", "generation_collapsed"),
    "collapse/thresholds.csv": ("vector", "rule", "direction", "n", "strength", "low", "high", "censored"),
}
QUESTION = Question(
    title="Collapse: how strong is too strong?",
    judged="The onset is where the rule's margin crosses zero, between two strengths of the grid; intervals are 95 % "
    "bootstrap intervals over items and prompts. Controls are the unsteered model and random directions of "
    "the vector's norm, under the same rule.",
    needs=NEEDS,
    find=find,
)
