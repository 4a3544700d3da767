"""Individual steering: does each vector move the answers of its behaviour further than random directions of its norm?

steers    its effect on test items is above 0 (p <= .05 of sign flips, after Holm over behaviours), and at most one
          direction in 20, itself included, goes as far through the whole protocol (p <= .05)
raises    it steers, and the matching rate at +s is above the unsteered one (p <= .05 of sign flips, after Holm over
          behaviours and both ways);  lowers: below, at -s
"""

from typing import Any

import pandas as pd

from lens_steer.experiments.finding import LEVEL, TOO_FEW, Finding, Question, nats, p_words, percent, span, with_ends
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.figures.style import words

TAILS = (0.025, 0.975)
VERDICTS = {
    (True, True): "steers both ways",
    (True, False): "raises; lowering not shown",
    (False, True): "lowers; raising not shown",
    (False, False): "moves logits; answers not shown to change",
}
NOT_SHOWN = "not shown beyond random"


def find(results: ResultFolder) -> list[Finding]:
    """One finding for all behaviours together, then one for each."""
    summary, chosen, curves = (results.tables[name].frame for name in NEEDS)
    findings = []
    for row in summary.to_dict("records"):
        own = (pd.DataFrame(table[table["behaviour"] == row["behaviour"]]) for table in (chosen, curves))
        findings.append(_finding(row, *own, results=results))
    both = sum(finding.verdict == VERDICTS[True, True] for finding in findings)
    steered = sum(finding.verdict in VERDICTS.values() for finding in findings)
    counted = f"{steered} of {len(findings)} behaviours are steered further than by random directions of the same norm "
    counted += f"that went through the same choice, {both} of them both ways."
    return [Finding(subject="all behaviours", verdict=f"{both} of {len(findings)} both ways", words=counted), *findings]


def _finding(row: dict[str, Any], chosen: pd.DataFrame, curves: pd.DataFrame, results: ResultFolder) -> Finding:
    """The effect of steering one behaviour at its chosen point, beside random directions at theirs."""
    strength, unsteered, p = float(row["strength"]), float(row["unsteered"]), float(row["p"])
    steered = curves[curves["vector"] == STEERING].set_index("strength")
    random, subject = curves[curves["vector"] != STEERING], words(str(row["behaviour"]))
    if not {-strength, strength} <= set(steered.index):
        text = f"The curves have no steered rows at strengths {-strength:g} and {strength:g}."
        return Finding(subject=subject, verdict="cannot be told", words=text)
    moved, said = [], []
    for sign, verb in ((1, "Added"), (-1, "subtracted")):
        end: Any = steered.loc[sign * strength]
        rate, low, high = (float(end[name]) for name in ("matching_rate", "rate_low", "rate_high"))
        p_rate = float(row["added_p_holm" if sign > 0 else "subtracted_p_holm"])
        moved.append(p_rate <= LEVEL and sign * (rate - unsteered) > 0)
        others = random.loc[random["strength"] == sign * strength, "matching_rate"]
        band = f" (random: {span(others, *TAILS)})" if len(others) else ""
        said.append(f"{verb}, it is {percent(rate, low, high)}{band}")
    steers = p <= LEVEL and float(row["effect_p_holm"]) <= LEVEL and float(row["effect"]) > 0
    few = 1 / len(chosen) > LEVEL
    fallen = bool(row["collapsed"])
    verdict = TOO_FEW if few else VERDICTS[moved[0], moved[1]] if steers else NOT_SHOWN
    verdict += ", but answers collapse" if fallen else ""
    place = f"{row['site']}, tokens {row['positions']}, strength {strength:g} ({row['scale']})"
    effect = (
        f"Half the change from subtracting to adding is {nats(*with_ends(row, 'effect'))} (p = "
        f"{row['effect_p_holm']:.2g} among {row['family'].partition(';')[0]})"
    )
    control = f"{p_words(p)} beside {controls_in_words(chosen['vector'])} chosen in the same way"
    before = f"Unsteered the matching rate is {percent(unsteered)}{_n(row, results)}."
    return Finding(
        subject=subject,
        verdict=verdict,
        words=f"At {place}, chosen on validation items. {effect}; {control}. {before} {'; '.join(said)}.",
        holds=steers and not few and not fallen,
    )


def controls_in_words(vectors: pd.Series) -> str:
    """How many random directions, and vectors of other kinds, went through the protocol.

    Args:
        vectors: the names of all, the steering one included; those of controls end in a number.
    """
    counts = vectors[vectors != STEERING].str.rsplit(" ", n=1).str[0].value_counts(sort=False).to_dict()
    said = [f"{n} random directions" if kind == "random" else f"{n} vectors of {kind}" for kind, n in counts.items()]
    return " and ".join(said)


def _n(row: dict[str, Any], results: ResultFolder) -> str:
    """The number of test items, where the record has it."""
    sizes = results.record.get("data", {}).get(row["behaviour"], {})
    return f" on {sizes['test']} test items in both option orders" if "test" in sizes else ""


NEEDS = {
    "summary.csv": (
        *("behaviour", "site", "positions", "strength", "scale", "effect", "effect_low", "effect_high", "p"),
        *("effect_p_holm", "added_p_holm", "subtracted_p_holm", "family"),
        *("unsteered", "collapsed"),
    ),
    "chosen.csv": ("behaviour", "vector", "excess", "valid"),
    "steering_curves.csv": ("behaviour", "vector", "strength", "matching_rate", "rate_low", "rate_high"),
}
QUESTION = Question(
    title="Individual steering: does each vector move its behaviour?",
    judged="Brackets are 95 % intervals over items. Random directions of the vector's norm go through the "
    "same protocol: each is chosen on validation beside all the others, and tested at its own point. A vector steers "
    "where its effect is above 0 and at most one direction in twenty, the vector included, goes further beyond the "
    "others; it raises or lowers where the matching rate differs from the unsteered one. Effects and rates are tested "
    "by sign flips of the items, after Holm's correction over all behaviours; p beside random directions is of each "
    "behaviour by itself. In brackets behind rates: random directions at the vector's point, 2.5th to 97.5th "
    "percentile.",
    needs=NEEDS,
    find=find,
)
