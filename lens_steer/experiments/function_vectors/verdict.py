"""Function vectors: do the heads found carry a task, more than random heads do?

carries   at most one sum in 20, itself included, gains as much on test queries, and the interval of its gain is above 0
answers   it carries the task, and the interval of its accuracy is above chance, the share of the commonest answer
"""

from typing import Any

import pandas as pd

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, p_words, percent, too_few
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.function_vectors.experiment import SHOWN, ZERO
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.figures.style import words
from lens_steer.metrics.significance import control_p


def find(results: ResultFolder) -> list[Finding]:
    """One finding a task, on queries without examples."""
    chosen, accuracy, others, spoilt = (results.tables[name].frame for name in NEEDS)
    found = []
    for task in dict.fromkeys(chosen["task"]):
        here = chosen[(chosen["task"] == task) & (chosen["way"] == ZERO)].set_index("vector")
        foreign = others[(others["task"] == task) & (others["asked"] != task)]["gain"]
        rates = accuracy[accuracy["task"] == task].set_index(["way", "vector"])
        prices = spoilt[spoilt["task"] == task].set_index("measure")
        found.append(_finding(str(task), here, rates, foreign, prices))
    return found


def _finding(task: str, chosen: pd.DataFrame, rates: pd.DataFrame, foreign: pd.Series, prices: pd.DataFrame) -> Finding:
    """One task: gain, accuracy, controls, other tasks, side effects."""
    own: Any = chosen.loc[STEERING]
    random = chosen[chosen.index != STEERING]["gain"]
    p = control_p(float(own["gain"]), random)
    carries = p <= LEVEL and float(own["gain_low"]) > 0
    answered: Any = rates.loc[(ZERO, STEERING)]
    answers = carries and float(answered["low"]) > float(answered["chance"])
    few = too_few(len(random))
    verdict = "carries the task and answers" if answers else "carries the task" if carries else NOT_SHOWN
    ways = ((ZERO, "unsteered"), (ZERO, STEERING), (SHOWN, "unsteered"))
    plain, steered, shown = (_rate(rates, *way) for way in ways)
    said = [
        f"Added at layer {own['layer']}, strength {own['strength']:g}, chosen on validation, it changes the "
        f"log-likelihood of the answer by {nats(own['gain'], own['gain_low'], own['gain_high'])} on {own['n']} queries "
        f"without examples; {p_words(p)} beside {len(random)} sums of as many random heads of the same norm, "
        f"which change it by {random.min():+.2f} to {random.max():+.2f}.",
        f"The answer is likeliest for {plain} of them without it, for {steered} with it, and for {shown} behind "
        f"examples; the commonest answer is right for {percent(float(answered['chance']))}.",
    ]
    if len(foreign):
        said.append(f"On queries of the other tasks it does so by {foreign.min():+.2f} to {foreign.max():+.2f}.")
    kl: Any = prices.loc["kl"]
    top: Any = prices.loc["relative_top1"]
    said.append(
        f"At every token of neutral texts it costs a KL of {kl['value']:.2f} [{kl['low']:.2f}, {kl['high']:.2f}] nats "
        f"a token and leaves {percent(top['value'], top['low'], top['high'])} of top-1 accuracy."
    )
    return Finding(subject=words(task), verdict=TOO_FEW if few else verdict, words=" ".join(said), holds=carries)


def _rate(rates: pd.DataFrame, way: str, vector: str) -> str:
    row: Any = rates.loc[(way, vector)]
    return percent(row["accuracy"], row["low"], row["high"])


NOT_SHOWN = "not shown beyond random heads"
NEEDS = {
    "function_vectors/chosen.csv": (
        *("task", "way", "vector", "layer", "strength", "gain", "gain_low", "gain_high", "n"),
    ),
    "function_vectors/accuracy.csv": ("task", "way", "vector", "accuracy", "low", "high", "chance"),
    "function_vectors/others.csv": ("task", "asked", "gain"),
    "function_vectors/side_effects.csv": ("task", "measure", "value", "low", "high"),
}
QUESTION = Question(
    title="Function vectors beside random heads: do the heads found carry the task?",
    judged="Gains are of log-likelihood of the answer's first token, with 95 % intervals over test queries; "
    "accuracies have Agresti-Coull intervals. The control is sums of as many random heads, scaled to the vector's "
    "norm, each at its own layer and strength chosen on validation.",
    needs=NEEDS,
    find=find,
)
