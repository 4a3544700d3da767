"""Figures of broad skills: the accuracy that text retains while a skill is steered away."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.common import counted, names, of_model, sample, scale, steered
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    LEAST_FONT,
    SINGLE_COLUMN,
    STYLE,
    Caption,
    Figure,
    add_legend,
    drawable,
    of_one,
    words,
)

READINGS = {"as_published": "#E69F00", "corrected": "#0072B2"}
PERMUTED = "#CC79A7"
CONTROLS: dict[str, Any] = {
    "random": {"color": CONTROL, "lw": 0.7, "label": "random, same norm", "zorder": 2},
    "permuted": {"color": PERMUTED, "lw": 0.7, "ls": (0, (3, 1.5)), "label": "permuted means (paper)", "zorder": 2},
}
CURVES = ("target", "reading", "vector", "site", "strength", "skill", "relative_top1")
ENDS = ("relative_top1_low", "relative_top1_high")
RETAINED = ("target", "reading", "vector", "site", "level", "retained", "low", "high")
POINTS = ("target", "reading", "direction", "site")


def selectivity_curves(curves: pd.DataFrame) -> Figure:
    """Relative accuracy of text against that of the target, one line a site, one panel a target and reading.

    Args:
        curves: columns `target, reading, vector, site, strength, skill (target or text), relative_top1,
            relative_top1_low, relative_top1_high`, of one split; strengths below 0 are left out. Rows whose `vector` is
            `steering` make the lines of sites, `random k` and `permuted k` a thin line each.

    Returns:
        The figure; above the diagonal steering is selective. The controls' site is thick, with its intervals.

    Raises:
        ScoreError: the frame is empty or lacks a column, or holds several splits.
        MismatchError: results of different models.
    """
    of_one(drawable(curves, (*CURVES, *ENDS)), ("split",), "curves of skills")
    upward = drawable(pd.DataFrame(curves[curves["strength"] >= 0]), CURVES)
    with mpl.rc_context(STYLE):
        targets, readings = upward["target"].unique(), upward["reading"].unique()
        width = SINGLE_COLUMN if len(targets) <= 2 else DOUBLE_COLUMN
        figure = Figure(figsize=(width, 1.55 * len(readings) + 0.75), layout="constrained")
        grid = np.atleast_2d(figure.subplots(len(readings), len(targets), sharex=True, sharey=True, squeeze=False))
        for row, reading in zip(grid, readings, strict=True):
            for axis, target in zip(row, targets, strict=True):
                _panel(axis, upward[(upward["target"] == target) & (upward["reading"] == reading)])
                axis.set_title(f"{words(str(target))}, {words(str(reading))}")
        grid[0, 0].set(xlim=(-3, 105), ylim=(-3, 105), xticks=(0, 50, 100), yticks=(0, 50, 100))
        figure.supxlabel("skill retained (% of its top-1)", fontsize=8)
        figure.supylabel("text retained (% of its top-1)", fontsize=8)
        add_legend(figure)
        figure.caption = _selectivity_caption(curves)
        return figure


def retained_bars(retained: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """What text retains at given levels of each target: as published beside corrected, each with random directions.

    Args:
        retained: columns `target, reading, vector, site, level, retained, low, high`, of one split; for a level that
            is not reached (NaN) the figure says so.
        points: columns `target, reading, direction, site`; of each target and reading the site that lowers is drawn.

    Returns:
        The figure: bars with intervals; a grey dash for each random direction of the same norm that reaches the level.

    Raises:
        ScoreError: a frame is empty or lacks a column, holds several splits, or has no point that lowers.
        MismatchError: results of different models.
    """
    of_one(drawable(retained, RETAINED), ("split",), "bars of what text retains")
    lowering = drawable(points, POINTS).query("direction == 'lower'")
    with mpl.rc_context(STYLE):
        targets, readings = points["target"].unique(), points["reading"].unique()
        figure = Figure(figsize=(SINGLE_COLUMN, 1.3 * len(targets) + 0.7), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(len(targets), 1, sharex=True, sharey=True)))
        width = 0.82 / len(readings)
        for axis, target in zip(axes, targets, strict=True):
            sites = []
            for place, reading in enumerate(readings):
                chosen = lowering.query("target == @target and reading == @reading")
                if chosen.empty:
                    raise ScoreError(f"no point that lowers {target}, {reading}; give one of each target and reading.")
                site = chosen["site"].iloc[0]
                rows = retained[
                    retained["target"].eq(target) & retained["reading"].eq(reading) & retained["site"].eq(site)
                ]
                _bars(axis, rows, (place - len(readings) / 2) * width, width, str(reading))
                sites.append(_short(site))
            axis.axhline(100, color="black", lw=0.4, ls=":", zorder=0)
            axis.set(ylabel="text retained (%)", ylim=(0, 106), yticks=(0, 25, 50, 75, 100))
            axis.set_title(f"{words(str(target))} steered away ({' / '.join(dict.fromkeys(sites))})")
        axes[-1].set_xlabel("skill retained (% of its top-1)")
        add_legend(figure)
        figure.caption = _retained_caption(retained, points)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    """One target and reading."""
    axis.plot([0, 100], [0, 100], color="black", lw=0.5, ls="--", zorder=1)
    axis.axhline(100, color="black", lw=0.4, ls=":", zorder=1)
    own, chosen = rows["vector"] == "steering", set()
    for (name, site), lines in rows[~own].groupby(["vector", "site"]):
        if lines["strength"].nunique() > 1:
            axis.plot(*_pair(lines), **CONTROLS[str(name).partition(" ")[0]])
            chosen.add(site)
    sites = list(rows.loc[own, "site"].unique())
    for site, colour in zip(sites, mpl.colormaps["viridis"](np.linspace(0, 0.8, len(sites))), strict=True):
        lines = pd.DataFrame(rows[own & (rows["site"] == site)])
        x, y = _pair(lines)
        look: dict[str, Any] = {"lw": 1.4, "marker": "o", "ms": 2.5} if site in chosen else {"lw": 0.8}
        dash = "-" if "+" not in site else (0, (2, 1))
        axis.plot(x, y, color=colour, ls=dash, label=_short(site), zorder=4 if site in chosen else 3, **look)
        if site in chosen:
            ends = [_pair(lines, f"relative_top1_{end}") for end in ("low", "high")]
            reach = [np.abs(np.array([low, high]) - value) for low, high, value in zip(*ends, (x, y), strict=True)]
            axis.errorbar(x, y, xerr=reach[0], yerr=reach[1], fmt="none", ecolor=colour, elinewidth=0.6, zorder=4)


def _pair(lines: pd.DataFrame, column: str = "relative_top1") -> tuple[np.ndarray, np.ndarray]:
    """Target and text of each strength, in per cent."""
    table = lines.pivot_table(index="strength", columns="skill", values=column) * 100
    return table["target"].to_numpy(), table["text"].to_numpy()


def _bars(axis: Axes, rows: pd.DataFrame, left: float, width: float, reading: str) -> None:
    """The bars of one reading at all levels, each with its random directions on its right."""
    levels = sorted(rows["level"].unique(), reverse=True)
    steered = rows[rows["vector"] == "steering"].set_index("level").loc[levels]
    height = 100 * steered["retained"].to_numpy()
    reach = np.abs(100 * steered[["low", "high"]].to_numpy().T - height)
    x = np.arange(len(levels)) + left + width * 0.36
    axis.bar(x, height, width * 0.66, color=READINGS.get(reading, CONTROL), label=words(reading))
    axis.errorbar(x, height, yerr=reach, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    look = {"rotation": 90, "fontsize": LEAST_FONT, "ha": "center", "va": "bottom"}
    for place in x[np.isnan(height)]:
        axis.text(place, 3, "not reached", color=READINGS.get(reading, "black"), **look)
    random = rows[rows["vector"].str.startswith("random")].pivot(index="level", columns="vector", values="retained")
    for values in random.reindex(levels).to_numpy().T:
        axis.plot(x + width * 0.44, 100 * values, "_", color="#444444", ms=3, mew=0.7, label="random, same norm")
    axis.set_xticks(range(len(levels)), [f"{100 * level:g}" for level in levels])


def _short(site: str) -> str:
    """A site without the words that all of them share."""
    return site.replace("resid_post@", "layer ", 1).replace("resid_post@", "")


def _selectivity_caption(curves: pd.DataFrame) -> Caption:
    """Of `selectivity_curves`."""
    permuted = curves.loc[curves["vector"].astype(str).str.startswith("permuted"), "vector"].nunique()
    control = steered(curves, "a grey line each")
    return Caption(
        shown=f"Top-1 accuracy{of_model(curves)} on text against that on the steered skill "
        f"({names(curves['target'])}), both in per cent of the unsteered, over strengths; above the diagonal steering "
        "is selective; thick: the site of the controls, chosen on validation.",
        n=f"{counted(curves['site'].nunique(), 'place')}; {sample(curves, 'document')}",
        interval="95 % over documents, at the controls' site",
        control=f"{control}; {counted(permuted, 'direction')} of permuted means" if permuted else control,
        strength_scale=scale(curves),
        side_effects="text, the vertical axis",
    )


def _retained_caption(retained: pd.DataFrame, points: pd.DataFrame) -> Caption:
    """Of `retained_bars`."""
    return Caption(
        shown=f"Top-1 accuracy{of_model(retained)} that text retains where steering has brought a skill "
        f"({names(points['target'])}) down to a share of its own, at the site chosen on validation.",
        n=f"{counted(retained['level'].nunique(), 'level')}; {sample(retained, 'document')}",
        interval="95 % over documents",
        control=steered(retained, "a dash for each that reaches the level"),
        strength_scale="none: strengths are those that reach the level",
        side_effects="text, the vertical axis",
    )
