"""The optimiser: does it beat the published schemes within the same budget of side effects, and random directions?

beats     its gain over a scheme is above 0 (p <= .05 after Holm over schemes and budgets), and its answers have not
          collapsed
beyond    its own interval lies above all random directions, of which there are enough for a level of 0.05
"""

import pandas as pd

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, with_ends
from lens_steer.experiments.folder import ResultFolder

GAINS = ("budget", "scheme", "optimised_configuration", "configuration", "gain", "gain_low", "gain_high", "optimised")
GAINS += ("p_holm", "family", "other", "kl_optimised", "kl_other")
TESTED = ("scheme", "configuration", "objective", "objective_low", "objective_high", "side_effect", "kl", "collapsed")


def find(results: ResultFolder) -> list[Finding]:
    """One finding for each scheme and share of the budget, then one beside random directions."""
    gains, tested = (results.tables[f"optimiser/{name}.csv"] for name in ("gains", "tested"))
    fallen = tested.frame.set_index(["scheme", "configuration"])["collapsed"].astype(bool)
    unit = " nats a token" if tested.frame["side_effect"].equals(tested.frame["kl"]) else " of top-1"
    findings = []
    for row in gains.frame.to_dict("records"):
        shown = bool(row["p_holm"] <= LEVEL)
        better, worse = shown and row["gain"] > 0, shown and row["gain"] < 0
        pair = (("optimised", row["optimised_configuration"]), (row["scheme"], row["configuration"]))
        collapsed = [scheme for scheme, configuration in pair if fallen[scheme, configuration]]
        verdict = "beats it" if better else "is beaten" if worse else "no difference shown"
        verdict += ", but answers collapse" if "optimised" in collapsed else ""
        state = f" Answers have collapsed: {', '.join(collapsed)}." if collapsed else ""
        findings.append(
            Finding(
                subject=f"against {row['scheme']}, budget {row['budget']:.2f}{unit}",
                verdict=verdict,
                words=f"On test the optimised assignment reaches {row['optimised']:+.2f} nats and the scheme "
                f"{row['other']:+.2f}: a gain of {nats(*with_ends(row, 'gain'))} (p = "
                f"{row['p_holm']:.2g} among {row['family']}), at a KL of {row['kl_optimised']:.2f} against "
                f"{row['kl_other']:.2f} nats a token.{state}",
                holds=better and "optimised" not in collapsed,
            )
        )
    return findings + _beside_random(gains.frame, tested.frame)


def _beside_random(gains: pd.DataFrame, tested: pd.DataFrame) -> list[Finding]:
    """The optimised assignment within the whole budget beside random directions of its norms, where there are any."""
    random = tested.loc[tested["scheme"] == "random", "objective"]
    if random.empty:
        return []
    configuration = gains["optimised_configuration"].iloc[int(gains["budget"].to_numpy().argmax())]
    chosen = tested[tested["scheme"].eq("optimised") & tested["configuration"].eq(configuration)].iloc[0]
    beyond, few = bool(chosen["objective_low"] > random.max()), 1 / (len(random) + 1) > LEVEL
    verdict = TOO_FEW if few else "beyond all of them" if beyond else "not shown beyond random"
    value = nats(*with_ends(chosen.to_dict(), "objective"))
    return [
        Finding(
            subject="against random directions",
            verdict=verdict,
            words=f"Within the whole budget the optimised assignment reaches {value} on test; {len(random)} random "
            f"directions of the same norms in its place reach {random.min():+.2f} to {random.max():+.2f}.",
            holds=beyond and not few,
        )
    ]


QUESTION = Question(
    title="Several behaviours at once: does the optimiser beat the published schemes within the same budget?",
    judged="The optimiser and each scheme had the same number of configurations. Each was chosen on validation within "
    "the budget of side effects, and they are compared on the same test items, paired. Brackets are 95 % bootstrap "
    "intervals over items, not over searches; p is of exchanges of the two, item by item, after Holm's correction.",
    needs={"optimiser/gains.csv": GAINS, "optimiser/tested.csv": TESTED},
    find=find,
)
