"""Reliability as questions: how reliably each behaviour is steered, in how many prompts, and what predicts it."""

import math
from typing import Any

import pandas as pd

from lens_steer.experiments.finding import Finding, Question, p_words, percent
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.reliability.predictors import IN_AND_OUT, RELATIVE
from lens_steer.experiments.reliability.rules import RANDOM, SHUFFLED, STEERABLE, VERDICTS
from lens_steer.figures.style import words


def find_verdicts(results: ResultFolder) -> list[Finding]:
    """One finding for all behaviours together, then one for each, then those that failed."""
    table = results.tables[BEHAVIOURS]
    rows = table.frame.to_dict("records")
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    first = Finding(
        subject="all behaviours",
        verdict=f"{counts[STEERABLE]} of {len(rows)} steerable",
        words=f"Of {len(rows)} behaviours: {counted}.",
    )
    failed = [
        Finding(subject=words(str(name)), verdict="failed", words=str(why))
        for name, why in table.facts.get("failed", {}).items()
    ]
    return [first, *map(judged, rows), *failed]


def find_shift(results: ResultFolder) -> list[Finding]:
    """How steerability in and out of distribution go together, and what goes with its loss."""
    rows = results.tables[RANKING].frame
    found = []
    for name, subject in ((IN_AND_OUT, "in and out of distribution"), (RELATIVE, "relative steerability")):
        for row in rows[rows["predictor"] == name].to_dict("records"):
            said = f"Spearman's correlation of {name} with {row['target']} is {_correlation(row)}, over {row['pairs']} "
            said += f"pairs of prompt settings of {row['n']} behaviours, which are resampled whole."
            found.append(Finding(subject=subject, verdict=f"{row['correlation']:+.2f}", words=said))
    return found


def find_predictors(results: ResultFolder) -> list[Finding]:
    """How well each predictor ranks behaviours by their steerability."""
    rows = results.tables[RANKING].frame
    kept = rows[rows["target"].eq("steerability") & rows["pairs"].eq(0)]
    found = []
    for row in kept.to_dict("records"):
        name = words(str(row["predictor"]))
        shown = row["low"] > 0 or row["high"] < 0
        said = f"Over {row['n']} behaviours {name} and steerability have a rank correlation of {_correlation(row)}."
        verdict = f"{row['correlation']:+.2f}" + ("" if shown else ", not told from 0")
        found.append(Finding(subject=name, verdict=verdict, words=said, holds=bool(shown)))
    return found


def judged(row: dict[str, Any]) -> Finding:
    """The verdict on one behaviour, with its numbers.

    Args:
        row: of the table `behaviours`.
    """
    slope = f"{row['steerability']:+.2f} [{row['steerability_low']:+.2f}, {row['steerability_high']:+.2f}]"
    said = (
        f"At {row['site']}, tokens {row['positions']}, chosen on validation items, the mean slope of {row['n']} test "
    )
    beside = {"random": RANDOM, "shuffled": SHUFFLED}
    compared = [f"{p_words(p)} beside {kind}" for end, kind in beside.items() if not math.isnan(p := row[f"p_{end}"])]
    said += f"items is {slope} nats a unit of strength ({row['scale']}), {', '.join(compared)}; "
    said += f"{percent(row['anti_share'], row['anti_low'], row['anti_high'])} of the items are anti-steerable, "
    said += f"{percent(row['flat_share'])} flat."
    parts = {"the letter": row["explained_letter"], "Yes and No": row["explained_yes"]}
    told = [f"{percent(share)} by {name}" for name, share in parts.items() if not math.isnan(share)]
    said += f" Explained of the variance of slopes: {', '.join(told)}." if told else ""
    return Finding(
        subject=words(str(row["behaviour"])),
        verdict=f"{row['verdict']}: {row['why']}",
        words=said,
        holds=row["verdict"] == STEERABLE,
    )


def _correlation(row: dict[str, Any]) -> str:
    """A correlation with its interval, where there is one."""
    if pd.isna(row["low"]):
        return f"{row['correlation']:+.2f} (too few for an interval)"
    return f"{row['correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


BEHAVIOURS, RANKING = "reliability/behaviours.csv", "reliability/ranking.csv"
JUDGED = ("behaviour", "verdict", "why", "steerability", "anti_share", "p_random", "p_shuffled")
RANKED = ("predictor", "target", "correlation", "low", "high", "n", "pairs")
VERDICT = Question(
    title="Reliability: is a vector's behaviour steerable item by item?",
    judged="Rules are in `experiments.reliability.rules`. Slopes are means of both option orders, on strengths at "
    "which answers are valid; intervals are 95 % over items. Controls "
    "of the vector's norm are asked where each is best on validation items. p is not corrected for the number of "
    "behaviours; `p_holm` in the table is, of the larger p.",
    needs={BEHAVIOURS: (*JUDGED, "explained_letter")},
    find=find_verdicts,
)
SHIFT = Question(
    title="Reliability: does steerability carry over to other prompts?",
    judged="A vector is made in each of five prompt settings, with the norm of the baseline's, and asked in each. "
    "Intervals resample behaviours. Relative steerability is taken where a setting's own vector steers.",
    needs={RANKING: RANKED},
    find=find_shift,
)
PREDICTORS = Question(
    title="Reliability: what predicts steerability?",
    judged="Spearman's rank correlation over behaviours with the interval of Bonett & Wright 2000; few behaviours give "
    "wide ones. Predictors are screens, not evidence. No correction for their number.",
    needs={RANKING: RANKED},
    find=find_predictors,
)
