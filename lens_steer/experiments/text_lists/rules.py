"""The verdict on two lists of texts, by stated rules; the first that holds is given.

not steerable             the choice on validation texts is not to steer
not steerable             at least one in 20 vectors of shuffled labels, or of random directions, the true one included,
                          has as large an effect on test texts through the same choice (p > .05)
not steerable             the interval of the effect does not lie above 0
collapsed before effect   continuations collapse at the chosen strength, of either sign, and not unsteered
steerable                 all else
"""

from collections.abc import Mapping
from typing import Any

from lens_steer.experiments.finding import LEVEL
from lens_steer.experiments.reliability.rules import COLLAPSED, NOT_STEERABLE, STEERABLE

CONTROLS = {"p_shuffled": "vectors of shuffled labels", "p_random": "random directions"}


def verdict_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict and why.

    Args:
        row: of the table `summary`.

    Returns:
        One of the verdicts of `reliability.rules`, and the reason in words.
    """
    if not row["strength"]:
        small = "already the smallest strength has too large side effects"
        return NOT_STEERABLE, small if row["slope"] > 0 else "on validation texts adding helps at no site"
    for p, controls in CONTROLS.items():
        if row[p] > LEVEL:
            return NOT_STEERABLE, f"not beyond {controls}"
    if not row["effect_low"] > 0:
        return NOT_STEERABLE, "the interval of the effect is not above 0"
    if row["collapsed"]:
        return COLLAPSED, f"at strength {row['strength']:g}: {row['collapsed']}"
    return STEERABLE, f"beyond {' and '.join(CONTROLS.values())}"
