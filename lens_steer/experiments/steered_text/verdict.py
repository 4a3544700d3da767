"""Steered text: does the vector move what is written, as another model judges it, and at what price?

moves     at most one vector in 20, itself included, moves the score of test prompts as far beyond the others, the
          interval of its effect is above 0, and its strength does not collapse on validation
"""

from typing import Any

import pandas as pd

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, p_words, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.individual_steering.experiment import STEERING, p_value
from lens_steer.experiments.individual_steering.verdict import controls_in_words
from lens_steer.experiments.steered_text.experiment import TEST
from lens_steer.figures.style import words


def find(results: ResultFolder) -> list[Finding]:
    """One finding: the effect at the chosen strength, its controls, where text collapses, and the side effects."""
    chosen, strengths = (results.tables[name].frame for name in NEEDS)
    facts = results.tables["steered_text/chosen.csv"].facts
    own: Any = chosen.set_index("vector").loc[STEERING]
    size, p = float(own["strength"]), p_value(chosen)
    moves = p <= LEVEL and float(own["effect_low"]) > 0 and bool(own["valid"])
    few = 1 / len(chosen) > LEVEL
    here = strengths[(strengths["split"] == TEST) & (strengths["vector"] == STEERING)].set_index("strength")
    said = [
        f"At {own['site']}, strength {size:g} ({own['scale']}), chosen on other prompts, half the change of the "
        f"judge's score from subtracting to adding is {nats(own['effect'], own['effect_low'], own['effect_high'])} on "
        f"{own['n']} test prompts; {p_words(p)} beside {controls_in_words(chosen['vector'])} chosen in the same way.",
        f"Judged positive: {_rate(here, -size)} subtracted, {_rate(here, 0.0)} unsteered, {_rate(here, size)} added.",
        _collapse(here),
        f"On neutral text adding costs a KL of {here.loc[size, 'kl']:.2f} and subtracting {here.loc[-size, 'kl']:.2f} "
        f"nats a token, with {_top(here, size)} and {_top(here, -size)} of top-1 accuracy retained.",
        _judge(dict(facts.get("judge", {}))),
    ]
    verdict = TOO_FEW if few else "moves text" if moves else "not shown beyond its controls"
    subject = words(str(facts.get("vector", "the vector")))
    return [Finding(subject=subject, verdict=verdict, words=" ".join(filter(None, said)), holds=moves and not few)]


def _rate(rows: pd.DataFrame, strength: float) -> str:
    row: Any = rows.loc[strength]
    return percent(row["matching_rate"], row["rate_low"], row["rate_high"])


def _top(rows: pd.DataFrame, strength: float) -> str:
    row: Any = rows.loc[strength]
    return percent(row["relative_top1"], row["relative_top1_low"], row["relative_top1_high"])


def _collapse(rows: pd.DataFrame) -> str:
    """At which strengths the continuations collapse."""
    fallen = [f"{strength:g}" for strength in sorted(rows.index[rows["collapsed"]])]
    return f"Continuations collapse at strength {', '.join(fallen)}." if fallen else "No strength collapses."


def _judge(quality: dict[str, Any]) -> str:
    """How good the judge is."""
    if not quality:
        return ""
    right = quality["accuracy"]
    share = percent(right["value"], right["low"], right["high"])
    return f"The judge tells {share} of {right['n']} labelled texts apart (AUROC {quality['auroc']:.3f})."


NEEDS = {
    "steered_text/chosen.csv": (
        *("vector", "site", "strength", "scale", "valid", "effect", "effect_low", "effect_high", "excess", "n"),
    ),
    "steered_text/strengths.csv": (
        *("vector", "strength", "split", "matching_rate", "rate_low", "rate_high", "collapsed", "kl"),
        *("relative_top1", "relative_top1_low", "relative_top1_high"),
    ),
}
QUESTION = Question(
    title="Generated text: does the vector move what is written, as a judge reads it?",
    judged="The judge is a model that takes no part in the steering. Brackets are 95 % intervals over "
    "prompts. Strengths are chosen on other prompts, those of the controls too, among strengths at which neither sign "
    "collapses.",
    needs=NEEDS,
    find=find,
)
