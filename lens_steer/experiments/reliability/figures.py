"""Figures of reliability: slopes of items with anti-steerable shares, in against out of distribution, and what explains
the variance of slopes.
"""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lens_steer.experiments.reliability.captions import explained_caption, shift_caption, violins_caption
from lens_steer.experiments.reliability.prompts import BASELINE
from lens_steer.experiments.reliability.rules import BIASED, COLLAPSED, NOT_STEERABLE, STEERABLE, UNRELIABLE
from lens_steer.figures.style import CONTROL, DOUBLE_COLUMN, INK, STYLE, Figure, add_legend, drawable, words

COLOURS = {STEERABLE: INK[0], UNRELIABLE: INK[4], BIASED: INK[3], NOT_STEERABLE: CONTROL, COLLAPSED: INK[1]}
PARTS = (("explained_letter", "letter", INK[4]), ("explained_yes", "Yes or No", INK[3]))
MARKS = ("s", "D", "o", "^")
DASHED = (0, (4, 3))


def steerability_violins(behaviours: pd.DataFrame, items: pd.DataFrame) -> Figure:
    """The slopes of all items of each behaviour, above the share of them that is anti-steerable.

    Args:
        behaviours: from `reliability`, one row a behaviour.
        items: from `reliability`, one row a test item.

    Returns:
        The figure; behaviours from the largest mean slope to the smallest.

    Raises:
        ScoreError: a frame is empty or lacks a column.
    """
    drawable(behaviours, ("behaviour", "steerability", "anti_share", "anti_low", "anti_high", "verdict", "scale", "n"))
    drawable(items, ("behaviour", "slope"))
    ordered = behaviours.sort_values("steerability", ascending=False, kind="stable")
    names, places = list(ordered["behaviour"]), np.arange(len(ordered))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        slopes = [items.loc[items["behaviour"] == name, "slope"].to_numpy(dtype=float) for name in names]
        for place, values, verdict in zip(places, slopes, ordered["verdict"], strict=True):
            _violin(above, int(place), values, COLOURS[verdict])
        above.axhline(0, color="black", lw=0.6)
        above.set_ylabel("slope of an item\n(nats / strength)")
        share = ordered["anti_share"].to_numpy(dtype=float)
        errors = np.abs(ordered[["anti_low", "anti_high"]].to_numpy(dtype=float).T - share)
        below.bar(places, share, color=[COLOURS[verdict] for verdict in ordered["verdict"]], width=0.6)
        below.errorbar(places, share, errors, fmt="none", ecolor="black", lw=0.8, capsize=2)
        below.axhline(0.5, color="black", lw=0.6, ls=DASHED)
        below.set_ylim(0, 1)
        below.set_ylabel("anti-steerable\nshare")
        below.set_xticks(places, [words(name) for name in names], rotation=30, ha="right")
        shown = [verdict for verdict in COLOURS if (ordered["verdict"] == verdict).any()]
        handles = [Patch(color=COLOURS[verdict], label=verdict) for verdict in shown]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
        figure.caption = violins_caption(behaviours)
        return figure


def in_and_out(shift: pd.DataFrame) -> Figure:
    """Steerability in against out of distribution, and relative steerability against the gap of propensity.

    Args:
        shift: from `reliability`, one row a behaviour and pair of prompt settings.

    Returns:
        The figure, one point a behaviour and setting on the left, a pair of settings on the right.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    columns = (
        "trained",
        "asked",
        "steerability",
        "steerability_low",
        "steerability_high",
        "relative",
        "propensity_gap",
    )
    drawable(shift, ("behaviour", "n", *columns))
    own = shift[shift["trained"] == shift["asked"]].set_index(["behaviour", "asked"])
    away = shift[shift["trained"] != shift["asked"]].copy()
    keys = pd.MultiIndex.from_frame(away[["behaviour", "asked"]])
    for column in ("steerability", "steerability_low", "steerability_high"):
        away[f"own_{column}"] = own.loc[keys, column].to_numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        based = away[away["trained"] == BASELINE]
        for mark, colour, (asked, rows) in zip(MARKS, INK, based.groupby("asked", sort=False), strict=False):
            _points(left, rows, mark, colour, str(asked))
        _diagonal(left, based[["own_steerability", "steerability"]].to_numpy(dtype=float))
        left.set_xlabel("steerability by the setting's own vector")
        left.set_ylabel("by the baseline's vector")
        steered = away[away["own_steerability_low"] > 0]
        right.scatter(steered["propensity_gap"], steered["relative"], s=9, color=INK[0], alpha=0.6, lw=0)
        for level in (0, 1):
            right.axhline(level, color="black", lw=0.6, ls=DASHED if level else "-")
        right.set_xlabel("gap of unsteered propensity (nats)")
        right.set_ylabel("relative steerability")
        if steered.empty:
            right.text(0.5, 0.6, "no setting's own vector steers", ha="center", transform=right.transAxes)
        add_legend(figure)
        figure.caption = shift_caption(shift)
        return figure


def explained_bars(behaviours: pd.DataFrame) -> Figure:
    """The variance of slopes that the letter, and Yes or No, explain.

    Args:
        behaviours: from `reliability`, one row a behaviour.

    Returns:
        The figure: one stacked bar a behaviour.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    drawable(behaviours, ("behaviour", "n", "scale", "unexplained", *(column for column, _, _ in PARTS)))
    places = np.arange(len(behaviours))[::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 0.26 * len(behaviours) + 0.9), layout="constrained")
        axis, left = figure.subplots(), np.zeros(len(behaviours))
        for column, label, colour in PARTS:
            width = behaviours[column].fillna(0).to_numpy(dtype=float)
            axis.barh(places, width, left=left, color=colour, label=label, height=0.7)
            left += width
        rest = 1 - left
        lacking = behaviours[[column for column, _, _ in PARTS]].isna().all(axis=1).to_numpy()
        bars = axis.barh(places, rest, left=left, color="#DDDDDD", label="neither", height=0.7)
        for bar, lacks in zip(bars, lacking, strict=True):
            bar.set_hatch("////" if lacks else "")
            bar.set_edgecolor("white")
        axis.set_yticks(places, [words(name) for name in behaviours["behaviour"]])
        axis.set_xlim(0, 1)
        axis.set_xlabel("share of the variance of slopes")
        add_legend(figure)
        figure.caption = explained_caption(behaviours)
        return figure


def _violin(axis: Axes, place: int, values: np.ndarray, colour: str) -> None:
    """The distribution of slopes of one behaviour, each item a dot, and a dash at the mean."""
    if len(values) > 2 and np.ptp(values) > 0:
        for body in axis.violinplot([values], [place], widths=0.8, showextrema=False)["bodies"]:  # type: ignore[union-attr]
            body.set_facecolor(colour)
            body.set_alpha(0.35)
    aside = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
    axis.scatter(place + aside, values, s=4, color=colour, lw=0)
    axis.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color="black", lw=1.2)


def _points(axis: Axes, rows: pd.DataFrame, mark: str, colour: str, label: str) -> None:
    """Points with the intervals of both sides."""
    x, y = rows["own_steerability"].to_numpy(dtype=float), rows["steerability"].to_numpy(dtype=float)
    across = np.abs(rows[["own_steerability_low", "own_steerability_high"]].to_numpy(dtype=float).T - x)
    along = np.abs(rows[["steerability_low", "steerability_high"]].to_numpy(dtype=float).T - y)
    axis.errorbar(x, y, along, across, fmt=mark, color=colour, ms=3.5, lw=0.5, label=label)


def _diagonal(axis: Axes, points: np.ndarray) -> None:
    """Where both sides are equal, on axes of one range: twice that of the points, where intervals go further."""
    beyond = max(float(np.ptp(points)), 2 * float(np.abs(points).max())) / 2
    low = max(min(axis.get_xlim()[0], axis.get_ylim()[0], 0), float(points.min()) - beyond)
    high = min(max(axis.get_xlim()[1], axis.get_ylim()[1], 0), float(points.max()) + beyond)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.plot([low, high], [low, high], color="black", lw=0.6, ls=DASHED)
    axis.axhline(0, color="black", lw=0.4)
    axis.axvline(0, color="black", lw=0.4)
