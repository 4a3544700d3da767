"""Automatically made vectors as questions: does a task gain, is the choice good, what is lost, are examples better?

a task gains         the corrected p of its best method, after Holm over tasks and methods, is below 0.05
                     and the interval of what it gains beyond random vectors is above 0
do not steer         on at least half of the splits the choice on validation items is strength 0
"""

from typing import Any

import pandas as pd

from lens_steer.evaluation.painless.run import BEST, RANDOM
from lens_steer.experiments.finding import LEVEL, Finding, Question, p_words, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.figures.captions.common import counted
from lens_steer.figures.style import words

GAINS, CHOICES, ON_TOP_OF, CAPABILITY = (
    f"painless/{name}.csv" for name in ("gains", "choices", "on_top", "capability")
)


def find_gains(results: ResultFolder) -> list[Finding]:
    """One finding a task, then the tasks of which no vector could be built."""
    table = results.tables[GAINS]
    found = [
        _gain(str(name), own, str(table.facts.get("answers", {}).get(name, "")))
        for name, own in table.frame.groupby("task", sort=False)
    ]
    failed = table.facts.get("failed", {}).items()
    return found + [Finding(subject=words(name), verdict="no vector", words=str(why)) for name, why in failed]


def find_choices(results: ResultFolder) -> list[Finding]:
    """The automatic choice against the full grid, by task and over all of them."""
    rows = results.tables[CHOICES].frame
    found = [
        Finding(
            subject=words(str(row["task"])),
            verdict=f"{row['fewer_passes']:.0f} times fewer passes",
            words=f"Gain on test items {_signed(row['automatic'])} points by the automatic choice, "
            f"{_signed(row['full_grid'])} by the full grid, over {counted(int(row['seeds']), 'split')}; difference "
            f"{_points(row, 'difference')}.",
        )
        for row in rows.to_dict("records")
    ]
    differences, fewer = rows["difference"], float(rows["fewer_passes"].min())
    same = bool(differences.mean() >= 0)
    said = f"Mean difference of {counted(len(rows), 'task')}: {100 * differences.mean():+.1f} points "
    said += f"({_signed(differences.min())} to {_signed(differences.max())}), with at least {fewer:.0f} times fewer "
    said += "passes."
    verdict = "the same or better" if same else "less than the full grid"
    return [Finding(subject="all tasks", verdict=verdict, words=said, holds=same), *found]


def find_on_top(results: ResultFolder) -> list[Finding]:
    """The vector alone, on top of examples and on top of fine-tuning, of each task."""
    table, found = results.tables[ON_TOP_OF], []
    for name, own in table.frame.groupby("task", sort=False):
        rows = own.set_index("condition")
        parts = [
            f"{condition} {percent(row['accuracy'])} ({_points(row, 'gain')}, {p_words(row['gain_p'])})"
            for condition, row in rows.iloc[1:].iterrows()
        ]
        said, adds = f"Unsteered {percent(rows['accuracy'].iloc[0])}; {'; '.join(parts)}.", {}
        for base, what in (("prefix", f"{int(rows['shots'].iloc[0])} examples"), ("adapter", "fine-tuning")):
            if base in rows.index:
                both: Any = rows.loc[f"{base} and vector"]
                adds[what] = bool(both[f"over_{base}_low"] > 0)
                said += f" The vector on top of {what}: {_points(both, f'over_{base}')}, "
                said += f"{p_words(both[f'over_{base}_p'])}, over {counted(int(both['seeds']), 'split')}."
        said += f" Not fine-tuned: {table.facts['untuned']}" if table.facts.get("untuned") else ""
        verdict = f"the vector adds to {' and '.join(what for what, more in adds.items() if more)}"
        verdict = verdict if any(adds.values()) else f"no gain over {' or '.join(adds)} shown"
        found.append(Finding(subject=words(str(name)), verdict=verdict, words=said, holds=any(adds.values())))
    return found


def find_capability(results: ResultFolder) -> list[Finding]:
    """Knowledge before and after, of each task whose vector steers, and of each adapter."""
    found, table = [], results.tables[CAPABILITY]
    asked = words(table.facts["settings"].get("asked", "") or "facts")
    for row in table.frame.to_dict("records"):
        said = f"Of {row['n']} questions about {asked} {percent(row['unsteered'])} are right unsteered and "
        name, tuned = words(str(row["task"])), row["method"] == "adapter"
        what = "adapter" if tuned else "best vector"
        said += f"{percent(row['steered'])} with the {what} of the first seed: {_points(row, 'change')}."
        worse = row["change_high"] < 0
        verdict, subject = "knowledge is lost" if worse else "no loss shown", f"{name}, adapter" if tuned else name
        found.append(Finding(subject=subject, verdict=verdict, words=said, holds=not worse))
    return found


def _gain(name: str, rows: pd.DataFrame, answers: str) -> Finding:
    """The verdict on one task."""
    table = rows.set_index("method")
    best: Any = table.loc[BEST]
    gains = bool(best["p_corrected_holm"] < LEVEL and best["gain"] > 0)
    beyond = bool(best["beyond_low"] > 0)
    verdict = "no gain shown"
    if best["steers"] <= 0.5:
        verdict = "do not steer"
    elif gains:
        verdict = "gains" if beyond else "gains, not beyond random vectors"
    said = f"Accuracy {percent(best['unsteered'])} unsteered, {percent(best['steered'])} with the vector chosen on "
    said += f"validation items, over {int(best['seeds'])} splits: {_points(best, 'gain')}; one-sided "
    said += f"{p_words(best['p_t'])} by the plain t test, {p_words(best['p_corrected'])} corrected for shared items, "
    said += f"{p_words(best['p_corrected_holm'])} after Holm; two-sided {p_words(best['p_flips'])} by sign flips. "
    said += f"Steered on {percent(best['steers'])} of the splits. "
    if RANDOM in table.index and not pd.isna(best["beyond"]):
        said += f"Random vectors: {_points(table.loc[RANDOM], 'gain')}; beyond them: {_points(best, 'beyond')}. "
    methods = table.drop(index=[BEST, RANDOM], errors="ignore")
    built = methods[methods["seeds"] > 0]
    said += f"By method: {', '.join(f'{words(str(m))} {_signed(row.gain)}' for m, row in built.iterrows())}. "
    lacking = [words(str(method)) for method in methods.index[methods["seeds"] == 0]]
    said += f"Could not be built: {', '.join(lacking)}. " if lacking else ""
    said += answers[:1].upper() + answers[1:]
    return Finding(subject=words(name), verdict=verdict, words=said.strip(), holds=verdict == "gains")


def _points(row: Any, column: str) -> str:
    """A change of accuracy in percentage points with its interval."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{_signed(row[column])} points" + ("" if pd.isna(low) else f" [{_signed(low)}, {_signed(high)}]")


def _signed(share: float) -> str:
    """A change in whole percentage points."""
    return f"{round(100 * share):+d}"


INTERVALS = "Brackets are 95 % intervals of the corrected resampled t over splits, which share items. "
GAIN = Question(
    title="Painless vectors: which tasks gain?",
    judged=f"{INTERVALS}A task gains where the corrected p is below {LEVEL} after Holm over all tasks and methods, "
    "and the interval of what is gained beyond random vectors, chosen in the same way, is above 0. Strength 0 is tried "
    "too. Test items are asked once, after everything is chosen.",
    needs={
        GAINS: (
            *("task", "method", "seeds", "unsteered", "steered", "gain", "gain_low", "gain_high", "steers", "beyond"),
            *("beyond_low", "beyond_high", "p_t", "p_corrected", "p_flips", "p_corrected_holm"),
        )
    },
    find=find_gains,
)
CHOICE = Question(
    title="Painless vectors: is the automatic choice as good as the full grid?",
    judged=f"{INTERVALS}The full grid is the paper's: every site, 14 raw strengths, every method, largest accuracy on "
    "validation items, without strength 0. Both choices are tested on the same test items.",
    needs={CHOICES: ("task", "seeds", "automatic", "full_grid", "difference", "fewer_passes")},
    find=find_choices,
)
ON_TOP = Question(
    title="Painless vectors: on top of examples in the prompt, and of fine-tuning?",
    judged=f"{INTERVALS}Examples are training items that the model gets wrong; with them, the vector and its strength "
    "are those chosen without. An adapter is trained on the right answers of all training items; on top of it the "
    "vector is made and chosen anew, of the adapted model's answers. p is one-sided, corrected for shared items, not "
    "for the number of tasks.",
    needs={ON_TOP_OF: ("task", "condition", "seeds", "accuracy", "gain", "gain_p", "over_prefix", "shots")},
    find=find_on_top,
)
COST = Question(
    title="Painless vectors: what is lost?",
    judged="Brackets are 95 % bootstrap intervals over questions. Tasks whose vector does not steer lose nothing.",
    needs={CAPABILITY: ("task", "n", "unsteered", "steered", "change", "change_low", "change_high")},
    find=find_capability,
)
