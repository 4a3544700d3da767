"""Vector analysis: does the effect of a vector need the heads that read it, more than it needs random heads?

needed    without them at least half of the effect is gone; at most one set in 20, itself included, removes as much
"""

import pandas as pd

from lens_steer.experiments.finding import LEVEL, Finding, Question, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.figures.style import words
from lens_steer.metrics.significance import control_p

HALF = 0.5


def find(results: ResultFolder) -> list[Finding]:
    """One finding: the heads that read the vector, beside as many random heads."""
    table = results.tables["vector_analysis/ablation.csv"]
    rows = table.frame.set_index("set")
    found, random = rows.loc["found"], rows[rows.index.str.startswith("random")]["removed"]
    further = int((random >= found["removed"]).sum())
    half, rare = bool(found["removed"] >= HALF), control_p(float(found["removed"]), random) <= LEVEL
    verdict = "needed" if half and rare else "needed, but random heads may be as well" if half else "not needed"
    said = f"Without {found['heads']} {percent(found['removed'])} of the effect of {_nats(rows)} is gone; without as "
    said += (
        f"many random heads {percent(random.mean())} on average, and {further} of {len(random)} sets remove as much."
    )
    subject = words(str(table.facts.get("vector", "the vector")))
    return [Finding(subject=subject, verdict=verdict, words=said, holds=half and rare)]


def _nats(rows: pd.DataFrame) -> str:
    return f"{rows.loc['none', 'effect']:.2f}\N{NO-BREAK SPACE}nats"


QUESTION = Question(
    title="Vector analysis: are the heads that read a vector needed for its effect?",
    judged="Heads are chosen by their weights alone (how far their OV maps carry the vector) and replaced by their "
    "means. The control is as many other heads of later layers, drawn at random. No interval is given.",
    needs={"vector_analysis/ablation.csv": ("set", "heads", "effect", "removed")},
    find=find,
)
