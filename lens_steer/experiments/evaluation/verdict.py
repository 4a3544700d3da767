"""One vector's evaluation in words: its verdict, what it costs, what else it moves, and what was not measured."""

from typing import Any

import pandas as pd

from lens_steer.experiments.evaluation.experiment import NEUTRAL
from lens_steer.experiments.finding import LEVEL, Finding, Question, p_words, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.reliability.verdict import JUDGED, judged
from lens_steer.figures.style import words


def find(results: ResultFolder) -> list[Finding]:
    """The verdict, then a finding for each section that was measured, then what was not."""
    tables = {name: results.tables[f"evaluation/{name}.csv"] for name in ("summary", *SECTIONS) if _has(results, name)}
    row: dict[str, Any] = tables["summary"].frame.to_dict("records")[0]
    found = [judged(row)]
    for name, told in SECTIONS.items():
        if name in tables and len(tables[name].frame):
            found.append(told(row, tables[name].frame))
    left = tables["summary"].facts.get("left_out", {})
    if left:
        said = "; ".join(f"{words(name)}: {why}" for name, why in left.items())
        found.append(Finding(subject="not measured", verdict=", ".join(map(words, left)), words=f"{said}."))
    return found


def _has(results: ResultFolder, name: str) -> bool:
    return f"evaluation/{name}.csv" in results.tables


def _side_effects(row: dict[str, Any], frame: pd.DataFrame) -> Finding:
    """What the reference strength does to each text."""
    at = frame[frame["strength"] == row["reference"]]
    said = []
    for text in dict.fromkeys(at["text"]):
        here: Any = at[at["text"] == text].set_index("measure")
        kl, top = here.loc["kl"], here.loc["relative_top1"]
        said.append(
            f"on {text} text a KL of {kl['value']:.3f} [{kl['low']:.3f}, {kl['high']:.3f}] nats a token and "
            f"{percent(top['value'], top['low'], top['high'], top['why'])} of top-1 accuracy"
        )
    verdict = f"usable up to strength {row['usable_strength']:g}" if NEUTRAL in set(frame["text"]) else "measured"
    return Finding(subject="side effects", verdict=verdict, words=f"Added at {row['reference']:g}: {'; '.join(said)}.")


def _capability(row: dict[str, Any], frame: pd.DataFrame) -> Finding:
    """Whether items that test something else are lost at any strength."""
    lost = frame[(frame["p_holm"] <= LEVEL) & (frame["lost"] > frame["gained"])]
    at: Any = frame[frame["strength"] == row["reference"]].iloc[0]
    said = (
        f"At strength {row['reference']:g} {percent(at['before'])} of {at['n']} items are right without steering and "
    )
    said += f"{percent(at['after'])} with it ({at['lost']} lost, {at['gained']} gained, {p_words(at['p'])}, "
    said += f"{p_words(at['p_holm'])} corrected over {at['family']})."
    verdict = f"lost at {len(lost)} of {len(frame)} strengths" if len(lost) else "no loss shown"
    return Finding(subject="capability", verdict=verdict, words=said)


def _others(row: dict[str, Any], frame: pd.DataFrame) -> Finding:
    """How many behaviours move that should not."""
    moved = frame[frame["p_holm"] <= LEVEL]
    named = [f"{words(str(at['behaviour']))} {at['change']:+.2f}" for at in frame.to_dict("records")]
    said = f"Half the change from subtracting to adding, nats: {', '.join(named)}. "
    said += f"Entanglement of their rates {row['entanglement']:.3f}."
    return Finding(subject="other behaviours", verdict=f"{len(moved)} of {len(frame)} move", words=said)


SECTIONS = {"side_effects": _side_effects, "capability": _capability, "others": _others}
QUESTION = Question(
    title="Evaluation of one vector: what does it do, to what, and at what cost?",
    judged="The verdict's rules are in `experiments.reliability.rules`. The place is chosen on validation items, for "
    "controls of the same norm too; everything else is of test items or given texts. Intervals are 95 %; p of "
    "capability is McNemar's, of other behaviours that of sign flips, both corrected by Holm's method.",
    needs={"evaluation/summary.csv": (*JUDGED, "reference")},
    find=find,
)
