"""Figures of steered behaviours: matching rates, or effects in nats, over strengths and layers.

Curves are drawn with their interval, over the range of the random directions at each strength at which these were
measured; collapsed points are drawn as crosses, never left out.
"""

from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.steering import curves_caption, map_caption
from lens_steer.figures.style import (
    STEERED,
    STYLE,
    Figure,
    Rows,
    add_legend,
    control_bars,
    drawable,
    mark_collapse,
    of_one,
    outer_labels,
    panels,
    ticks,
    tidy,
    words,
)

TITLE = 30
"""Characters in one line of a panel's title."""
CURVES = ("behaviour", "vector", "site", "positions", "strength", "scale")
PLACE = ("site", "positions")
QUARTERS = (0, 0.25, 0.5, 0.75, 1)
CONFIGURATIONS = ("behaviour", "positions", "layer", "strength", "scale", "collapsed", "chosen")
BOUNDS = {"matching_rate": ("rate_low", "rate_high"), "logit_difference": ("low", "high")}
"""The measures that can be drawn, with the columns of their intervals; rates have an axis from 0 to 1."""
RATE = "matching_rate"
Measure = Literal["matching_rate", "logit_difference"]


def steering_curves(curves: Rows, measure: Measure = RATE) -> Figure:
    """Matching rate, or logit difference, over strength beside random directions, one panel per behaviour.

    Args:
        curves: a `SweepResult`, or columns `behaviour, vector, site, positions, strength, scale, matching_rate,
            rate_low, rate_high, collapsed`; rows with `vector` equal to `steering` give the line, all others the grey
            bars (their 2.5th to 97.5th percentile, at the strengths at which they were measured). A sweep has a panel
            for each site.
        measure: what is drawn; the logit difference, in nats, has its interval in `low, high`.

    Returns:
        The figure; crosses are collapsed points. A square at strength 0 marks one-sided unsteered answers, which are
        not counted as collapse.

    Raises:
        ScoreError: the frame is empty or lacks a column; a behaviour has no steering vector, or several sites or rules.
        MismatchError: results of different models.
    """
    swept, curves = not isinstance(curves, pd.DataFrame), tidy(curves, "figure_frame")
    if swept:
        curves = curves.assign(behaviour=curves["vector"] + ", " + curves["site"], vector="steering")
    bounds = BOUNDS[measure]
    of_one(drawable(curves, (*CURVES, measure, *bounds, "collapsed")), ("scale",), "steering curves")
    limits = {"ylim": (-0.03, 1.03), "yticks": QUARTERS} if measure == RATE else {}
    same = [column for column in PLACE if curves[column].nunique() == 1]
    with mpl.rc_context(STYLE):
        figure, axes = panels(curves["behaviour"].unique(), share_y=measure == RATE)
        for axis, (name, rows) in zip(axes, curves.groupby("behaviour", sort=False), strict=True):
            line = drawable(rows[rows["vector"] == "steering"].sort_values("strength"), CURVES)
            of_one(line, PLACE, f"a steering curve of {name}")
            control_bars(axis, rows[rows["vector"] != "steering"], measure)
            axis.fill_between(line["strength"], *(line[name] for name in bounds), color=STEERED, alpha=0.25, lw=0)
            look = {"color": STEERED, "lw": 1.2, "marker": "o", "ms": 2.5, "label": "steering vector"}
            axis.plot(line["strength"], line[measure], **look)
            mark_collapse(axis, line["strength"], line, measure)
            axis.axhline(0.5 if measure == RATE else 0, color="black", lw=0.4, ls=":", zorder=0)
            title = str(name) if "@" in str(name) else words(str(name))
            own = [column for column in PLACE if column not in same and not (column == "site" and "@" in title)]
            axis.set(title="\n".join([title, *_place(line, own)]), **limits)
        strength = f"strength ({curves['scale'].iloc[0]})"
        outer_labels(figure, ", ".join([strength, *_place(curves, same, whole=True)]), _label(measure))
        add_legend(figure)
        figure.caption = curves_caption(curves, words(measure))
        return figure


def layer_strength_map(configurations: Rows, measure: Measure = RATE) -> Figure:
    """Heat map of the matching rate, or logit difference, by layer and strength, one panel per behaviour.

    Args:
        configurations: a `SweepResult`, or columns `behaviour, positions, layer, strength, scale, matching_rate,
            collapsed, chosen`; for each behaviour only the chosen position rule is drawn.
        measure: what is drawn; the colours of the logit difference are centred on the mean of strength 0.

    Returns:
        The figure; a cross marks a collapsed configuration, a square the chosen one.

    Raises:
        ScoreError: the frame is empty or lacks a column, or a behaviour has no chosen configuration.
        MismatchError: results of different models.
    """
    swept, configurations = not isinstance(configurations, pd.DataFrame), tidy(configurations, "figure_frame")
    if swept:
        configurations = configurations.assign(behaviour=configurations["vector"], chosen=False)
    of_one(drawable(configurations, (*CONFIGURATIONS, measure)), ("scale",), "a map of strengths")
    unchosen = [name for name, rows in configurations.groupby("behaviour", sort=False) if not any(rows["chosen"])]
    if unchosen and not swept:
        raise ScoreError(f"no chosen point of {', '.join(map(str, unchosen))}; mark one of each behaviour's rows.")
    with mpl.rc_context(STYLE):
        figure, axes = panels(configurations["behaviour"].unique(), share_y=True)
        image, (low, high) = None, _range(configurations, measure)
        same = ["positions"] if configurations["positions"].nunique() == 1 else []
        for axis, (name, rows) in zip(axes, configurations.groupby("behaviour", sort=False), strict=True):
            rule = rows.sort_values("chosen")["positions"].iloc[-1]
            rows = pd.DataFrame(rows[rows["positions"] == rule])
            grid = rows.pivot(index="layer", columns="strength", values=measure)
            image = axis.imshow(grid, origin="lower", aspect="auto", cmap="RdBu_r", vmin=low, vmax=high)
            column, row = ({value: i for i, value in enumerate(labels)} for labels in (grid.columns, grid.index))
            fallen, chosen = (pd.DataFrame(rows[rows[name]]) for name in ("collapsed", "chosen"))
            axis.scatter(
                fallen["strength"].map(column), fallen["layer"].map(row), marker="x", s=8, lw=0.6, color="black"
            )
            place = {"marker": "s", "s": 60, "lw": 1.0, "facecolors": "none", "edgecolors": "black"}
            axis.scatter(chosen["strength"].map(column), chosen["layer"].map(row), **place)
            axis.set_xticks(*ticks(grid.columns, 5))
            axis.set_yticks(*ticks(grid.index, 8))
            axis.set(title="\n".join([words(str(name)), *(() if same else _place(rows, ["positions"]))]))
        strength = f"strength ({configurations['scale'].iloc[0]})"
        outer_labels(figure, ", ".join([strength, *_place(configurations, same, whole=True)]), "layer")
        if image is not None:
            bar = figure.colorbar(image, ax=axes, label=_label(measure), shrink=0.8, pad=0.01)
            if measure == RATE:
                bar.set_ticks(QUARTERS)
        figure.caption = map_caption(configurations, words(measure))
        return figure


def _place(rows: Any, columns: list[str], whole: bool = False) -> list[str]:
    """The site and the position rule of some rows, as far as asked, in lines of a title or whole."""
    said = [("positions " if column == "positions" else "") + str(rows[column].iloc[0]) for column in columns]
    return said if whole else [line for part in said for line in wrap(part, TITLE)]


def _label(measure: str) -> str:
    """A measure on an axis."""
    return words(measure) + ("" if measure == RATE else " (nats)")


def _range(configurations: Any, measure: str) -> tuple[float, float]:
    """The ends of the colours."""
    if measure == RATE:
        return 0.0, 1.0
    middle = float(configurations.loc[configurations["strength"] == 0, measure].mean())
    reach = float((configurations[measure] - middle).abs().max())
    return middle - reach, middle + reach
