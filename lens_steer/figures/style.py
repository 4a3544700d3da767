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
from matplotlib.axes import Axes

from lens_steer._util.files import write_whole
from lens_steer.errors import MismatchError, ScoreError

SINGLE_COLUMN, DOUBLE_COLUMN = 3.35, 6.9
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
LEAST_FONT = 5.5
"""In points; a number in a heat map that would be smaller is left out."""
SCREEN_DPI = 120


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The facts of a figure's caption; `text` joins them into a draft.

    `shown`: what is drawn. `n`: the sample size. `interval`, `control`: which, or none and why. `strength_scale`: the
    meaning of strength 1, or none and why.
    """

    shown: str
    n: str
    interval: str
    control: str
    strength_scale: str

    def text(self) -> str:
        """The caption as one paragraph."""
        parts = {"n": self.n, "interval": self.interval, "control": self.control, "strength": self.strength_scale}
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


def panels(names: Any, *, height: float = PANEL_HEIGHT, share_y: bool) -> tuple[Figure, list[Axes]]:
    """A grid of equal panels; one panel has single-column width, several have double-column width.

    Args:
        names: one panel for each.
        height: of a panel, inches.
        share_y: whether the panels share the y axis.

    Returns:
        The figure, and the axes in order.
    """
    count = len(names)
    rows = math.ceil(count / PER_ROW)
    columns = math.ceil(count / rows)
    width = SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, (height + 0.45) * rows + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=share_y)).ravel()
    for axis in grid[count:]:
        axis.set_visible(False)
    return figure, list(grid[:count])


def legend_entries(figure: Figure) -> dict[str, list[Any]]:
    """The `handles` and `labels` of all axes, each label once."""
    handles = {label: h for axis in figure.axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    return {"handles": list(handles.values()), "labels": list(handles)}


def legend_above(figure: Figure) -> dict[str, Any]:
    """The legend of all axes, each label once, above them."""
    place = {"loc": "outside upper center", "frameon": False, "columnspacing": 1.0, "handletextpad": 0.5}
    return {**legend_entries(figure), **place}


def outer_labels(figure: Figure, axes: list[Axes], x: str, y: str) -> None:
    """Sets common axis labels for the whole figure."""
    figure.supxlabel(x, fontsize=8)
    axes[0].set_ylabel(y)


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
    size = min(6.0, 72 * width / (3.2 * count))
    return size if size >= LEAST_FONT else 0.0


def words(name: str) -> str:
    """A name with underscores replaced by spaces."""
    return name.replace("_", " ")
