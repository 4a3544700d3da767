# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
"""What all figures share: one style, widths of a paper's columns, colours that the colour-blind can tell apart, files.

Colours are those of Okabe and Ito. Nothing here changes global matplotlib settings, and no figure is ever shown.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lens_steer.files import write_whole

SINGLE_COLUMN, DOUBLE_COLUMN = 3.35, 6.9
"""Widths in inches."""

STYLE: dict[str, Any] = {
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
TOP, BOTTOM = "#0072B2", "#E69F00"
PANEL_WIDTH, PANEL_HEIGHT, PER_ROW = 1.75, 1.75, 5


def save_figure(figure: Figure, data: pd.DataFrame, folder: str | Path, name: str) -> tuple[Path, ...]:
    """Writes `name.png`, `name.pdf` and, behind them, `name.csv`.

    Args:
        figure: what to write.
        data: the tidy rows that it was drawn from.
        folder: where to; made where it is missing.
        name: the files' stem.

    Returns:
        The three paths. The same figure and data give the same bytes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image, page = folder / f"{name}.png", folder / f"{name}.pdf"
    figure.savefig(image, dpi=200, metadata={"Software": None})
    figure.savefig(page, metadata={"CreationDate": None, "Producer": None})
    table = write_whole(folder / f"{name}.csv", data.to_csv(index=False, float_format="%.6g").encode())
    return image, page, table


def panels(names: Any, *, height: float = PANEL_HEIGHT, share_y: bool) -> tuple[Figure, list[Axes]]:
    """A row or more of equal panels, as many as there are names.

    Args:
        names: one panel each.
        height: of a panel, inches.
        share_y: whether panels have one y axis.

    Returns:
        The figure, and the axes in order.
    """
    count = len(names)
    columns = min(count, PER_ROW)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns + 0.6, (height + 0.45) * rows + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=share_y)).ravel()
    for axis in grid[count:]:
        axis.set_visible(False)
    return figure, list(grid[:count])


def outer_labels(figure: Figure, axes: list[Axes], x: str, y: str) -> None:
    """Puts axis labels once for the whole figure."""
    figure.supxlabel(x, fontsize=8)
    axes[0].set_ylabel(y)


def ticks(labels: pd.Index, most: int) -> tuple[list[int], list[str]]:
    """At most so many places and labels of an axis, the middle one among them."""
    step = math.ceil(len(labels) / most)
    places = list(range(len(labels) // 2 % step, len(labels), step))
    return places, [f"{labels[i]:g}" for i in places]


def words(name: str) -> str:
    """A name as a reader wants it: underscores are spaces."""
    return name.replace("_", " ")
