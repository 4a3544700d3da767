# pyright: reportArgumentType=false
"""Broad skills: what text keeps where a skill is steered away, and whether a broad skill costs it more than a narrow.

selective    at the level, the interval of what text keeps lies above the level
beyond       what text keeps there lies above all random directions that reach the level at all
"""

import pandas as pd

from lens_steer.report.folder import Results
from lens_steer.report.verdicts.finding import Experiment, Finding, percent, span, words

LEVEL = 0.5
"""Of the target's accuracy, where the table does not say at which one points were chosen."""


def find(results: Results) -> list[Finding]:
    """One finding for each target, by the reading that validation prefers."""
    points, kept = (results.tables[name].frame for name in NEEDS)
    level, scale = _level(results), results.tables["broad/points.csv"].facts.get("settings", {}).get("scale", "raw")
    chosen = points[points["chosen"] & (points["direction"] == "lower")]
    return [_finding(row, kept, level, str(scale)) for row in chosen.to_dict("records")]


def compare(results: Results) -> list[Finding]:
    """One finding for each reading and pair of targets, at the level at which points were chosen."""
    frame, level = results.tables["broad/comparison.csv"].frame, _level(results)
    findings = []
    for row in frame[frame["level"] == level].to_dict("records"):
        broad, narrow = words(row["target"]), words(row["other"])
        subject = f"{broad} against {narrow} ({row['reading']})"
        if pd.isna(row["difference"]) or pd.isna(row["low"]):
            findings.append(Finding(subject=subject, verdict="not reached", words="One of the targets stays above it."))
            continue
        low, high = row["low"], row["high"]
        verdict = "no difference shown" if low <= 0 <= high else f"{broad if low > 0 else narrow} costs text less"
        numbers = f"{100 * row['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        text = f"Where either skill has fallen to {percent(level)}, text keeps {numbers} under the vector of {broad} "
        findings.append(Finding(subject=subject, verdict=verdict, words=f"{text}compared with that of {narrow}."))
    return findings


def _finding(row: dict[str, object], kept: pd.DataFrame, level: float, scale: str) -> Finding:
    """What text keeps at the level, and at the chosen point, beside random directions."""
    here = kept[kept["part"].eq("test") & kept["level"].eq(level)]
    here = here[here["target"].eq(row["target"]) & here["reading"].eq(row["reading"]) & here["site"].eq(row["site"])]
    steered = here[here["vector"] == "steering"]
    random = here.loc[here["vector"].str.startswith("random"), "kept"]
    value, low, high = (
        float(steered[name].iloc[0]) if len(steered) else float("nan") for name in ("kept", "low", "high")
    )
    reached = random.dropna()
    beyond = not len(reached) or value > reached.max()
    selective = low > level
    target = words(str(row["target"]))
    shares = {name: [float(row[f"{name}_kept{end}"]) for end in ("", "_low", "_high")] for name in ("target", "text")}
    said = (
        f"Where {target} has fallen to {percent(level)} of its top-1 accuracy, text keeps {percent(value, low, high)}. "
    )
    said += f"Of {len(random)} random directions of the same norm {len(reached)} bring {target} down to that"
    said += f", and leave text {span(reached)}. " if len(reached) else ". "
    said += (
        f"At {row['site']}, strength {float(row['strength']):g} ({scale}), chosen on validation documents, {target} "
    )
    said += f"keeps {percent(*shares['target'])} (random: {_range(row, 'target')}) and text {percent(*shares['text'])} "
    said += f"(random: {_range(row, 'text')})."
    verdict = "not brought down to the level" if pd.isna(value) else "selective" if selective else "not selective"
    verdict += "" if beyond or pd.isna(value) else ", but random directions are too"
    return Finding(subject=f"{target} ({row['reading']})", verdict=verdict, words=said, holds=selective and beyond)


def _range(row: dict[str, object], skill: str) -> str:
    return span(pd.Series([row[f"{skill}_random_low"], row[f"{skill}_random_high"]], dtype=float))


def _level(results: Results) -> float:
    """The level at which points were chosen."""
    return float(results.tables["broad/points.csv"].facts.get("settings", {}).get("level", LEVEL))


_ENDS = tuple(f"{skill}_{what}" for skill in ("target", "text") for what in ("kept", "random_low", "random_high"))
NEEDS = {
    "broad/points.csv": ("target", "reading", "direction", "site", "strength", "chosen", *_ENDS),
    "broad/kept.csv": ("target", "reading", "part", "vector", "site", "level", "kept", "low", "high"),
}
EXPERIMENT = Experiment(
    title="Broad skills: what does text keep when a skill is steered away?",
    judged="Brackets are 95 % bootstrap intervals over test documents; random directions are given by their range. "
    "Shares are of the unsteered model's top-1 accuracy on the same documents.",
    needs=NEEDS,
    find=find,
)
COMPARISON = Experiment(
    title="Broad skills: does a broad skill cost text more than a narrow one?",
    judged="Paired by text document, at the same loss of either skill; brackets are 95 % bootstrap intervals.",
    needs={
        "broad/points.csv": ("target",),
        "broad/comparison.csv": ("reading", "target", "other", "level", "difference", "low", "high"),
    },
    find=compare,
)
