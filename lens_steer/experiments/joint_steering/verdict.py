"""Several behaviours at once: which scheme moves them most, do separate layers help, what does geometry predict?

schemes        at equal KL on neutral text, the interval of the mean change of the logit difference towards the targets
layers         at equal KL, the interval of simultaneous - sum, paired by item: above 0, below it, or neither
interference   the interval of the correlation of predicted and measured changes lies above 0, and half of the
               behaviours or more are raised by their own vectors, from which the prediction starts
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lens_steer.experiments.finding import LEVEL, Finding, Question, bracketed, nats, percent, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.joint_steering.points import compared
from lens_steer.figures.style import words

PAIRS = ("where", "steered", "read", "predicted", "measured", "measured_low", "measured_high")
PAIRS += ("p_holm", "random_low", "random_high")
POINTS = ("scheme", "steered", "direction", "point", "strength", "objective", "objective_low", "objective_high")
POINTS += ("p_holm", "family", "kl", "relative_top1", "collapsed", "newly_collapsed")
OBJECTIVE = ("scheme", "steered", "direction", "point", "item", "objective")
RESAMPLES = 999


def schemes(results: ResultFolder) -> list[Finding]:
    """One finding for each scheme and direction: at equal side effects, largest objective first; then those without."""
    frame = results.tables["joint/points.csv"].frame
    whole = frame[frame["steered"].isin(("all", "each"))]
    rows = whole[whole["point"].eq("equal")].sort_values("objective", ascending=False).to_dict("records")
    there = {(row["scheme"], row["direction"]) for row in rows}
    curves = dict.fromkeys(zip(whole["scheme"], whole["direction"], strict=True))
    absent = "At its largest strength the KL is still below that at which schemes are compared."
    return [_scheme(row) for row in rows] + [
        Finding(subject=f"{words(scheme)}, {direction}", verdict="not compared", words=absent, holds=False)
        for scheme, direction in curves
        if (scheme, direction) not in there
    ]


def layers(results: ResultFolder) -> list[Finding]:
    """One finding for each direction: whether a site each moves the behaviours further than one site for all."""
    points = results.tables["joint/points.csv"].frame
    objective = results.tables["joint/objective.csv"].frame
    equal = pd.DataFrame(points[points["point"].eq("equal") & points["steered"].eq("all")])
    findings = []
    for direction in dict.fromkeys(points["direction"]):
        here = pd.DataFrame(equal[equal["direction"] == direction]).set_index("scheme")
        if not {"sum", "simultaneous"} <= set(here.index):
            continue
        own = pd.DataFrame(objective[objective["direction"] == direction])
        found = compared(own, "sum", "equal", RESAMPLES, 0)
        row: Any = found.set_index("scheme").loc["simultaneous"]
        low, high = float(row["difference_low"]), float(row["difference_high"])
        fallen = bool(here["newly_collapsed"][["sum", "simultaneous"]].any())
        verdict = "separate sites do more" if low > 0 else "one site does more" if high < 0 else "no difference shown"
        said = [
            f"{words(at['scheme'])} {at['objective']:+.2f} nats at KL {at['kl']:.2f}, "
            f"{percent(at['relative_top1'])} of top-1"
            for at in here.loc[["simultaneous", "sum"]].reset_index().to_dict("records")
        ]
        findings.append(
            Finding(
                subject="added" if direction == "add" else "subtracted",
                verdict=f"{verdict}, but answers collapse" if fallen else verdict,
                words=f"Simultaneous less sum: {nats(float(row['difference']), low, high)}; {'; '.join(said)}.",
                holds=low > 0 and not fallen,
            )
        )
    return findings


def interference(results: ResultFolder) -> list[Finding]:
    """One finding for each way of steering: agreement of prediction and measurement, and the largest change."""
    agreement, pairs = (results.tables[f"joint/{name}.csv"].frame for name in ("agreement", "interference"))
    findings = []
    for row in agreement[agreement["statistic"] == "pearson"].to_dict("records"):
        here = pairs[pairs["where"] == row["where"]]
        own, others = here[here["steered"].eq(here["read"])], here[here["steered"].ne(here["read"])]
        predicted, raised = bool(row["low"] > 0), int(_moved(own, 1).sum())
        ends = f"{row['low']:.2f}, {row['high']:.2f}"
        verdict = "predicted by geometry" if predicted else "not predicted by geometry"
        if 2 * raised < len(own):
            verdict = "own effects too small to predict from"
        findings.append(
            Finding(
                subject=f"{row['where']} sites" if row["where"] != "combined" else "combined, one site",
                verdict=verdict,
                words=f"Predicted and measured changes of other behaviours correlate at {row['value']:.2f} "
                f"{bracketed(ends, row['low'], row.get('why'))} over {int(row['n'])} ordered pairs. Their own vectors, "
                f"added, raise {raised} of {len(own)} behaviours. {_pairs(others)}",
                holds=predicted and 2 * raised >= len(own),
            )
        )
    return findings


def _scheme(row: Mapping[str, Any]) -> Finding:
    """The effect of one scheme in one direction."""
    moved, up, alone = row["p_holm"] <= LEVEL, row["objective"] > 0, row["steered"] == "each"
    verdict = ("moves towards the targets" if up else "moves away from them") if moved else "no change shown"
    count = int(row["collapsed"])
    state = f"collapsed answers: {'up to ' if alone else ''}{count} of the behaviours" if count else "nothing collapses"
    state += ", not all of them unsteered" if row["newly_collapsed"] else ", unsteered already" if count else ""
    cost = f"KL {row['kl']:.2f} nats a token, {percent(row['relative_top1'])} of top-1 retained"
    mean = "each by its own vector alone, mean of behaviours" if alone else "mean of behaviours"
    return Finding(
        subject=f"{words(row['scheme'])}, {row['direction']}",
        verdict=f"{verdict}, but answers collapse" if row["newly_collapsed"] else verdict,
        words=f"Change towards the targets: {nats(*with_ends(row, 'objective'))} ({mean}; p = {row['p_holm']:.2g} "
        f"among {row['family']}); {cost}; {state}.",
        holds=bool(moved and up) and not row["newly_collapsed"],
    )


def _moved(pairs: pd.DataFrame, sign: int) -> "pd.Series[bool]":
    """Of which pairs the behaviour that is read has moved in one direction."""
    return pairs["p_holm"].le(LEVEL) & (sign * pairs["measured"]).gt(0)


def _pairs(others: pd.DataFrame) -> str:
    """How many other behaviours are raised or lowered, and the largest change."""
    furthest = others.iloc[int(others["measured"].abs().to_numpy().argmax())]
    raised, lowered = (int(_moved(others, sign).sum()) for sign in (1, -1))
    said = f"In {raised} of the pairs the other behaviour is raised, in {lowered} lowered (p <= {LEVEL:g} after Holm)"
    if others["random_low"].notna().all():
        inside = others["measured"].between(others["random_low"], others["random_high"])
        said += f"; {int((~inside).sum())} changes lie outside the middle 95 % of random directions"
    by = nats(*with_ends(furthest.to_dict(), "measured"))
    name = f"adding {words(furthest['steered'])} moves {words(furthest['read'])} by {by}"
    return f"{said}. The largest change: {name} (predicted {furthest['predicted']:+.2f})."


SCHEMES = Question(
    title="Several behaviours at once: which scheme moves them, at equal side effects?",
    judged="Strengths are those of equal KL on validation texts; the KL given is that on test texts. The change is "
    "that of the logit difference on test items, counted towards the targets. Brackets are 95 % intervals over items, "
    "of each scheme by itself: they do not show that one scheme moves more than another. p is of sign flips of the "
    "items, after Holm's correction for the family named. There are no random directions.",
    needs={"joint/points.csv": POINTS},
    find=schemes,
)
LAYERS = Question(
    title="Several behaviours at once: do vectors at a site each cost less than all at one site?",
    judged="Both have the strength of equal KL on validation texts, so that more effect is the same as less KL for an "
    "equal effect. The difference is paired by test item, with its 95 % bootstrap interval. The sites differ too, not "
    "only their number: simultaneous steering begins at the site of combined steering and goes on behind it. The "
    "optimiser tries other places of both.",
    needs={"joint/points.csv": POINTS, "joint/objective.csv": OBJECTIVE},
    find=layers,
)
INTERFERENCE = Question(
    title="Several behaviours at once: does the angle between vectors predict how behaviours interfere?",
    judged="The prediction is the projected strength (Gram matrix) times the measured effect of a behaviour's own "
    "vector, so that some agreement comes from behaviours that any vector moves. Changes are half of added minus "
    "subtracted; a pair counts as moved by sign flips of the items, after Holm's correction for all pairs. Brackets "
    "are 95 % intervals over items, and do not extend to other behaviours.",
    needs={
        "joint/agreement.csv": ("statistic", "value", "low", "high", "n", "where"),
        "joint/interference.csv": PAIRS,
    },
    find=interference,
)
