"""Figures of broad skills: the accuracy that text retains while a skill is steered away."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.common import counted, names, of_model, sample, scale, steered
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    SINGLE_COLUMN,
    STYLE,
    Caption,
    Figure,
    drawable,
    legend_entries,
    of_one,
    words,
)

READINGS = {"as_published": "#E69F00", "corrected": "#0072B2"}
PERMUTED = "#CC79A7"
LEGEND = {"loc": "outside upper center", "ncols": 3, "frameon": False, "handlelength": 1.2, "columnspacing": 1.0}
CURVES = ("target", "reading", "vector", "site", "strength", "skill", "relative_top1")
ENDS = ("relative_top1_low", "relative_top1_high")
RETAINED = ("target", "reading", "vector", "site", "level", "retained", "low", "high")
POINTS = ("target", "reading", "direction", "site")


def selectivity_curves(curves: pd.DataFrame) -> Figure:
    """Relative accuracy of text against that of the target, one line a site, one panel a target and reading.

    Args:
        curves: columns `target, reading, vector, site, strength, skill (target or text), relative_top1,
            relative_top1_low, relative_top1_high`, of one split; strengths below 0 are left out. Rows whose `vector` is
            `steering` make the lines, `random k` the band (from lowest to highest text at each level of the target)
            and `permuted k` the thin lines.

    Returns:
        The figure; above the diagonal steering is selective. The control's site is drawn with its intervals.

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
        figure.legend(**legend_entries(figure), **LEGEND)
        figure.caption = _selectivity_caption(curves)
        return figure


def retained_bars(retained: pd.DataFrame, points: pd.DataFrame) -> Figure:
    """What text retains at given levels of each target: as published beside corrected, each with random directions.

    Args:
        retained: columns `target, reading, vector, site, level, retained, low, high`, of one split; a level that is not
            reached (NaN) has no bar.
        points: columns `target, reading, direction, site`; of each target and reading the site that lowers is drawn.

    Returns:
        The figure: bars with intervals; grey strips from the lowest to the highest random direction of the same norm,
        where all of them reach the level.

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
        handles, labels = axes[0].get_legend_handles_labels()
        shown = dict(sorted(zip(labels, handles, strict=True), key=lambda pair: pair[0].startswith("random")))
        figure.legend(shown.values(), shown.keys(), **LEGEND)
        figure.caption = _retained_caption(retained, points)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    """One target and reading."""
    axis.plot([0, 100], [0, 100], color="black", lw=0.5, ls="--", zorder=1)
    axis.axhline(100, color="black", lw=0.4, ls=":", zorder=1)
    random = [_pair(lines) for name, lines in rows.groupby("vector") if str(name).startswith("random")]
    if random:
        level = np.linspace(0, 100, 201)
        found = np.array([np.interp(level, x[::-1], y[::-1], left=np.nan) for x, y in map(_falling, random)])
        seen = ~np.isnan(found).any(axis=0)
        low, high = found[:, seen].min(axis=0), found[:, seen].max(axis=0)
        axis.fill_between(level[seen], low, high, color=CONTROL, alpha=0.45, lw=0, label="random, same norm")
    for name, lines in rows.groupby("vector"):
        if str(name).startswith("permuted"):
            label = "permuted means (paper)"
            axis.plot(*_pair(lines), color=PERMUTED, lw=0.7, ls=(0, (3, 1.5)), label=label, zorder=2)
    steered = pd.DataFrame(rows[rows["vector"] == "steering"])
    sites = list(steered["site"].unique())
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(sites)))
    for site, colour in zip(sites, colours, strict=True):
        lines = steered[steered["site"] == site]
        x, y = _pair(lines)
        dash = "-" if "+" not in site else (0, (1, 1))
        axis.plot(x, y, color=colour, lw=1.0, marker="o", ms=1.8, ls=dash, label=_short(site), zorder=3)
        if site in set(rows.loc[rows["vector"] != "steering", "site"]):
            ends = [_pair(lines, f"relative_top1_{end}") for end in ("low", "high")]
            reach = [np.abs(np.array([low, high]) - value) for low, high, value in zip(*ends, (x, y), strict=True)]
            axis.errorbar(x, y, xerr=reach[0], yerr=reach[1], fmt="none", ecolor=colour, elinewidth=0.6, zorder=2)


def _pair(lines: pd.DataFrame, column: str = "relative_top1") -> tuple[np.ndarray, np.ndarray]:
    """Target and text of each strength, in per cent."""
    table = lines.pivot_table(index="strength", columns="skill", values=column) * 100
    return table["target"].to_numpy(), table["text"].to_numpy()


def _falling(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A curve with its target made to fall from strength to strength, so that it is a function of the target."""
    return np.minimum.accumulate(pair[0]), pair[1]


def _bars(axis: Axes, rows: pd.DataFrame, left: float, width: float, reading: str) -> None:
    """The bars of one reading at all levels, each with its random directions on its right."""
    levels = sorted(rows["level"].unique(), reverse=True)
    steered = rows[rows["vector"] == "steering"].set_index("level").loc[levels]
    height = 100 * steered["retained"].to_numpy()
    reach = np.abs(100 * steered[["low", "high"]].to_numpy().T - height)
    x = np.arange(len(levels)) + left + width * 0.36
    axis.bar(x, height, width * 0.66, color=READINGS.get(reading, CONTROL), label=words(reading))
    axis.errorbar(x, height, yerr=reach, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    random = rows[rows["vector"].str.startswith("random")].pivot(index="level", columns="vector", values="retained")
    if len(random.columns):
        spread = 100 * random.loc[levels].dropna()
        low, high = spread.min(axis=1).to_numpy(), spread.max(axis=1).to_numpy()
        places = x[random.loc[levels].notna().all(axis=1).to_numpy()] + width * 0.44
        axis.bar(places, high - low, width * 0.16, bottom=low, color="#666666", label="random, same norm")
    axis.set_xticks(range(len(levels)), [f"{100 * level:g}" for level in levels])


def _short(site: str) -> str:
    """A site without the words that all of them share."""
    return site.replace("resid_post@", "layer ", 1).replace("resid_post@", "")


def _selectivity_caption(curves: pd.DataFrame) -> Caption:
    """Of `selectivity_curves`."""
    permuted = curves.loc[curves["vector"].astype(str).str.startswith("permuted"), "vector"].nunique()
    control = steered(curves, "the band is from the lowest to the highest")
    return Caption(
        shown=f"Top-1 accuracy{of_model(curves)} on text against that on the steered skill "
        f"({names(curves['target'])}), both in per cent of the unsteered, over strengths; above the diagonal steering "
        "is selective.",
        n=f"{counted(curves['site'].nunique(), 'place')}; {sample(curves, 'document')}",
        interval="95 % over documents, at the controls' site",
        control=f"{control}; {counted(permuted, 'direction')} of permuted means" if permuted else control,
        strength_scale=scale(curves),
    )


def _retained_caption(retained: pd.DataFrame, points: pd.DataFrame) -> Caption:
    """Of `retained_bars`."""
    return Caption(
        shown=f"Top-1 accuracy{of_model(retained)} that text retains where steering has brought a skill "
        f"({names(points['target'])}) down to a share of its own; a level that is not reached has no bar.",
        n=f"{counted(retained['level'].nunique(), 'level')}; {sample(retained, 'document')}",
        interval="95 % over documents",
        control=steered(retained, "grey from the lowest to the highest where all of them reach the level"),
        strength_scale="none: strengths are those that reach the level",
    )
