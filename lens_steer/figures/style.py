"""Shared style and helpers of all figures: column widths of a paper, the colour-blind safe palette of Okabe and Ito,
checks of frames, and `save_figure`.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from lens_steer._util.files import write_whole
from lens_steer.errors import MismatchError, ScoreError

SINGLE_COLUMN, DOUBLE_COLUMN = 3.25, 6.75
"""Widths in inches."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
}
STEERED, CONTROL, COLLAPSED = "#0072B2", "#999999", "#D55E00"
INK = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Cycled for several lines or groups of points."""
TOP, BOTTOM = "#0072B2", "#E69F00"
PANEL_HEIGHT, PER_ROW = 1.75, 4
LEAST_FONT = 6.0
"""In points; a number in a heat map that would be smaller is left out."""
SCREEN_DPI = 120


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The facts of a figure's caption; `text` joins them into a draft.

    `shown`: what is drawn. `n`: the sample size. `interval`, `control`: which, or none and why. `strength_scale`: the
    meaning of strength 1, or none and why. `side_effects`: what steering costs, where something is steered.
    """

    shown: str
    n: str
    interval: str
    control: str
    strength_scale: str
    side_effects: str = ""

    def text(self) -> str:
        """The caption as one paragraph."""
        parts = {"n": self.n, "interval": self.interval, "control": self.control, "strength": self.strength_scale}
        parts |= {"side effects": self.side_effects} if self.side_effects else {}
        return " ".join([self.shown, *(f"{name.capitalize()}: {said}." for name, said in parts.items())]) + "\n"


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure with a caption, which Jupyter displays without pyplot."""

    caption: Caption | None = None

    def _repr_png_(self) -> bytes:
        """PNG for Jupyter."""
        held = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(held, format="png", dpi=SCREEN_DPI)
        return held.getvalue()


def save_figure(
    figure: matplotlib.figure.Figure, data: pd.DataFrame, folder: str | Path, name: str
) -> tuple[Path, ...]:
    """Writes `name.png`, `name.pdf`, the plotted data as `name.csv`, and the draft caption as `name.txt`.

    Args:
        figure: the figure; for a plain matplotlib figure, no caption is written.
        data: the tidy rows that it was drawn from.
        folder: created where it does not exist.
        name: the files' stem.

    Returns:
        The three paths, or four. The same figure and data give the same bytes.
    """
    folder = Path(folder)
    image, page = folder / f"{name}.png", folder / f"{name}.pdf"
    with mpl.rc_context(STYLE):
        write_whole(image, _drawn(figure, format="png", dpi=200, metadata={"Software": None}))
        write_whole(page, _drawn(figure, format="pdf", metadata={"CreationDate": None, "Producer": None}))
    table = write_whole(folder / f"{name}.csv", data.to_csv(index=False, float_format="%.6g").encode())
    if not isinstance(figure, Figure) or figure.caption is None:
        return image, page, table
    return image, page, table, write_whole(folder / f"{name}.txt", figure.caption.text().encode())


def _drawn(figure: matplotlib.figure.Figure, **how: Any) -> bytes:
    """A figure as the bytes of a file."""
    held = io.BytesIO()
    figure.savefig(held, **how)
    return held.getvalue()


Rows = Any
"""A tidy frame, or a result that has one."""


def tidy(data: Rows, *tables: str) -> Any:
    """The rows to draw.

    Args:
        data: a tidy frame, or a result of the package.
        tables: names of methods or fields of the result that give a suitable frame, in order of preference.

    Returns:
        The frame itself, or the first of these tables that the result has.

    Raises:
        ScoreError: it is neither.
    """
    if isinstance(data, pd.DataFrame):
        return data
    for name in tables:
        found = getattr(data, name, None)
        if found is not None:
            return found() if callable(found) else found
    raise ScoreError(f"a {type(data).__name__} cannot be drawn here; give a tidy frame or a result with {tables[0]}.")


def drawable(frame: Rows, columns: Sequence[str]) -> Any:
    """Checks that a figure can be drawn from a frame.

    Args:
        frame: the rows.
        columns: the required columns.

    Returns:
        The frame.

    Raises:
        ScoreError: it is empty, or lacks a column.
        MismatchError: it holds results of different models.
    """
    missing = [column for column in columns if column not in frame.columns]
    named = f", with the columns {', '.join(columns)}" if columns else ""
    if frame.empty or missing:
        raise ScoreError(
            f"a frame of {len(frame)} rows{f' without {missing}' if missing else ''}; a figure needs rows{named}."
        )
    models = list(frame["model"].unique()) if "model" in frame.columns else []
    if len(models) > 1:
        raise MismatchError(f"one figure of {len(models)} models, {', '.join(models)}; draw one a model.")
    return frame


def of_one(frame: Rows, columns: Sequence[str], what: str) -> Any:
    """Checks that a frame has only one vector, site, text, ..., which would overlap in the figure.

    Args:
        frame: the rows.
        columns: columns that must have a single value; columns missing in the frame are ignored.
        what: the figure, for the error message.

    Returns:
        The frame.

    Raises:
        ScoreError: a column has several values.
    """
    for column in [name for name in columns if name in frame.columns]:
        found = list(map(str, frame[column].unique()))
        if len(found) > 1:
            raise ScoreError(f"{what} of more than one {words(column)} ({', '.join(found)}); draw one a figure.")
    return frame


def panels(
    names: Any, *, height: float = PANEL_HEIGHT, share_y: bool, per_row: int = PER_ROW
) -> tuple[Figure, list[Axes]]:
    """A grid of equal panels; one panel, or two a row, have single-column width, several have double-column width.

    Args:
        names: one panel for each.
        height: of a panel, inches.
        share_y: whether the panels share the y axis.
        per_row: the most panels beside each other.

    Returns:
        The figure, and the axes in order.
    """
    count = len(names)
    rows = math.ceil(count / per_row)
    columns = math.ceil(count / rows)
    width = SINGLE_COLUMN if columns == 1 or per_row == 2 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, (height + 0.45) * rows + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=share_y)).ravel()
    for axis in grid[count:]:
        axis.set_visible(False)
    return figure, list(grid[:count])


def add_legend(figure: Figure) -> None:
    """Adds the legend of all axes, each label once: in a hole of the grid, or above in as many columns as fit."""
    shown = {label: h for axis in figure.axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    look = {"handles": list(shown.values()), "labels": list(shown), "frameon": False}
    look |= {"columnspacing": 1.0, "handletextpad": 0.5, "handlelength": 1.5}
    hole = next((axis for axis in figure.axes if not axis.get_visible()), None)
    if hole is not None:
        hole.set(visible=True)
        hole.set_axis_off()
        hole.legend(**look, loc="center")
        return
    for rows in range(1, len(shown) + 1):
        legend = figure.legend(**look, loc="outside upper center", ncols=math.ceil(len(shown) / rows))
        if legend.get_window_extent().width <= figure.bbox.width or rows == len(shown):
            return
        legend.remove()


def control_bars(axis: Axes, controls: pd.DataFrame, column: str) -> None:
    """Draws the middle 95 % of the controls at each strength at which they were measured, and nowhere else.

    Args:
        axis: where it is drawn.
        controls: columns `vector` (`random k`, or a name that begins with `shuffled`), `strength` and the column drawn.
        column: the column drawn; no rows draw nothing.
    """
    if controls.empty:
        return
    at = controls.groupby("strength")[column]
    low, high = at.quantile(0.025), at.quantile(0.975)
    shuffled = controls["vector"].astype(str).str.startswith("shuffled").any()
    label = f"{'controls' if shuffled else 'random'}, same norm (95 %)"
    range_bars(axis, low, high, label)


def range_bars(axis: Axes, low: pd.Series, high: pd.Series, label: str) -> None:
    """Draws a range at each strength (the index) at which it was measured, and nowhere else."""
    axis.vlines(low.index, low, high, color=CONTROL, alpha=0.5, lw=3, label=label, zorder=0.5)
    for ends in (low, high):
        axis.plot(low.index, ends, "_", color=CONTROL, ms=3, mew=1, zorder=0.5)


def interval_points(axis: Axes, rows: Any, x: Any, column: str, colour: str, marker: str, label: str) -> None:
    """Draws values with their intervals, from the columns `<column>`, `<column>_low` and `<column>_high`.

    Args:
        axis: where they are drawn.
        rows: one a point.
        x: the place of each.
        column: of the values.
        colour: of points and bars.
        marker: of the points.
        label: in the legend.
    """
    below, above = rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]
    look = {"color": colour, "marker": marker, "ms": 3.5, "lw": 0, "elinewidth": 1, "capsize": 1.5}
    axis.errorbar(x, rows[column], yerr=[below.clip(lower=0), above.clip(lower=0)], label=label, zorder=3, **look)


def mark_collapse(axis: Axes, x: Any, rows: pd.DataFrame, measure: str = "matching_rate") -> None:
    """Marks points: a cross where answers have collapsed, a square where unsteered ones are one-sided.

    Args:
        axis: where the measure is drawn.
        x: the place of each row.
        rows: with `strength`, the measure, `collapsed`, and `reason` where it is known.
        measure: the column that is drawn.
    """
    said = rows["reason"].astype(str) if "reason" in rows.columns else pd.Series("", index=rows.index)
    one_sided = rows["strength"].eq(0) & said.str.contains(r"^one |one-sided")
    collapsed = rows["collapsed"].eq(True) & ~one_sided
    for which, marker, label in ((collapsed, "x", "collapsed"), (one_sided, "s", "one-sided unsteered")):
        if which.any():
            look = {"color": COLLAPSED, "ms": 5, "mew": 1.2, "mfc": "none", "ls": "", "zorder": 5, "label": label}
            axis.plot(np.asarray(x)[which], rows.loc[which, measure], marker, **look)


def outer_labels(figure: Figure, x: str, y: str) -> None:
    """Sets common axis labels for the whole figure."""
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)


def log_x(axis: Axes) -> None:
    """Makes the x axis logarithmic, once all is drawn: few ticks, at powers of ten where it spans two or more."""
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    narrow, subs = high < 5 * low, (1, 2, 5) if high < 100 * low else (1,)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(4) if narrow else ticker.LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())


def ticks(labels: pd.Index, most: int) -> tuple[list[int], list[str]]:
    """Positions and labels of at most `most` ticks, including the middle one."""
    step = math.ceil(len(labels) / most)
    places = list(range(len(labels) // 2 % step, len(labels), step))
    return places, [f"{labels[i]:g}" for i in places]


def evenly(entries: list[Any], most: int) -> list[Any]:
    """At most `most` evenly spaced entries, including the first and the last."""
    if len(entries) <= max(most, 1):
        return entries
    places = np.linspace(0, len(entries) - 1, max(most, 1)).round().astype(int)
    return [entries[place] for place in places]


def number_size(width: float, count: int) -> float:
    """The font size in points of numbers such as -0.25 in the columns of a heat map; 0 where it would be unreadable.

    Args:
        width: of all columns together, inches.
        count: number of columns.
    """
    return LEAST_FONT if 72 * width / (3.2 * count) >= LEAST_FONT else 0.0


def words(name: str) -> str:
    """A name with underscores replaced by spaces."""
    return name.replace("_", " ")
