"""The leaderboard in words: who leads, what beats the mean difference or prompts and adapters, and what failed."""

from typing import Any

import pandas as pd

from lens_steer.experiments.benchmark.contenders import REFERENCE
from lens_steer.experiments.finding import LEVEL, Finding, Question, nats, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.figures.style import words
from lens_steer.metrics.collapse.answers import ANSWER_PROBABILITY_LIMIT

STEERING = ("vector", "map", "turn", "gate")


def find(results: ResultFolder) -> list[Finding]:
    """The leader among what steers, steering against prompting and fine-tuning, and what failed or fell short."""
    table = results.tables["benchmark/leaderboard.csv"]
    effects, rows = results.tables["benchmark/effects.csv"].frame, list[dict[str, Any]]()
    mass = effects[effects["budget"] == float(table.facts["settings"]["kl"])].groupby("method")["answer_probability"]
    for row in table.frame.to_dict("records"):
        rows.append({**row, "answer_probability": mass.min().get(row["method"], 1.0)})
    had = [row for row in rows if not pd.isna(row["effect"])]
    kl = float(table.facts["settings"]["kl"])
    found = [_leader([row for row in had if row["kind"] in STEERING and row["meets_budget"]], kl)] if had else []
    found += [_beside(row) for row in had if row["kind"] not in STEERING or not row["meets_budget"]]
    return [*found, *(_failed(row) for row in rows if row["failed"])]


def _leader(rows: list[dict[str, Any]], kl: float) -> Finding:
    """The best of what steers at the budget."""
    if not rows:
        return Finding(
            subject="steering", verdict="none reaches the budget", words="No method reaches it.", holds=False
        )
    best, beyond = rows[0], [row for row in rows if row["beyond_random"]]
    better = [row for row in rows if row["p_holm"] <= LEVEL and row["effect"] > row["reference"]]
    worse = [row for row in rows if row["p_holm"] <= LEVEL and row["effect"] < row["reference"]]
    said = [
        f"At a KL of {kl:g} nats a token on neutral text {words(best['method'])} moves the logit difference most:",
        f"{nats(*with_ends(best, 'effect'))}, mean of {best['behaviours']} behaviours.",
        f"{_named(better)} {'does' if len(better) == 1 else 'do'} more than {words(REFERENCE)} (Holm), {_named(worse)}",
        f"less. {len(beyond)} of {len(rows)} do more than the largest random direction",
        f"({best['random_largest']:.2f} nats).",
    ]
    name = f"{len(rows)} methods of steering"
    return Finding(subject=name, verdict=f"best: {words(best['method'])}", words=" ".join(said),
                   holds=bool(best["beyond_random"]))  # fmt: skip


def _beside(row: dict[str, Any]) -> Finding:
    """A prompt, an adapter, or what has side effects of its own, against the reference at the same side effects."""
    own = "" if row["meets_budget"] else f" at its own KL of {row['kl']:.3f} nats on test texts"
    said = f"Moves the logit difference by {nats(*with_ends(row, 'effect'))}{own}"
    if pd.isna(row["reference"]):
        verdict = "no reference"
        said += f"; {words(REFERENCE)} cannot be had at so small a KL."
        return Finding(subject=words(row["method"]), verdict=verdict, words=said)
    said += f"; {words(REFERENCE)} at the same KL by {row['reference']:+.2f}"
    if pd.isna(row["p_holm"]):
        return Finding(subject=words(row["method"]), verdict="not tested", words=f"{said}.")
    if row["answer_probability"] < ANSWER_PROBABILITY_LIMIT:
        said += f"; but answers collapse: on one behaviour both options together have {row['answer_probability']:.2f}."
        return Finding(subject=words(row["method"]), verdict="answers collapse", words=said, holds=False)
    shown = row["p_holm"] <= LEVEL
    more = row["effect"] > row["reference"]
    verdict = f"{'more' if more else 'less'} than {words(REFERENCE)}" if shown else "no difference shown"
    said += f" (p = {row['p_holm']:.3f}, Holm over {row['family']})."
    return Finding(subject=words(row["method"]), verdict=verdict, words=said, holds=shown and more)


def _failed(row: dict[str, Any]) -> Finding:
    """What could not be had."""
    failed = int(row["failed"])
    verdict = f"no effect on {failed} of {failed + int(row['behaviours'])} behaviours"
    return Finding(subject=words(row["method"]), verdict=verdict, words=str(row["note"]), holds=False)


def _named(rows: list[dict[str, Any]]) -> str:
    return ", ".join(words(row["method"]) for row in rows) or "none"


QUESTION = Question(
    title="Common benchmark: what moves a behaviour most at equal side effects?",
    judged="The effect is half the difference of the logit difference between the promoting and the suppressing end, "
    "or the change of one end alone where the other could not be had. Intervals are 95 % over items; p is that of sign "
    "flips against the mean difference at the same KL, corrected by Holm's method over all methods. Random directions "
    "of its norm, calibrated and tested alike, say what means nothing.",
    needs={
        "benchmark/leaderboard.csv": ("method", "kind", "effect", "reference", "p_holm", "random_largest", "failed"),
        "benchmark/effects.csv": ("method", "budget", "answer_probability"),
    },
    find=find,
)
