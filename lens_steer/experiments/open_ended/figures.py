"""Figures of the open-ended evaluation, one panel a behaviour: likelihoods in order, Pos and Neg, judged turns."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.experiments.open_ended.experiment import STEERING
from lens_steer.experiments.open_ended.texts import UNSTEERED
from lens_steer.figures.captions.common import counted, directions, of_model, sample, steered
from lens_steer.figures.style import (
    BOTTOM,
    CONTROL,
    STYLE,
    TOP,
    Caption,
    Figure,
    add_legend,
    drawable,
    interval_points,
    outer_labels,
    panels,
    words,
)

GROUPS = {"matching": ("matching", TOP), "other": ("other", BOTTOM)}
CHANGES = {"promoted": ("Pos", TOP, "o", -1), "suppressed": ("Neg", BOTTOM, "s", 1)}
WAYS = {"added": (TOP, "o"), "subtracted": (BOTTOM, "s")}
RANGE = "random directions"


def sorted_likelihoods(likelihoods: pd.DataFrame) -> Figure:
    """The likelihood of every continuation unsteered and steered, in the order of the unsteered ones.

    Args:
        likelihoods: from `open_ended`, one row a behaviour, vector, direction and prompt.

    Returns:
        The figure: of each group a thin line unsteered, points steered (the vector added).

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    columns = [f"{group}_{state}" for group in GROUPS for state in ("unsteered", "steered")]
    rows = drawable(likelihoods, ("behaviour", "vector", "direction", *columns))
    rows = drawable(rows[(rows["vector"] == STEERING) & (rows["direction"] == "added")], columns)
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["behaviour"].unique(), share_y=True)
        for axis, (name, own) in zip(axes, rows.groupby("behaviour", sort=False), strict=True):
            for group, (label, colour) in GROUPS.items():
                ordered = own.sort_values(f"{group}_unsteered")
                share = np.linspace(0, 100, len(ordered))
                axis.plot(share, ordered[f"{group}_unsteered"], color=colour, lw=1.2, label=f"{label}, unsteered")
                steering = ordered[f"{group}_steered"]
                axis.plot(share, steering, "o", color=colour, ms=2.5, mfc="none", mew=0.8, label=f"{label}, steered")
            axis.set_title(words(str(name)))
        outer_labels(figure, "prompts, least likely continuation first (%)", "log-likelihood (nats)")
        add_legend(figure)
        n = rows.groupby("behaviour").size()
        figure.caption = Caption(
            shown=f"Log-likelihood of the matching and the other continuation of open-ended prompts{of_model(rows)}, "
            "unsteered and with the vector added; every group in its own unsteered order.",
            n=counted(int(n.iloc[0]), "test prompt") if n.nunique() == 1 else f"{n.min()} to {n.max()} test prompts",
            interval="none: every prompt is drawn",
            control="the unsteered model; random directions are in the table and not drawn",
            strength_scale="as in the table of points",
        )
        return figure


def change_bars(changes: pd.DataFrame) -> Figure:
    """Pos and Neg of the added vector at each share of prompts, beside those of random directions.

    Args:
        changes: from `open_ended`, one row a behaviour, vector, direction and share.

    Returns:
        The figure: points with intervals over prompts; grey bars span the random directions.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(
        changes,
        ("behaviour", "vector", "direction", "share", "normalisation", *_ends("promoted"), *_ends("suppressed"), "n"),
    )
    rows = drawable(rows[rows["direction"] == "added"], ())
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["behaviour"].unique(), share_y=True)
        for axis, (name, own) in zip(axes, rows.groupby("behaviour", sort=False), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for column, (label, colour, marker, side) in CHANGES.items():
                _range(axis, own, "share", column, 100, 3.5 * side)
                steering = own[own["vector"] == STEERING]
                interval_points(axis, steering, 100 * steering["share"] + 3.5 * side, column, colour, marker, label)
            axis.set_xticks([25, 50, 75])
            axis.set_title(words(str(name)))
        unit = "log-likelihood (nats)" if (rows["normalisation"] == "subtract").all() else "normalised log-likelihood"
        outer_labels(figure, "share of prompts, hardest first (%)", f"change of {unit}")
        add_legend(figure)
        figure.caption = Caption(
            shown=f"Promotion of matching continuations (Pos) and suppression of other ones (Neg){of_model(rows)} with "
            f"the vector added, normalised by {', '.join(rows['normalisation'].unique())} (Pres et al. 2024).",
            n=sample(rows, "test prompt"),
            interval="95 % percentile bootstrap over prompts, normaliser and selection found anew in each resample",
            control=steered(rows, "each at its own best validation point (bars: least to most)"),
            strength_scale="as in the table of points",
        )
        return figure


def judged_turns(judged: pd.DataFrame) -> Figure:
    """The change of the first judge's score by steering, over the turns of a conversation.

    Args:
        judged: from `open_ended`, one row a behaviour, judge, vector, direction and turn.

    Returns:
        The figure: points with intervals over conversations, for the vector added and subtracted; grey bars for random
        directions.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(judged, ("behaviour", "judge", "vector", "direction", "turn", *_ends("difference"), "n"))
    judge = rows["judge"].iloc[0]
    rows = drawable(rows[(rows["judge"] == judge) & (rows["vector"] != UNSTEERED)], ())
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["behaviour"].unique(), share_y=True)
        for axis, (name, own) in zip(axes, rows.groupby("behaviour", sort=False), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for place, (direction, (colour, marker)) in zip((-0.08, 0.08), WAYS.items(), strict=True):
                here = own[own["direction"] == direction]
                _range(axis, here, "turn", "difference", 1, place)
                steering = here[here["vector"] == STEERING]
                interval_points(
                    axis, steering, steering["turn"] + place, "difference", colour, marker, f"vector {direction}"
                )
            axis.set_xticks(sorted(own["turn"].unique()))
            axis.margins(x=0.25)
            axis.set_title(words(str(name)))
        outer_labels(figure, "turn of the conversation", "change of score (0 to 2)")
        add_legend(figure)
        random = rows.loc[rows["vector"] != STEERING, "vector"].nunique()
        figure.caption = Caption(
            shown=f"Change of the score that judge {judge} gives to generated text{of_model(rows)}, steered minus "
            "unsteered, by turn of a conversation in which steering stays on.",
            n=sample(rows, "conversation"),
            interval="95 % percentile bootstrap over conversations, paired with the unsteered ones",
            control=directions(random, "each at its own best validation point (bars: least to most)"),
            strength_scale="as in the table of points",
        )
        return figure


def _ends(name: str) -> tuple[str, str, str]:
    """The columns of a number and its interval."""
    return name, f"{name}_low", f"{name}_high"


def _range(axis: Axes, rows: Any, over: str, column: str, times: float | int, side: float | int) -> None:
    """The least to the most of random directions, as bars beside the middle."""
    others = rows[rows["vector"] != STEERING].groupby(over)[column].agg(["min", "max"])
    axis.vlines(times * others.index + side, others["min"], others["max"], color=CONTROL, lw=5, alpha=0.5, label=RANGE)
