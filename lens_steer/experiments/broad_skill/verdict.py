"""Broad skills: does text retain its accuracy where a skill is steered away, and is a broad skill harder to single out?

selective    where the target has fallen to the level, the interval of what text retains lies above the level
beyond       there that interval also lies above what text retains under any random direction that reaches the level
"""

import math
from typing import Any

import pandas as pd

from lens_steer.experiments.broad_skill.curves import scale_in_words
from lens_steer.experiments.finding import LEVEL, Finding, Question, bracketed, percent, span, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.figures.style import words

DEFAULT_LEVEL = 0.5
"""Level of the target's relative accuracy, where the table does not say at which one points were chosen."""


def find(results: ResultFolder) -> list[Finding]:
    """One finding for each target, under the reading rule that is best on validation."""
    points, retained = (results.tables[name].frame for name in NEEDS)
    level, settings = _level(results), results.tables["broad/points.csv"].facts.get("settings", {})
    scale = scale_in_words(settings.get("write", "add"), settings.get("scale", "raw"))
    chosen = points[points["chosen"] & (points["direction"] == "lower")]
    others = results.tables["broad/others.csv"].frame if "broad/others.csv" in results.tables else None
    neutral = settings.get("neutral", "text")
    return [_finding(row, retained, _further(row, others, neutral), level, scale) for row in chosen.to_dict("records")]


def compare(results: ResultFolder) -> list[Finding]:
    """One finding for each reading rule and pair of targets, at the level at which points were chosen."""
    frame, level = results.tables["broad/comparison.csv"].frame, _level(results)
    findings = []
    for row in frame[frame["level"] == level].to_dict("records"):
        broad, narrow = words(row["target"]), words(row["other"])
        subject = f"{broad} against {narrow} ({row['reading']})"
        if pd.isna(row["difference"]):
            findings.append(Finding(subject=subject, verdict="not reached", words="A target stays above the level."))
            continue
        low, high = row["low"], row["high"]
        less = broad if row["difference"] > 0 else narrow
        verdict = f"{less} costs text less" if row["p_holm"] <= LEVEL else "no difference shown"
        ends = bracketed(f"{100 * low:+.1f}, {100 * high:+.1f}", low, row.get("why"))
        numbers = f"{100 * row['difference']:+.1f} points {ends}"
        text = f"Where either skill has fallen to {percent(level)}, text retains {numbers} under the vector of {broad} "
        text += f"compared with that of {narrow} (p = {row['p_holm']:.2g} among {row['family']})."
        findings.append(Finding(subject=subject, verdict=verdict, words=text))
    return findings


def _finding(row: dict[str, Any], retained: pd.DataFrame, further: str, level: float, scale: str) -> Finding:
    """The accuracy retained on text at the level and at the chosen point, beside random directions and other skills."""
    here = retained[retained["split"].eq("test") & retained["level"].eq(level)]
    here = here[here["target"].eq(row["target"]) & here["reading"].eq(row["reading"]) & here["site"].eq(row["site"])]
    steered = here[here["vector"] == "steering"]
    found = steered.iloc[0].to_dict() if len(steered) else {}
    value, low, high = (float(found.get(name, math.nan)) for name in ("retained", "low", "high"))
    random = here.loc[here["vector"].str.startswith("random"), "retained"]
    reached, target = random.dropna(), words(str(row["target"]))
    place = f"{row['site']}, strength {float(row['strength']):g} ({scale})"
    down = f"down to {percent(level)} of its top-1 accuracy"
    said = [
        f"Where {target} is {down}, text retains {percent(value, low, high, found.get('why'))}."
        if not math.isnan(value)
        else f"On test documents {target} is not brought {down}.",
        f"{len(reached)} of {len(random)} random directions of the same norm bring it down to that level"
        + (f", where text retains {span(reached)}." if len(reached) else "."),
        f"At {place}, chosen on validation documents, {target} retains {_share(row, 'target')} and text "
        f"{_share(row, 'text')}.",
    ]
    said += [f"There {further}."] if further else []
    verdict, holds = _verdict(value, low, level, random)
    return Finding(subject=f"{target} ({row['reading']})", verdict=verdict, words=" ".join(said), holds=holds)


def _further(row: dict[str, Any], others: pd.DataFrame | None, neutral: str) -> str:
    """What every skill but the target and the neutral text retains at the chosen point; empty where none is known."""
    if others is None:
        return ""
    here = others[others["target"].eq(row["target"]) & others["reading"].eq(row["reading"])]
    return ", ".join(
        f"{words(one['skill'])} retains {percent(*with_ends(one, 'relative_top1'))}"
        for one in here[~here["skill"].isin([row["target"], neutral])].to_dict("records")
    )


def _verdict(value: float, low: float, level: float, random: pd.Series) -> tuple[str, bool | None]:
    """In a few words, and whether the skill is steered away beyond the control; from the interval's lower end."""
    if math.isnan(value):
        return "not brought down to the level", False
    if math.isnan(low):
        return "no interval to tell by", None
    if low <= level:
        return "not selective", False
    if random.empty:
        return "selective; no random directions to compare with", None
    if random.max() >= low:
        return "selective, but so are random directions", False
    return "selective", True


def _share(row: dict[str, Any], skill: str) -> str:
    """The accuracy that a skill retains at the chosen point, with its interval and the range of random directions."""
    random = [float(row[f"{skill}_random_{end}"]) for end in ("low", "high")]
    control = "" if any(map(math.isnan, random)) else f" (random: {span(pd.Series(random))})"
    return f"{percent(*with_ends(row, f'{skill}_retained'))}{control}"


def _level(results: ResultFolder) -> float:
    """The level at which points were chosen."""
    return float(results.tables["broad/points.csv"].facts.get("settings", {}).get("level", DEFAULT_LEVEL))


_ENDS = tuple(
    f"{skill}_{what}"
    for skill in ("target", "text")
    for what in ("retained", "retained_low", "retained_high", "random_low", "random_high")
)
NEEDS = {
    "broad/points.csv": ("target", "reading", "direction", "site", "strength", "chosen", *_ENDS),
    "broad/retained.csv": ("target", "reading", "split", "vector", "site", "level", "retained", "low", "high"),
}
SELECTIVITY = Question(
    title="Broad skills: how much accuracy does text retain when a skill is steered away?",
    judged="Brackets are 95 % bootstrap intervals over test documents. Random directions are given by their range. "
    "Shares are of the unsteered model's top-1 accuracy on the same documents.",
    needs=NEEDS,
    find=find,
)
COMPARED = ("reading", "target", "other", "level", "difference", "low", "high", "p_holm", "family")
COMPARISON = Question(
    title="Broad skills: does a broad skill cost text more than a narrow one?",
    judged="Paired by text document, at the same loss of either skill. Brackets are 95 % bootstrap intervals; p is "
    "that of the bootstrap, after Holm's correction.",
    needs={
        "broad/points.csv": ("target",),
        "broad/comparison.csv": COMPARED,
    },
    find=compare,
)
