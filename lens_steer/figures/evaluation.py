"""The figure of one vector's evaluation: what it does, how alike items answer to it, and what it costs."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.figures.captions.evaluation import evaluation_caption
from lens_steer.figures.style import (
    COLLAPSED,
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    STEERED,
    STYLE,
    Figure,
    add_legend,
    control_bars,
    drawable,
)

COSTS = {"relative_top1": "retained top-1", "kl": "KL (nats a token)"}
LOOKS = {"neutral": "-", "related": (0, (3, 2))}


def evaluation_panels(
    curves: pd.DataFrame, items: pd.DataFrame, controls: pd.DataFrame, side_effects: pd.DataFrame
) -> Figure:
    """One vector in four panels: propensity over strength, the slopes of items, retained top-1 accuracy and KL.

    Args:
        curves: from `evaluate`: one row a strength.
        items: likewise: one row a test item.
        controls: likewise: one row a vector, with the strength at which it was asked.
        side_effects: likewise: one row a text, strength and measure; may have no rows.

    Returns:
        The figure; crosses are strengths at which answers are not valid.

    Raises:
        ScoreError: a frame lacks a column, or curves, items or controls have no rows.
    """
    drawable(curves, ("strength", "propensity", "propensity_low", "propensity_high", "valid", "scale", "n"))
    drawable(items, ("slope",))
    drawable(controls, ("vector", "effect", "strength"))
    if len(side_effects):
        drawable(side_effects, ("text", "strength", "measure", "value", "low", "high", "n"))
    with mpl.rc_context(STYLE):
        width = DOUBLE_COLUMN if len(side_effects) else DOUBLE_COLUMN / 2
        figure = Figure(figsize=(width, 2.3), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, 4 if len(side_effects) else 2))
        _curve(axes[0], curves.sort_values("strength"), controls)
        _slopes(axes[1], items["slope"].sort_values().to_numpy(dtype=float))
        for axis, (measure, label) in zip(axes[2:], COSTS.items(), strict=False):
            _cost(axis, side_effects[side_effects["measure"] == measure])
            axis.set_title(label)
        for axis in (axes[0], *axes[2:]):
            axis.set_xlabel(f"strength ({curves['scale'].iloc[0]})")
        add_legend(figure)
        figure.caption = evaluation_caption(curves, controls, side_effects)
        return figure


def _curve(axis: Axes, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """The mean propensity with its interval, beside what the controls do at the reference strength."""
    plain = float(rows.loc[rows["strength"] == 0, "propensity"].iloc[0])
    others = controls[controls["vector"] != "steering"]
    both = [
        others.assign(strength=sign * others["strength"], propensity=plain + sign * others["effect"])
        for sign in (1, -1)
    ]
    control_bars(axis, pd.concat(both), "propensity")
    ends = rows["propensity_low"], rows["propensity_high"]
    axis.fill_between(rows["strength"], *ends, color=STEERED, alpha=0.25, lw=0)
    axis.plot(rows["strength"], rows["propensity"], color=STEERED, marker="o", ms=2.5, lw=1.2, label="steering vector")
    fallen = rows[~rows["valid"] & rows["strength"].ne(0)]
    if len(fallen):
        look = {"color": COLLAPSED, "ms": 5, "ls": "", "label": "not valid", "zorder": 3}
        axis.plot(fallen["strength"], fallen["propensity"], "x", **look)
    axis.axhline(0, color="black", lw=0.4, ls=":")
    axis.set_title("propensity (nats)")


def _slopes(axis: Axes, slopes: np.ndarray) -> None:
    """The slope of every item in rising order; those below 0 are anti-steerable."""
    share = (np.arange(len(slopes)) + 0.5) / len(slopes)
    colours = np.where(slopes < 0, COLLAPSED, STEERED)
    axis.scatter(share, slopes, s=6, c=colours.tolist(), lw=0)
    axis.axhline(0, color="black", lw=0.6)
    axis.set(title="slope of items (nats / strength)", xlabel="share of items", xlim=(0, 1))


def _cost(axis: Axes, rows: pd.DataFrame) -> None:
    """One measure over strength, a line a text."""
    for colour, (text, own) in zip(INK[1:], rows.sort_values("strength").groupby("text", sort=False), strict=False):
        axis.fill_between(own["strength"], own["low"], own["high"], color=colour, alpha=0.25, lw=0)
        look = {"color": colour, "ls": LOOKS[str(text)], "marker": "o", "ms": 2, "lw": 1.0}
        axis.plot(own["strength"], own["value"], label=f"{text} text", **look)
    axis.axvline(0, color=CONTROL, lw=0.4)
