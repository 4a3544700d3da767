"""The verdict on one behaviour, by stated rules; the first that holds is given.

collapsed before effect   at the reference strength answers are not valid (`measure`)
shown                     the interval of the mean slope is above 0, and at most one vector in 20, itself included,
                          has as large an effect through the same choice of a place (p <= .05), among random
                          directions and, where they are given, among vectors of shuffled labels
biased                    shown: the mean slope is not above 0 in one half of the questions (the matching option is
                          first or second, says Yes or No)
unreliable                shown: more than one item in ten is anti-steerable (the interval of the share is above .1)
steerable                 shown, and neither
biased                    not shown: unsteered, one place or one of Yes and No is three times as likely (ln 3 nats)
unreliable                not shown, yet items are moved further than random directions move them (p <= .05), and more
                          than one in ten is anti-steerable; labels that a context flips are as good as shuffled ones
not steerable             all else
"""

import math
from collections.abc import Mapping
from typing import Any

from lens_steer.experiments.finding import LEVEL

STEERABLE, UNRELIABLE, BIASED = "steerable", "unreliable", "biased"
NOT_STEERABLE, COLLAPSED = "not steerable", "collapsed before effect"
RANDOM, SHUFFLED = "random directions", "vectors of shuffled labels"
"""The two kinds of controls."""
VERDICTS = (STEERABLE, UNRELIABLE, BIASED, NOT_STEERABLE, COLLAPSED)
ONE_SIDED = math.log(3)
"""Nats by which one place, or one text, is preferred whatever the question: three times as likely."""
ANTI = 0.1
"""The share of anti-steerable items beyond which a vector is unreliable."""
HALVES = (("first", "second"), ("second", "first"), ("yes", "no"), ("no", "yes"))
"""Halves of the questions, each with the other one."""


def verdict_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict on a behaviour and why.

    Args:
        row: of the table `behaviours`.

    Returns:
        One of `VERDICTS`, and the reason in words.
    """
    if not row["valid"]:
        return COLLAPSED, f"at strength {row['reference']:g}: {row['reason']}"
    unreliable = row["anti_low"] > ANTI
    anti = f"{100 * row['anti_share']:.0f} % [{100 * row['anti_low']:.0f}, {100 * row['anti_high']:.0f}] anti-steerable"
    if row["p"] <= LEVEL and row["steerability_low"] > 0:
        absent = [name for name, other in HALVES if _is_absent(row, name, other)]
        if absent:
            return BIASED, f"not shown where the matching option {_said(absent[0])}"
        return (UNRELIABLE if unreliable else STEERABLE), anti
    preferred = {"place": row["position_bias"], "text": row["yes_bias"]}
    one_sided = [name for name, bias in preferred.items() if abs(bias) >= ONE_SIDED]
    if one_sided:
        return BIASED, f"unsteered, one {one_sided[0]} is preferred by {abs(preferred[one_sided[0]]):.1f} nats"
    if row["spread_p"] <= LEVEL and unreliable:
        return UNRELIABLE, f"items are moved, {anti}"
    if row["p"] > LEVEL:
        return NOT_STEERABLE, f"not beyond {RANDOM if row['p_random'] > LEVEL else SHUFFLED}"
    return NOT_STEERABLE, "the interval of the slope holds 0"


def _is_absent(row: Mapping[str, Any], half: str, other: str) -> bool:
    """Whether an effect that the other half has is missing in one; never where there are no such halves (NaN)."""
    mean, low = row[f"steerability_{half}"], row[f"steerability_{half}_low"]
    return low <= 0 and mean < row[f"steerability_{other}"] / 2


def _said(half: str) -> str:
    """A half of the questions in words."""
    return {"first": "stands first", "second": "stands second", "yes": "says Yes", "no": "says No"}[half]
