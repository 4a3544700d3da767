"""Open-ended evaluation: does the vector promote what shows the behaviour, or suppress what does not, without letters?

holds       the interval of the shift is above 0, and at most one direction in 20, itself included, goes as far
promotes    it holds, and the matching continuations become likelier;  suppresses: the other ones become less likely
"""

from typing import Any

import pandas as pd

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, of_many, p_words
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.open_ended.experiment import STEERING
from lens_steer.experiments.open_ended.texts import UNSTEERED
from lens_steer.figures.style import words

VERDICTS = {
    (True, True): "promotes and suppresses",
    (True, False): "promotes; suppression not shown",
    (False, True): "suppresses; promotion not shown",
    (False, False): "shifts; neither promotion nor suppression shown",
}
NOT_SHOWN = "not shown beyond random"


def find(results: ResultFolder) -> list[Finding]:
    """One finding for all behaviours together, then one for each."""
    points, changes, judged = (results.tables[name].frame for name in NEEDS)
    steering = points[points["vector"] == STEERING].reset_index(drop=True)
    findings = []
    for row in steering.to_dict("records"):
        name = row["behaviour"]
        own = changes[(changes["behaviour"] == name) & (changes["direction"] == "added") & (changes["share"] == 0.5)]
        least = 1 / int((points["behaviour"] == name).sum())
        findings.append(_finding(row, own, judged[judged["behaviour"] == name], least))
    shown = sum(bool(finding.holds) for finding in findings)
    said = (
        f"{of_many(shown, len(findings))} vectors make matching continuations likelier than other ones, further than "
    )
    said += "random directions that were chosen in the same way."
    return [Finding(subject="all behaviours", verdict=f"{shown} of {len(findings)} shown", words=said), *findings]


def _finding(row: dict[str, Any], changes: pd.DataFrame, judged: pd.DataFrame, least: float) -> Finding:
    """One behaviour: its likelihoods, Pos and Neg at one half, and its texts."""
    change: Any = changes[changes["vector"] == STEERING].iloc[0]
    up, down = change["drift_matching_low"] > 0, change["drift_other_high"] < 0
    holds = bool(row["shift_low"] > 0 and row["p_shift"] <= LEVEL and row["valid"])
    few = least > LEVEL
    verdict = TOO_FEW if few else VERDICTS[bool(up), bool(down)] if holds else NOT_SHOWN
    verdict += "" if row["valid"] else ", and no strength leaves the text intact"
    said = (
        f"Added at {row['site']}, tokens {row['positions']}, strength {row['strength']:g} ({row['scale']}), chosen on "
    )
    said += f"validation prompts: matching continuations {_three(change, 'drift_matching')} a token, other ones "
    said += f"{_three(change, 'drift_other')}, shift {_three(row, 'shift')} on {int(change['n'])} test prompts; "
    said += f"{p_words(row['p_shift'])} beside {round(1 / least) - 1} random directions. "
    said += f"Pos at 50 % is {_three(change, 'promoted')} ({p_words(row['p_promoted'])}), Neg "
    said += f"{_three(change, 'suppressed')} ({p_words(row['p_suppressed'])}), by {change['normalisation']}. "
    return Finding(
        subject=words(str(row["behaviour"])), verdict=verdict, words=said + _texts(judged), holds=holds and not few
    )


def _three(row: Any, name: str) -> str:
    return nats(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _texts(judged: pd.DataFrame) -> str:
    """What the first judge says of the texts of each turn."""
    own = judged[judged["judge"] == judged["judge"].iloc[0]]
    added = own[own["direction"] == "added"]
    parts = []
    for row in added[added["vector"] == STEERING].to_dict("records"):
        others = added.loc[(added["vector"] != STEERING) & (added["turn"] == row["turn"]), "difference"]
        before = own[(own["vector"] == UNSTEERED) & (own["turn"] == row["turn"])]["score"].iloc[0]
        random = f"; random {others.min():+.2f} to {others.max():+.2f}" if len(others) else ""
        ends = f"[{row['difference_low']:+.2f}, {row['difference_high']:+.2f}]"
        parts.append(f"turn {row['turn']} {before:.2f} and {row['difference']:+.2f} {ends}{random}")
    failed = int(own["failed"].sum())
    lost = f" It failed on {failed} texts, which are kept without a score." if failed else ""
    judge, n = own["judge"].iloc[0], int(own["n"].max())
    return f"Texts of {n} conversations by judge {judge} (0 to 2), unsteered and change: {', '.join(parts)}.{lost}"


NEEDS = {
    "open_ended/points.csv": (
        *("behaviour", "vector", "site", "positions", "strength", "scale", "valid", "shift", "shift_low"),
        *("shift_high", "p_shift", "p_promoted", "p_suppressed"),
    ),
    "open_ended/changes.csv": (
        *("behaviour", "vector", "direction", "share", "normalisation", "promoted", "suppressed", "drift_matching"),
        *("drift_other", "n"),
    ),
    "open_ended/judged.csv": (
        "behaviour",
        "judge",
        "vector",
        "direction",
        "turn",
        "score",
        "difference",
        "n",
        "failed",
    ),
}
QUESTION = Question(
    title="Open-ended: does each vector promote its behaviour where no options are listed?",
    judged="Brackets are 95 % bootstrap intervals over prompts (over conversations for texts). The shift is how much "
    "more likely the matching continuation becomes than the other one; p counts random directions of the same norm, "
    "each at the point that was best for it on validation prompts. Pos and Neg are those of Pres et al. 2024. No p is "
    "corrected for the number of behaviours; the first line says what chance would give. Texts are written under the "
    "same random numbers with and without steering.",
    needs=NEEDS,
    find=find,
)
