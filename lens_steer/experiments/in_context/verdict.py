"""In-context vectors: which vector makes the right answer likelier, and is it the same one on both kinds of tasks?

a task      a vector helps where the interval of its change is above 0, and at most one control in 20, itself included,
            goes as far
a kind      the paired difference of function vector and in-context vector, over the test pairs of all its tasks
"""

from typing import Any

import pandas as pd
import torch

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, of_many, p_words, percent, too_few
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.in_context.experiment import FEW_SHOT, STEERING, UNSTEERED
from lens_steer.figures.style import words
from lens_steer.metrics.statistics import mean_interval

ONE, OTHER = "function_vector", "icv_last"
ZERO, SHUFFLED = "zero_shot", "shuffled_shot"


def find(results: ResultFolder) -> list[Finding]:
    """One finding for each kind of tasks, then one for each task."""
    effects, strengths, answers = (results.tables[name].frame for name in NEEDS)
    kinds = [_kind(str(kind), own, effects) for kind, own in answers.groupby("kind", sort=False)]
    tasks = [
        _task(str(name), own, strengths[strengths["task"] == name], answers[answers["task"] == name])
        for name, own in effects.groupby("task", sort=False)
    ]
    return [*kinds, *tasks]


def _kind(kind: str, answers: pd.DataFrame, effects: pd.DataFrame) -> Finding:
    """Function vector against in-context vector on all tasks of a kind, zero-shot."""
    rows = answers[answers["condition"] == ZERO]
    table = rows.pivot_table(index=["task", "x"], columns="method", values=["log_likelihood", "right"], sort=False)
    values = (table["log_likelihood"][ONE] - table["log_likelihood"][OTHER]).to_numpy(dtype=float)
    found = mean_interval(torch.tensor(values, device="cpu"))
    tasks = rows["task"].nunique()
    verdict = "no difference shown"
    if found.low > 0 or found.high < 0:
        verdict = "function vectors go further" if found.low > 0 else "in-context vectors go further"
    own = effects[(effects["kind"] == kind) & (effects["vector"] == STEERING) & (effects["condition"] == ZERO)]
    counts = [f"{words(str(m))} {of_many(int(_helps(group).sum()), len(group))}" for m, group in own.groupby("method")]
    rates = [f"{words(str(m))} {percent(table['right'][m].astype(float).mean())}" for m in table["right"].columns]
    said = (
        f"Zero-shot, function vector minus in-context vector (last token): {nats(found.value, found.low, found.high)} "
    )
    said += f"a token of the right answer, paired over {found.n} test pairs of {tasks} tasks. Right answers written: "
    said += f"{', '.join(rates)}. Tasks on which a vector helps beyond its controls: {', '.join(counts)}."
    return Finding(subject=f"{kind} tasks", verdict=verdict, words=said)


def _helps(rows: pd.DataFrame) -> pd.Series:
    return (rows["change_low"] > 0) & (rows["p"] <= LEVEL)


def _task(name: str, effects: pd.DataFrame, strengths: pd.DataFrame, answers: pd.DataFrame) -> Finding:
    """All vectors of one task."""
    steering = effects[effects["vector"] == STEERING]
    zero, shuffled = (steering[steering["condition"] == condition] for condition in (ZERO, SHUFFLED))
    controls = effects["vector"].nunique() - 1
    helping = [words(str(method)) for method in zero[_helps(zero)]["method"]]
    few = too_few(controls)
    verdict = TOO_FEW if few else ", ".join(helping) if helping else "no vector helps beyond its controls"
    rates = answers.groupby(["condition", "method"])["right"].mean()
    parts = []
    for row in zero.to_dict("records"):
        chosen: Any = strengths[(strengths["method"] == row["method"]) & strengths["chosen"]].iloc[0]
        later = shuffled[shuffled["method"] == row["method"]].iloc[0]
        said = f"{words(row['method'])} at strength {row['strength']:g} "
        said += f"{_change(row)}, right "
        said += f"{percent(row['accuracy'])}; shuffled-shot {_change(later)}; KL {chosen['kl']:.2g}"
        parts.append(said)
    begun = f"Right answers written unsteered: {percent(rates[ZERO, UNSTEERED])} zero-shot, "
    begun += f"{percent(rates[SHUFFLED, UNSTEERED])} behind examples with permuted labels, "
    begun += f"{percent(rates[FEW_SHOT, UNSTEERED])} behind right examples ({int(zero['n'].iloc[0])} test pairs). "
    begun += f"Zero-shot change of the right answer, beside {controls} controls of each vector: {'. '.join(parts)}."
    holds = bool(helping) and not few
    return Finding(subject=words(name), verdict=verdict, words=begun, holds=holds)


def _change(row: Any) -> str:
    """A change with its interval, and p where it has one."""
    p = "" if pd.isna(row["p"]) else f" ({p_words(row['p'])})"
    return nats(row["change"], row["change_low"], row["change_high"]) + p


NEEDS = {
    "in_context/effects.csv": (
        *("task", "kind", "method", "vector", "condition", "strength", "change", "change_low", "change_high", "p"),
        *("accuracy", "n"),
    ),
    "in_context/strengths.csv": ("task", "method", "strength", "chosen", "kl"),
    "in_context/answers.csv": ("task", "kind", "method", "condition", "x", "right", "log_likelihood"),
}
QUESTION = Question(
    title="In-context tasks: in-context vectors or function vectors?",
    judged="Brackets are 95 % bootstrap intervals over test pairs. The change is of the log-likelihood of the right "
    "answer per token. Controls of a function vector are sums of as many other heads, of the same norm; of the other "
    "vectors, random directions; the strength of each is that at which it does best on validation pairs. An answer is "
    "right where its first word is, or, where a tone is changed, where a classifier of training texts says so. KL is "
    "that of the vector at all tokens of neutral text. No p is corrected; counts come with what chance would give.",
    needs=NEEDS,
    find=find,
)
