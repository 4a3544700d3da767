"""Captions of the figures of reliability."""

import pandas as pd

from lens_steer.figures.captions.common import counted, names
from lens_steer.figures.style import Caption

ITEMS_95 = "95 % bootstrap over items"


def violins_caption(behaviours: pd.DataFrame) -> Caption:
    """Of `steerability_violins`."""
    return Caption(
        shown="Above: the slope of each test item's logit difference over strength, option orders averaged; dashes are "
        "means. Below: the share of items that are anti-steerable (slope below 0; flat items are not). "
        "Colours are verdicts.",
        n=f"{counted(len(behaviours), 'behaviour')} of {_sizes(behaviours['n'])} test items",
        interval="95 % (Agresti-Coull) of the shares; none above, where all items are drawn",
        control="the verdict compares with random directions and vectors of shuffled labels; dashed: half of the items",
        strength_scale=names(behaviours["scale"]),
    )


def shift_caption(shift: pd.DataFrame) -> Caption:
    """Of `in_and_out`."""
    return Caption(
        shown="Left: steerability of the baseline's vector in other prompt settings, against that of the vector made "
        "in the same setting. Right: steerability relative to the setting's own vector, against the gap of unsteered "
        "propensity, over all pairs of settings whose own vector steers. All vectors have the norm of the baseline's.",
        n=f"{counted(shift['behaviour'].nunique(), 'behaviour')} of {_sizes(shift['n'])} test items, five settings",
        interval=f"{ITEMS_95}, left, where one that reaches the edge goes on; none right",
        control="dashed: as steerable as by the setting's own vector; no random directions",
        strength_scale="slopes in nats a unit of strength",
    )


def explained_caption(behaviours: pd.DataFrame) -> Caption:
    """Of `explained_bars`."""
    return Caption(
        shown="The variance of slopes over questions that the letter of the matching option explains, that Yes or No "
        "explains beyond it, and the rest. Hatched: neither letters nor Yes and No are asked.",
        n=f"{counted(len(behaviours), 'behaviour')} of {_sizes(behaviours['n'])} test items",
        interval="none: shares of one regression each",
        control="none: where neither explains anything, all is unexplained",
        strength_scale=names(behaviours["scale"]),
    )


def _sizes(n: pd.Series) -> str:
    """`20`, or `16 to 20`."""
    return f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
