# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
"""Several behaviours at once: which scheme moves them most at equal damage, and whether geometry foresees interference.

schemes        at the same KL on neutral text, the interval of the mean targeted change of the logit difference
interference   the interval of the correlation of predicted and measured changes lies above 0
"""

import pandas as pd

from lens_steer.figures.style import words
from lens_steer.report.folder import Results
from lens_steer.report.verdicts.finding import Experiment, Finding, nats, percent

POINTS = ("scheme", "steered", "direction", "point", "strength", "objective", "objective_low", "objective_high")
POINTS += ("kl", "relative_top1", "collapsed", "newly_collapsed")


def schemes(results: Results) -> list[Finding]:
    """One finding for each scheme and direction at equal damage, the largest objective first."""
    frame = results.tables["many/points.csv"].frame
    rows = frame[frame["point"].eq("equal") & frame["steered"].isin(("all", "each"))]
    findings = []
    for row in rows.sort_values("objective", ascending=False).to_dict("records"):
        moved = nats(row["objective"], row["objective_low"], row["objective_high"])
        cost = f"KL {row['kl']:.2f} nats a token, {percent(row['relative_top1'])} of top-1 kept"
        state = f"{int(row['collapsed'])} behaviours' answers collapsed" if row["collapsed"] else "nothing collapsed"
        side = "add" if row["direction"] == "add" else "subtract"
        verdict = "moves them" if row["objective_low"] > 0 else "does not move them"
        findings.append(
            Finding(
                subject=f"{words(row['scheme'])}, {side}",
                verdict=verdict if not row["newly_collapsed"] else f"{verdict}, and collapses",
                words=f"On test items the wanted change is {moved} on average over behaviours; {cost}; {state}.",
                holds=bool(row["objective_low"] > 0) and not row["newly_collapsed"],
            )
        )
    return findings


def interference(results: Results) -> list[Finding]:
    """One finding for each way of steering: the agreement of prediction and measurement; and the strongest pair."""
    agreement, pairs = (results.tables[f"many/{name}.csv"].frame for name in ("agreement", "interference"))
    findings = []
    for row in agreement[agreement["statistic"] == "pearson"].to_dict("records"):
        others = pairs[pairs["where"].eq(row["where"]) & pairs["steered"].ne(pairs["read"])]
        least = others.loc[others["measured"].idxmin()]
        foreseen = bool(row["low"] > 0)
        pair = f"{words(least['steered'])} moves {words(least['read'])} by "
        pair += nats(least["measured"], least["measured_low"], least["measured_high"])
        findings.append(
            Finding(
                subject=f"{row['where']} sites",
                verdict="foreseen by geometry" if foreseen else "not foreseen by geometry",
                words=f"Predicted and measured changes of other behaviours correlate at {row['value']:.2f} "
                f"[{row['low']:.2f}, {row['high']:.2f}] over {int(row['n'])} ordered pairs. Most against its sense, "
                f"{pair} (predicted {least['predicted']:+.2f}).",
                holds=foreseen,
            )
        )
    return findings


def optimiser(results: Results) -> list[Finding]:
    """One finding for each scheme and part of the damage budget: what the optimiser reaches beyond it."""
    findings = []
    for row in results.tables["optimiser/gains.csv"].frame.to_dict("records"):
        if pd.isna(row["gain"]):
            continue
        better = bool(row["gain_low"] > 0)
        worse = bool(row["gain_high"] < 0)
        findings.append(
            Finding(
                subject=f"against {row['scheme']}, budget {row['budget']:.2f} nats",
                verdict="beats it" if better else "is beaten" if worse else "no difference shown",
                words=f"On test the optimised assignment reaches {row['optimised']:.2f} nats and the scheme "
                f"{row['other']:.2f}: a gain of {nats(row['gain'], row['gain_low'], row['gain_high'])}, at a KL of "
                f"{row['kl_optimised']:.2f} against {row['kl_other']:.2f} nats a token.",
                holds=better,
            )
        )
    return findings


SCHEMES = Experiment(
    title="Several behaviours at once: which scheme moves them, at equal damage?",
    judged="Strengths do the same KL to validation texts; the change of the logit difference is counted in the wanted "
    "direction. Brackets are 95 % bootstrap intervals over test items.",
    needs={"many/points.csv": POINTS},
    find=schemes,
)
INTERFERENCE = Experiment(
    title="Several behaviours at once: does the angle of their vectors foresee how they interfere?",
    judged="Predicted from the Gram matrix and each vector's own effect; brackets are 95 % bootstrap intervals over "
    "items. Ordered pairs of different behaviours are not independent: the interval speaks of items, not of pairs.",
    needs={
        "many/agreement.csv": ("statistic", "value", "low", "high", "n", "where"),
        "many/interference.csv": ("steered", "read", "predicted", "measured", "measured_low", "measured_high", "where"),
    },
    find=interference,
)
OPTIMISER = Experiment(
    title="Several behaviours at once: does the optimiser beat the published schemes within the same damage?",
    judged="Both had as many cells, were chosen on validation and are compared on the same test items, paired; "
    "brackets are 95 % bootstrap intervals over items.",
    needs={"optimiser/gains.csv": ("budget", "scheme", "gain", "gain_low", "gain_high", "optimised", "other")},
    find=optimiser,
)
