"""A task of Inspect in words: how far the vector moves the score, beside random directions."""

from typing import Any

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, bracketed, p_words, too_few, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.inspect_task.experiment import RANDOM, STEERING, UNSTEERED
from lens_steer.figures.style import words

ARMS = "inspect_task/arms.csv"
SAID = ("score", "score_low", "score_high", "change", "change_low", "change_high", "p_holm", "p_random", "n")


def find(results: ResultFolder) -> list[Finding]:
    """A finding for each scorer."""
    frame = results.tables[ARMS].frame
    return [_told(str(scorer), own.set_index("arm")) for scorer, own in frame.groupby("scorer", sort=False)]


def _told(scorer: str, arms: Any) -> Finding:
    """Whether the score moves, and more than with random directions."""
    row, before = arms.loc[STEERING], arms.loc[UNSTEERED]
    random = arms[arms.index.str.startswith(RANDOM)]
    value, low, high, why = with_ends(row, "change")
    moved = row["p_holm"] <= LEVEL
    said = f"On {row['n']} samples of {row['task']}, adding at {row['site']}, strength {row['strength']:g}, changes "
    said += f"the score from {before['score']:.3f} to {row['score']:.3f}: by {value:+.3f} "
    said += f"{bracketed(f'{low:+.3f}, {high:+.3f}', low, why)} ({p_words(row['p_holm'])}). "
    if len(random):
        said += f"{len(random)} random directions change it by {random['change'].min():+.3f} to "
        said += f"{random['change'].max():+.3f} (p = {row['p_random']:.3f}). "
    said += f"{100 * row['collapsed_share']:.0f} % of the steered answers repeat themselves or are empty, "
    said += f"{100 * before['collapsed_share']:.0f} % of the unsteered ones."
    if not moved:
        verdict, holds = "no change shown", False
    elif too_few(len(random)):
        verdict, holds = f"{'rises' if value > 0 else 'falls'}; {TOO_FEW}", None
    else:
        holds = bool(row["p_random"] <= LEVEL)
        verdict = f"{'rises' if value > 0 else 'falls'}, {'beyond' if holds else 'like'} random directions"
    return Finding(subject=words(scorer), verdict=verdict, words=said, holds=holds)


QUESTION = Question(
    title="A task of Inspect: does the vector change its score?",
    judged="The same samples are asked in every arm, and nothing is chosen on them. The change counts where its p "
    "(sign flips over samples, Holm over scorers) is at most 0.05, and at most one direction in 20, "
    "the vector's included, changes the score as far.",
    needs={ARMS: ("task", "scorer", "arm", "site", "strength", "collapsed_share", *SAID)},
    find=find,
)
