"""The figure of steered text: what the judge says, what collapses, and what neutral text loses, over strength."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.experiments.steered_text.experiment import TEST
from lens_steer.figures.captions.common import of_model, sample, scale
from lens_steer.figures.style import (
    COLLAPSED,
    DOUBLE_COLUMN,
    STEERED,
    STYLE,
    Caption,
    Figure,
    add_legend,
    control_bars,
    drawable,
    of_one,
)
from lens_steer.metrics.collapse.generation import COLLAPSED_LIMIT

PANELS = {
    "score": ("judged score (nats)", "low", "high"),
    "collapsed_share": ("collapsed share", "", ""),
    "relative_top1": ("retained top-1", "relative_top1_low", "relative_top1_high"),
    "kl": ("KL (nats a token)", "kl_low", "kl_high"),
}
OTHERS = "#E69F00"


def text_curves(strengths: pd.DataFrame) -> Figure:
    """Generated text over strength: the judge's score, the share that collapses, and the price on neutral text.

    Args:
        strengths: from `steer_text`; the rows of the test prompts are drawn.

    Returns:
        The figure: the vector with its interval, the 2.5th to 97.5th percentile of the random directions as grey bars,
        other controls as thin lines; crosses are strengths at which the continuations collapse.

    Raises:
        ScoreError: the frame is empty, lacks a column, or has several sites or no test rows.
    """
    bounds = [end for _, *ends in PANELS.values() for end in ends if end]
    drawable(strengths, ("vector", "site", "strength", "scale", "split", "collapsed", *PANELS, *bounds))
    rows = drawable(strengths[strengths["split"] == TEST].sort_values("strength"), ("n",))
    of_one(rows, ("site", "scale"), "curves of text")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.3), layout="constrained")
        for axis, (name, (label, low, high)) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            _panel(axis, rows, name, (low, high))
            axis.set_title(label)
        figure.axes[0].axhline(0, color="black", lw=0.4, ls=":")
        figure.axes[1].axhline(COLLAPSED_LIMIT, color="black", lw=0.6, ls=(0, (4, 3)), label="limit of the rule")
        figure.axes[1].set_ylim(-0.03, 1.03)
        figure.supxlabel(f"strength ({rows['scale'].iloc[0]})", fontsize=8)
        add_legend(figure)
        figure.caption = _caption(rows)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame, name: str, bounds: tuple[str, str]) -> None:
    """One measure over strength."""
    line, controls = (rows[(rows["vector"] == STEERING) == own] for own in (True, False))
    random = controls["vector"].str.startswith("random ")
    control_bars(axis, controls[random], name)
    for number, (_, other) in enumerate(controls[~random].groupby("vector", sort=False)):
        axis.plot(other["strength"], other[name], color=OTHERS, lw=0.7, label="" if number else "shuffled labels")
    if bounds[0] in line.columns:
        axis.fill_between(line["strength"], line[bounds[0]], line[bounds[1]], color=STEERED, alpha=0.25, lw=0)
    axis.plot(line["strength"], line[name], color=STEERED, marker="o", ms=2.5, lw=1.2, label="steering vector")
    fallen = line[line["collapsed"]]
    if len(fallen):
        axis.plot(fallen["strength"], fallen[name], "x", color=COLLAPSED, ms=5, ls="", label="collapsed", zorder=3)


def _caption(rows: pd.DataFrame) -> Caption:
    """Of `text_curves`."""
    controls = rows[rows["vector"] != STEERING]["vector"].drop_duplicates()
    random = int(controls.str.startswith("random ").sum())
    others = f"; thin lines: {len(controls) - random} vectors of shuffled labels" if len(controls) > random else ""
    return Caption(
        shown=f"Generated text{of_model(rows)} steered at {rows['site'].iloc[0]}, on test prompts: the judge's score, "
        "the share of continuations that collapse, and on neutral texts the retained top-1 accuracy and the KL from "
        "the unsteered model; crosses are collapsed strengths.",
        n=sample(rows, "prompt"),
        interval="95 % over prompts, on the right over neutral texts",
        control=f"{random} random directions of the same norm, 2.5th to 97.5th percentile{others}",
        strength_scale=scale(rows),
        side_effects="the two panels on the right",
    )
