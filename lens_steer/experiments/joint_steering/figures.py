"""Figures of several behaviours at once: simultaneous curve, schemes at equal side effects, interference, detection.

All take the tables of `JointResult`, test rows. Bars and points have 95 % intervals over items; what has collapsed is
drawn with a cross, never left out.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lens_steer.errors import ScoreError
from lens_steer.experiments.joint_steering.captions import (
    combined_caption,
    detection_caption,
    individual_caption,
    interference_caption,
    schemes_caption,
    simultaneous_caption,
    trade_off_caption,
)
from lens_steer.figures.style import (
    COLLAPSED,
    CONTROL,
    SINGLE_COLUMN,
    STYLE,
    Figure,
    add_legend,
    drawable,
    mark_collapse,
    number_size,
    of_one,
    outer_labels,
    panels,
    words,
)

PLACE = ("behaviour", "scheme", "steered", "direction", "point", "strength", "split", "scale", "collapsed")
"""The columns that identify a configuration of `JointResult`."""
RATES = (*PLACE, "matching_rate", "matching_rate_low", "matching_rate_high")
ADD, SUBTRACT = "#0072B2", "#E69F00"
AS_PUBLISHED = ("mean", "mean weighted", "sum", "sum weighted")
CORRECTED = ("sum", "sum weighted", "orthogonalised", "gram")
ALONE = "own vector alone"
MARKERS = {
    ALONE: "*",
    "mean": "o",
    "mean weighted": "s",
    "sum": "^",
    "sum weighted": "D",
    "orthogonalised": "v",
    "gram": "P",
}
COLOURS, DONE = {"add": ADD, "subtract": SUBTRACT}, {"add": "added", "subtract": "subtracted"}
AT = ("scheme", "steered", "direction", "point", "strength")
TAX = (*AT, "relative_top1", "relative_top1_low", "relative_top1_high")
MOVED = (*AT, "objective", "objective_low", "objective_high", "kl", "newly_collapsed")
PAIRS = ("where", "steered", "read", "predicted", "measured", "measured_low", "measured_high")
PAIRS += ("random_low", "random_high")
AGREEMENT = ("where", "statistic", "value", "low", "high", "without_geometry", "p")
RATIOS = (*PLACE, "hit_rate", "false_alarm_rate")
ONE_OR_SEVERAL = {"sum": ("at one site", "#0072B2", "o"), "simultaneous": ("at a site each", "#D55E00", "s")}
SHADES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")


def individual_bars(configurations: pd.DataFrame, point: str = "best") -> Figure:
    """Matching rate of each behaviour unsteered, and steered by its own vector alone.

    Args:
        configurations: of `JointResult`.
        point: `best` or `equal` (side effects).

    Returns:
        The figure: three points a behaviour, with bars for their intervals; a behaviour without such a point has none.

    Raises:
        ScoreError: the frame is empty, lacks a column or an unsteered row of a behaviour, or has several scales.
        MismatchError: results of different models.
    """
    of_one(drawable(configurations, RATES), ("scale",), "bars of behaviours")
    test, names = _test_rows(configurations), _behaviours_of(configurations)
    shown = [("unsteered", _unsteered_rows(test).loc[names], CONTROL)]
    shown += [(DONE[way], _own_rows(test, way, point), colour) for way, colour in COLOURS.items()]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 2.1), layout="constrained")
        axis = figure.subplots()
        for place, (label, rows, colour) in enumerate(shown):
            _rates(axis, rows, np.arange(len(names)) + 0.2 * (place - 1), colour, "o", label)
        _behaviour_axis(axis, names)
        add_legend(figure)
        figure.caption = individual_caption(test, point)
        return figure


def combined_bars(configurations: pd.DataFrame) -> Figure:
    """Matching rate of each behaviour under the combined schemes: as published, and at equal side effects.

    Args:
        configurations: of `JointResult`.

    Returns:
        The figure: a point with the bar of its interval for each scheme, beside each behaviour's own vector alone (at
        its best point above, at equal side effects below); adding in blue, subtracting in orange; grey lines are
        unsteered. A scheme without such a point is not drawn.

    Raises:
        ScoreError: the frame is empty, lacks a column or an unsteered row of a behaviour, or has several scales.
        MismatchError: results of different models.
    """
    of_one(drawable(configurations, RATES), ("scale",), "bars of behaviours")
    test, names = _test_rows(configurations), _behaviours_of(configurations)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 4.4), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True, sharey=True)
        halves = (
            ("as_published", "best", AS_PUBLISHED, "as published: strength 1"),
            ("equal", "equal", CORRECTED, "equal side effects"),
        )
        for axis, (point, alone, known, title) in zip(axes, halves, strict=True):
            schemes = [scheme for scheme in known if scheme in set(test["scheme"])]
            places = np.arange(len(names))
            unsteered = _unsteered_rows(test).loc[names, "matching_rate"]
            axis.hlines(unsteered, places - 0.42, places + 0.42, color="0.5", lw=0.9, zorder=0, label="unsteered")
            for way, colour in COLOURS.items():
                axis.plot([], [], color=colour, lw=1.5, label=DONE[way])
            for place, scheme in enumerate((ALONE, *schemes)):
                axis.plot([], [], MARKERS[scheme], color="0.4", ms=3.5, label=scheme)
                for (way, colour), shift in zip(COLOURS.items(), (-0.025, 0.025), strict=True):
                    rows = _own_rows(test, way, alone)
                    if scheme != ALONE:
                        rows = test[test["scheme"].eq(scheme) & test["direction"].eq(way) & test["point"].eq(point)]
                        rows = rows.set_index("behaviour").reindex(names)
                    x = places + shift + 0.16 * (place - len(schemes) / 2)
                    _rates(axis, rows, x, colour, MARKERS[scheme], "")
            _behaviour_axis(axis, names)
            axis.set_title(title)
        add_legend(figure)
        figure.caption = combined_caption(test)
        return figure


def simultaneous_curve(configurations: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """Matching rates over the global strength of simultaneous steering, a panel each, and the alignment tax.

    Args:
        configurations: of `JointResult`.
        points: of `JointResult`.

    Returns:
        The figure: each behaviour with its interval; in the last panel the relative top-1 on neutral text with its own.

    Raises:
        ScoreError: a frame is empty or lacks a column, or has no simultaneous curve on test; several scales.
        MismatchError: results of different models.
    """
    test = _test_rows(of_one(drawable(configurations, RATES), ("scale",), "a simultaneous curve"))
    curve = drawable(test[test["scheme"].eq("simultaneous") & test["point"].eq("grid")], RATES)
    points = drawable(points, TAX)
    tax = _signed(drawable(points[points["scheme"].eq("simultaneous") & points["point"].eq("grid")], TAX))
    names = _behaviours_of(curve)
    with mpl.rc_context(STYLE):
        figure, axes = panels((*names, TAX), height=0.85, share_y=True, per_row=2)
        for axis, name in zip(axes, names, strict=False):
            rows = _signed(pd.DataFrame(curve[curve["behaviour"] == name]))
            _line(axis, rows, "matching_rate", ADD)
            mark_collapse(axis, rows["signed"], rows)
            axis.axhline(0.5, color="black", lw=0.4, ls=":", zorder=0)
            axis.set_title(words(str(name)))
        _line(axes[-1], tax, "relative_top1", "black")
        axes[-1].set_title("top-1 retained on text")
        for axis in axes:
            axis.axvline(0, color="black", lw=0.4, ls=":", zorder=0)
            _symmetric_ticks(axis, np.unique(tax["strength"][tax["strength"] > 0]))
        axes[0].set(ylim=(-0.06, max(1.06, 0.03 + float(tax["relative_top1_high"].max()))), yticks=(0, 0.5, 1))
        x = f"global strength ({configurations['scale'].iloc[0]})"
        outer_labels(figure, x, "matching rate (last panel: share retained)")
        add_legend(figure)
        figure.caption = simultaneous_caption(curve, tax)
        return figure


def scheme_intervals(points: pd.DataFrame, point: str = "equal") -> Figure:
    """How far each scheme moves all behaviours, at equal side effects or at its best point.

    Args:
        points: of `JointResult`.
        point: `equal` or `best`.

    Returns:
        The figure: the objective with its interval, adding and subtracting; a cross where answers have newly collapsed.

    Raises:
        ScoreError: the frame is empty or lacks a column, or no scheme has such a point.
        MismatchError: results of different models.
    """
    points = drawable(points, MOVED)
    shown = points[points["point"].eq(point) & points["steered"].isin(("all", "each"))]
    if shown.empty:
        raise ScoreError(
            f"no scheme has a {point!r} point; those that are there: {', '.join(points['point'].unique())}."
        )
    order = [name for name in dict.fromkeys(["individual", *points["scheme"]]) if name in set(shown["scheme"])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 0.24 * len(order) + 0.85), layout="constrained")
        axis = figure.subplots()
        for (direction, colour), shift in zip(COLOURS.items(), (-0.14, 0.14), strict=True):
            rows = shown[shown["direction"] == direction].set_index("scheme").reindex(order)
            y, value = np.arange(len(order)) + shift, rows["objective"].to_numpy()
            ends = np.abs(rows[["objective_low", "objective_high"]].to_numpy().T - value)
            axis.errorbar(value, y, xerr=ends, fmt="o", color=colour, ms=3, elinewidth=1, label=DONE[direction])
            fallen = rows["newly_collapsed"].eq(True).to_numpy()
            if fallen.any():
                axis.plot(value[fallen], y[fallen], "x", color=COLLAPSED, ms=7, zorder=4, label="newly collapsed")
        labels = ["individual (one at a time)" if name == "individual" else name for name in order]
        axis.set_yticks(range(len(order)), labels)
        axis.axvline(0, color="black", lw=0.5, zorder=0)
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.set(ylim=(len(order) - 0.5, -0.5))
        figure.supxlabel("mean change towards the targets (nats)", fontsize=8)
        add_legend(figure)
        figure.caption = schemes_caption(shown, point)
        return figure


def trade_off(points: pd.DataFrame) -> Figure:
    """How far all behaviours move over what it costs: vectors at one site, and at a site each.

    Args:
        points: of `JointResult`.

    Returns:
        The figure: the objective over the KL on neutral text along both curves, adding and subtracting, with
        intervals of both; a cross where answers have newly collapsed.

    Raises:
        ScoreError: the frame is empty or lacks a column, or a curve is not there.
        MismatchError: results of different models.
    """
    points = drawable(points, (*MOVED, "kl_low", "kl_high"))
    grid = drawable(pd.DataFrame(points[points["point"].eq("grid") & points["scheme"].isin(ONE_OR_SEVERAL)]), MOVED)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 2.5), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for axis, (direction, title) in zip(axes, (("add", "added"), ("subtract", "subtracted")), strict=True):
            for scheme, (label, colour, marker) in ONE_OR_SEVERAL.items():
                here = grid["direction"].eq(direction) & grid["scheme"].eq(scheme)
                rows = pd.DataFrame(grid[here]).sort_values("strength")
                values = rows[["kl", "objective"]].to_numpy(dtype=float).T
                reach = [
                    np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy(dtype=float).T - value)
                    for name, value in zip(("kl", "objective"), values, strict=True)
                ]
                look = {"color": colour, "lw": 1, "elinewidth": 0.6, "ms": 3}
                axis.errorbar(*values, xerr=reach[0], yerr=reach[1], marker=marker, label=label, **look)
                fallen = rows["newly_collapsed"].to_numpy(dtype=bool)
                if fallen.any():
                    axis.plot(*values[:, fallen], "x", color=COLLAPSED, ms=7, zorder=4, label="newly collapsed")
            axis.axhline(0, color="black", lw=0.4, ls="--", zorder=0)
            _decades(axis, grid["kl"][grid["kl"] > 0])
            axis.set_title(title)
        axes[0].set_ylabel("mean change towards\nthe targets (nats)")
        figure.supxlabel("KL on neutral text (nats a token)", fontsize=8)
        add_legend(figure)
        figure.caption = trade_off_caption(grid)
        return figure


def interference_matrices(pairs: pd.DataFrame, agreement: pd.DataFrame, where: str = "combined") -> Figure:
    """The effect of steering each behaviour on every other one: predicted from geometry, and measured.

    Args:
        pairs: `interference` of `JointResult`.
        agreement: of `JointResult`; without rows where there are two behaviours only.
        where: `combined` (one site) or `simultaneous` (a site each).

    Returns:
        The figure: nats in every field, on one scale, the diagonal framed; measured fields with a dot are within their
        random band or have an interval that holds 0. Below, measured against predicted, with intervals.

    Raises:
        ScoreError: a frame is empty or lacks a column, or has no such pairs.
        MismatchError: results of different models.
    """
    rows = drawable(pairs, PAIRS)[lambda frame: frame["where"] == where]
    agreement = drawable(agreement, AGREEMENT) if len(agreement) else agreement
    if rows.empty:
        raise ScoreError(f"no pairs of {where!r}; those that are there: {', '.join(pairs['where'].unique())}.")
    names = list(rows["steered"].unique())
    most = float(rows[["predicted", "measured"]].abs().max().max()) or 1.0
    size = number_size(0.9 / 2 * SINGLE_COLUMN, len(names))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 4.2), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(2.2, 2))
        upper, lower = halves
        axes: Any = upper.subplots(1, 2, sharey=True)
        image: Any = None
        for axis, column in zip(axes, ("predicted", "measured"), strict=True):
            grid = rows.pivot(index="steered", columns="read", values=column).loc[names, names]
            image = axis.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most)
            labels = [words(str(name)) for name in names]
            axis.set_xticks(range(len(names)), labels, rotation=90, fontsize=6)
            axis.set_yticks(range(len(names)), labels, fontsize=6)
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
            axis.set(title=column)
            for _, row in rows.iterrows():
                value, (x, y) = float(row[column]), (names.index(row["read"]), names.index(row["steered"]))
                look = {"color": "white" if abs(value) > 0.6 * most else "black"}
                number = f"{value:.1f}".replace("-0.0", "0.0")
                axis.text(x, y, number, ha="center", va="center", fontsize=size, **look) if size else None
                if column == "measured" and _unsure(row):
                    axis.plot(x + 0.33, y - 0.33, ".", ms=4, mew=0, **look)
            for place in range(len(names)):
                axis.add_patch(Rectangle((place - 0.47, place - 0.47), 0.94, 0.94, fill=False, ec="black", lw=1))
        axes[0].set_ylabel("steered")
        upper.supxlabel("read", fontsize=8)
        upper.colorbar(image, ax=axes, label="nats", shrink=0.5, pad=0.02)
        found = pd.DataFrame(agreement[agreement["where"].eq(where)])
        _predicted_against_measured(lower.subplots(), rows, found)
        figure.caption = interference_caption(rows, found)
        return figure


def _predicted_against_measured(axis: Axes, rows: pd.DataFrame, agreement: pd.DataFrame) -> None:
    """Each ordered pair as a point with its interval; a behaviour's own effect, which was given, as a square."""
    own = rows["steered"] == rows["read"]
    for which, marker, face, label in ((~own, "o", ADD, "another behaviour"), (own, "s", "white", "its own (given)")):
        x, y = rows.loc[which, "predicted"], rows.loc[which, "measured"]
        reach = [
            (y - rows.loc[which, "measured_low"]).clip(lower=0),
            (rows.loc[which, "measured_high"] - y).clip(lower=0),
        ]
        look = {"mfc": face, "mec": ADD, "ecolor": CONTROL, "elinewidth": 0.6, "ms": 3.5, "ls": "", "label": label}
        axis.errorbar(x, y, yerr=reach, marker=marker, **look)
    axis.axline((0, 0), slope=1, color="black", lw=0.4, ls="--", zorder=0)
    axis.set(xlabel="predicted (nats)", ylabel="measured (nats)")
    for _, row in agreement[agreement["statistic"].eq("pearson")].iterrows():
        said = "Pearson {value:.2f} [{low:.2f}, {high:.2f}]\nwithout geometry {without_geometry:.2f}; p = {p:.2g}"
        axis.set_title(said.format(**row), fontsize=7)
    axis.legend(loc="upper left", frameon=False, handletextpad=0.2)


def detection_points(configurations: pd.DataFrame, point: str = "best") -> Figure:
    """Hit rate against false-alarm rate of each behaviour, unsteered and steered alone.

    Args:
        configurations: of `JointResult`.
        point: `best` or `equal`.

    Returns:
        The figure: lines across the diagonal are steering, lines along it are answer bias; crosses are collapsed
        answers. Circles become smaller, so that those that coincide are seen.

    Raises:
        ScoreError: the frame is empty, or lacks a column or an unsteered row of a behaviour; several scales.
        MismatchError: results of different models.
    """
    test = _test_rows(of_one(drawable(configurations, RATIOS), ("scale",), "detection"))
    names = _behaviours_of(test)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="black", lw=0.5, ls="--", zorder=0)
        unsteered = _unsteered_rows(test)
        for name, colour, size in zip(names, SHADES * 9, np.linspace(8, 3.5, len(names)), strict=False):
            start = unsteered.loc[name, ["false_alarm_rate", "hit_rate"]].to_numpy(dtype=float)
            axis.plot(*start, "o", mfc="none", mec=colour, ms=size, label=words(str(name)))
            axis.plot(*start, "x" if unsteered.loc[name, "collapsed"] else "", color=colour, ms=size)
            for direction, marker in (("add", "+"), ("subtract", "_")):
                row: Any = _own_rows(test, direction, point).loc[name]
                end = row[["false_alarm_rate", "hit_rate"]].to_numpy(dtype=float)
                axis.plot(*np.stack([start, end]).T, color=colour, lw=0.8, alpha=0.7)
                axis.plot(*end, "x" if bool(row["collapsed"]) else marker, color=colour, ms=8, mew=1.6)
        axis.plot([], [], "+", color="0.3", ms=7, mew=1.5, label="added")
        axis.plot([], [], "_", color="0.3", ms=7, mew=1.5, label="subtracted")
        axis.plot([], [], "x", color="0.3", ms=5, label="collapsed")
        axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
        axis.set(xlabel="false alarms: first letter, not matching", ylabel="hits: first letter, matching")
        add_legend(figure)
        figure.caption = detection_caption(test, point)
        return figure


def _test_rows(configurations: pd.DataFrame) -> pd.DataFrame:
    """The rows of test items.

    Raises:
        ScoreError: there are none.
    """
    return drawable(pd.DataFrame(configurations[configurations["split"] == "test"]), PLACE)


def _behaviours_of(configurations: pd.DataFrame) -> list[str]:
    """The behaviours, in order."""
    return list(configurations["behaviour"].unique())


def _unsteered_rows(test: pd.DataFrame) -> pd.DataFrame:
    """Each behaviour's row at strength 0.

    Raises:
        ScoreError: a behaviour has none.
    """
    rows = test[test["point"].eq("grid") & test["strength"].eq(0) & test["direction"].eq("add")]
    lacking = [name for name in _behaviours_of(test) if name not in set(rows["behaviour"])]
    if lacking:
        raise ScoreError(f"no unsteered row of {', '.join(lacking)}; keep the grid's rows of strength 0 on test items.")
    return rows.drop_duplicates("behaviour").set_index("behaviour")


def _own_rows(test: pd.DataFrame, direction: str, point: str) -> pd.DataFrame:
    """Each behaviour's row when it is steered alone; NaN where it has no such point."""
    own = test[test["scheme"].eq("individual") & test["steered"].eq(test["behaviour"])]
    rows = own[own["direction"].eq(direction) & own["point"].eq(point)].set_index("behaviour")
    return rows.reindex(_behaviours_of(test)).assign(collapsed=lambda frame: frame["collapsed"].eq(True))


def _rates(axis: Axes, rows: pd.DataFrame, x: np.ndarray, colour: str, marker: str, label: str) -> None:
    """Matching rates with intervals, and marks on collapsed ones."""
    rate = rows["matching_rate"].to_numpy(dtype=float)
    ends = np.abs(rows[["matching_rate_low", "matching_rate_high"]].to_numpy(dtype=float).T - rate)
    axis.errorbar(x, rate, yerr=ends, fmt=marker, color=colour, ms=3.5, elinewidth=0.7, label=label)
    mark_collapse(axis, x, rows)


def _line(axis: Axes, rows: pd.DataFrame, column: str, colour: str) -> None:
    """One quantity over signed strengths, with its interval."""
    axis.fill_between(rows["signed"], rows[f"{column}_low"], rows[f"{column}_high"], color=colour, alpha=0.2, lw=0)
    axis.plot(rows["signed"], rows[column], color=colour, lw=1.1, marker="o", ms=2)


def _behaviour_axis(axis: Axes, names: list[str]) -> None:
    labels = [words(name) for name in names]
    axis.set_xticks(range(len(names)), labels, rotation=25, ha="right", rotation_mode="anchor")
    axis.axhline(0.5, color="black", lw=0.4, ls=":", zorder=0)
    axis.set(ylabel="matching rate", ylim=(-0.04, 1.04), yticks=(0, 0.25, 0.5, 0.75, 1))


def _signed(rows: pd.DataFrame) -> pd.DataFrame:
    """Both directions on one axis, subtracting to the left; 0 once."""
    signed = rows["strength"].where(rows["direction"] == "add", -rows["strength"])
    return rows.assign(signed=signed + 0.0).drop_duplicates("signed").sort_values("signed")


def _symmetric_ticks(axis: Axes, sizes: np.ndarray) -> None:
    """Strengths of either sign, linear up to the smallest (as wide as a doubling) and logarithmic beyond; few named."""
    if not len(sizes):
        return
    axis.set_xscale("symlog", linthresh=float(sizes[0]), linscale=0.9 * np.log10(2))
    shown = np.unique(sizes[[(len(sizes) - 1) // 2, -1]])
    spots = [*-shown[::-1], 0.0, *shown]
    axis.set_xticks(spots, [f"{spot:g}".replace("-", "−") for spot in spots])
    axis.minorticks_off()


def _decades(axis: Axes, values: pd.Series) -> None:
    """Linear from 0 to the smallest value and logarithmic beyond, with 1 and 3 of each decade named, or 1 of many."""
    if not len(values):
        return
    least, most = float(values.min()), float(values.max())
    axis.set_xscale("symlog", linthresh=least, linscale=0.5)
    powers = 10.0 ** np.arange(np.floor(np.log10(least)), np.floor(np.log10(most)) + 1)
    steps = (1, 3) if len(powers) < 4 else (1,)
    shown = [0.0, *sorted(step * power for power in powers for step in steps if least <= step * power <= most)]
    axis.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axis.minorticks_off()


def _unsure(row: pd.Series) -> bool:
    """Whether a measured pair's interval holds 0, or its value is within the random band."""
    return (
        row["measured_low"] <= 0 <= row["measured_high"] or row["random_low"] <= row["measured"] <= row["random_high"]
    )
