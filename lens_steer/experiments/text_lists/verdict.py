"""Two lists of texts in words: the verdict, its price, what the vector says, and what is written with it."""

from typing import Any

from lens_steer.experiments.finding import Finding, Question, nats, p_words, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.reliability.rules import STEERABLE
from lens_steer.figures.style import words

SUMMARY, LENS, TEXTS = (f"text_lists/{name}.csv" for name in ("summary", "lens", "generations"))
TOKENS = 8


def find(results: ResultFolder) -> list[Finding]:
    """The verdict, then the side effects, then what the vector promotes, then where text collapses."""
    row: dict[str, Any] = results.tables[SUMMARY].frame.to_dict("records")[0]
    lens, written = (results.tables[name].frame for name in (LENS, TEXTS))
    ends = [", ".join(map(repr, lens.loc[lens["end"].eq(end), "token"].head(TOKENS))) for end in ("top", "bottom")]
    fallen = [f"{s:g}" for s in written.loc[written["collapsed"], "strength"].unique()]
    said = f"Continuations collapse at strength {', '.join(fallen)}." if fallen else "No continuations collapse."
    return [
        _judged(row),
        _side_effects(row),
        Finding(subject="lens", verdict="read", words=f"Promoted: {ends[0]}. Suppressed: {ends[1]}."),
        Finding(subject="text", verdict=f"collapsed at {len(fallen)} strengths" if fallen else "valid", words=said),
    ]


def _judged(row: dict[str, Any]) -> Finding:
    """The verdict with its numbers."""
    said = f"Chosen on validation texts: {row['site']}, strength {row['strength']:g} ({row['scale']}). "
    said += f"On {row['n_positive']} positive and {row['n_negative']} negative test texts, half the difference between "
    said += f"adding and subtracting {row['shown']:g} is {nats(*with_ends(row, 'effect'))} a token for the positive "
    said += f"ones. At their own points {row['n_shuffled']} vectors of shuffled labels reach "
    said += f"{row['shuffled_high']:+.2f} at most ({p_words(row['p_shuffled'])}), {row['n_random']} random directions "
    said += f"{row['random_high']:+.2f} ({p_words(row['p_random'])})."
    verdict = f"{row['verdict']}: {row['why']}"
    return Finding(subject=words(str(row["vector"])), verdict=verdict, words=said, holds=row["verdict"] == STEERABLE)


def _side_effects(row: dict[str, Any]) -> Finding:
    """What the strength that is shown costs on neutral text."""
    measures = [with_ends(row, name)[:3] for name in ("kl", "relative_perplexity")]
    kl, perplexity = (f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in measures)
    said = f"Added at {row['shown']:g}: on neutral texts KL is {kl} nats a token, perplexity {perplexity} times the "
    verdict = f"usable up to strength {row['strength']:g}" if row["strength"] else "no strength is used"
    return Finding(subject="side effects", verdict=verdict, words=f"{said}unsteered.")


QUESTION = Question(
    title="Two lists of texts: does the vector between them steer?",
    judged="Site and strength are chosen on validation and neutral texts, for every control too; the effect is of test "
    "texts. It counts where at most one vector in 20, itself included, has as large an effect, of those of shuffled "
    "labels and of random directions each, and its 95 % interval over texts (Welch) is above 0. The rules are in "
    "`experiments.text_lists.rules`.",
    needs={
        SUMMARY: ("vector", "verdict", "why", "effect", "effect_low", "effect_high", "p_shuffled", "p_random", "kl"),
        LENS: ("end", "token"),
        TEXTS: ("strength", "collapsed"),
    },
    find=find,
)
