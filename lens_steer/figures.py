# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
"""Figures from results alone: each function takes a tidy frame and returns a matplotlib figure.

A curve is drawn with its interval and its control band; a collapsed point is drawn as a cross, never left out.
Nothing here runs a model, shows a window or changes global matplotlib settings. `save_figure` writes PNG, PDF and the
data behind them.
"""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lens_steer.files import write_whole

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


def steering_curves(curves: pd.DataFrame) -> Figure:
    """Matching rate over strength, one panel a behaviour, over the band of its random directions.

    Args:
        curves: columns `behaviour, vector, site, positions, strength, scale, matching_rate, rate_low, rate_high,
            collapsed`; rows whose `vector` is `steering` make the line, all others the band (their 2.5th to 97.5th
            percentile at each strength).

    Returns:
        The figure; crosses are collapsed points.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _panels(curves["behaviour"].unique(), share_y=True)
        for axis, (name, rows) in zip(axes, curves.groupby("behaviour", sort=False), strict=True):
            line = rows[rows["vector"] == "steering"].sort_values("strength")
            control = rows[rows["vector"] != "steering"].groupby("strength")["matching_rate"]
            if len(control):
                low, high = control.quantile(0.025), control.quantile(0.975)
                axis.fill_between(low.index, low, high, color=CONTROL, alpha=0.35, lw=0, label="random, same norm")
            axis.fill_between(line["strength"], line["rate_low"], line["rate_high"], color=STEERED, alpha=0.25, lw=0)
            axis.plot(
                line["strength"],
                line["matching_rate"],
                color=STEERED,
                lw=1.2,
                marker="o",
                ms=2.5,
                label="steering vector",
            )
            fallen = line[line["collapsed"]]
            axis.plot(
                fallen["strength"], fallen["matching_rate"], "x", color=COLLAPSED, ms=5, label="collapsed", zorder=3
            )
            axis.axhline(0.5, color="black", lw=0.4, ls=":")
            where = f"{line['site'].iloc[0]}, positions {line['positions'].iloc[0]}"
            axis.set(title=f"{_words(str(name))}\n{where}", ylim=(-0.03, 1.03))
        _outer_labels(figure, axes, f"strength ({curves['scale'].iloc[0]})", "matching rate")
        handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False)
        return figure


def layer_strength_map(cells: pd.DataFrame) -> Figure:
    """Matching rate of every layer and strength as a heat map, one panel a behaviour.

    Args:
        cells: columns `behaviour, positions, layer, strength, scale, matching_rate, collapsed, chosen`; of each
            behaviour the rows of the chosen position rule are drawn.

    Returns:
        The figure; a cross marks a collapsed cell, a square the chosen point.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _panels(cells["behaviour"].unique(), share_y=True)
        image = None
        for axis, (name, rows) in zip(axes, cells.groupby("behaviour", sort=False), strict=True):
            rule = rows.loc[rows["chosen"], "positions"].iloc[0]
            rows = rows[rows["positions"] == rule]
            grid = rows.pivot(index="layer", columns="strength", values="matching_rate")
            image = axis.imshow(grid, origin="lower", aspect="auto", cmap="RdBu_r", vmin=0, vmax=1)
            column, row = ({value: i for i, value in enumerate(labels)} for labels in (grid.columns, grid.index))
            fallen, chosen = rows[rows["collapsed"]], rows[rows["chosen"]]
            axis.scatter(
                fallen["strength"].map(column), fallen["layer"].map(row), marker="x", s=8, lw=0.6, color="black"
            )
            place = {"marker": "s", "s": 60, "lw": 1.0, "facecolors": "none", "edgecolors": "black"}
            axis.scatter(chosen["strength"].map(column), chosen["layer"].map(row), **place)
            axis.set_xticks(*_ticks(grid.columns, 5))
            axis.set_yticks(*_ticks(grid.index, 8))
            axis.set(title=f"{_words(str(name))}\npositions {rule}")
        _outer_labels(figure, axes, f"strength ({cells['scale'].iloc[0]})", "layer")
        if image is not None:
            figure.colorbar(image, ax=axes, label="matching rate", shrink=0.8, pad=0.01)
        return figure


def cosine_heatmap(cosines: pd.DataFrame) -> Figure:
    """Cosines between named vectors, one panel a site.

    Args:
        cosines: columns `first, second, site, cosine`.

    Returns:
        The figure, on a colour scale centred on 0.
    """
    with mpl.rc_context(STYLE):
        sites = list(cosines["site"].unique())
        figure = Figure(figsize=(2.7 * len(sites) + 0.9, 2.9), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, len(sites), sharey=True)))
        image = None
        for axis, (site, rows) in zip(axes, cosines.groupby("site", sort=False), strict=True):
            names = list(rows["first"].unique())
            grid = rows.pivot(index="first", columns="second", values="cosine").loc[names, names]
            image = axis.imshow(grid, cmap="RdBu_r", vmin=-1, vmax=1)
            labels = [_words(name) for name in names]
            axis.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(names)), labels)
            for i, row in enumerate(grid.to_numpy()):
                for j, value in enumerate(row):
                    colour = "white" if abs(value) > 0.6 else "black"
                    axis.text(
                        j,
                        i,
                        f"{value:.2f}".replace("-0.00", "0.00"),
                        ha="center",
                        va="center",
                        fontsize=6,
                        color=colour,
                    )
            axis.set(title=str(site))
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        if image is not None:
            figure.colorbar(image, ax=axes, label="cosine", shrink=0.85, pad=0.02)
        return figure


def method_heatmap(table: pd.DataFrame) -> Figure:
    """The effect of each method's vectors on each behaviour, with the number in every cell.

    Args:
        table: effects in nats, one row a method, one column a behaviour and `mean`; NaN where no strength reaches the
            damage.

    Returns:
        The figure, on a colour scale centred on 0.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 0.22 * len(table) + 0.9), layout="constrained")
        axis = figure.subplots()
        values = table.to_numpy(dtype=float)
        most = float(np.nanmax(np.abs(values)))
        image = axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        names = [_words(str(name)) for name in table.columns]
        axis.set_xticks(range(len(names)), names, rotation=20, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(table)), [_words(str(name)) for name in table.index])
        for (row, column), value in np.ndenumerate(values):
            shade = "white" if abs(value) > 0.6 * most else "black"
            axis.text(column, row, "-" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", color=shade)
        figure.colorbar(image, label="effect at equal KL (nats)", shrink=0.8)
        return figure


def lens_bars(tokens: pd.DataFrame) -> Figure:
    """The tokens that a vector promotes and suppresses, one panel a behaviour.

    Args:
        tokens: columns `behaviour, site, rank, end (top or bottom), token, logit`.

    Returns:
        The figure: horizontal bars of the lens's logits, highest at the top.
    """
    with mpl.rc_context(STYLE):
        rows_each = int(tokens.groupby("behaviour", sort=False).size().max())
        figure, axes = _panels(tokens["behaviour"].unique(), height=0.45 + 0.13 * rows_each, share_y=False)
        for axis, (name, rows) in zip(axes, tokens.groupby("behaviour", sort=False), strict=True):
            rows = rows.sort_values("logit").reset_index(drop=True)
            axis.barh(
                rows.index, rows["logit"], color=[TOP if end == "top" else BOTTOM for end in rows["end"]], height=0.75
            )
            axis.set_yticks(rows.index, [_visible(token) for token in rows["token"]], fontsize=6)
            axis.axvline(0, color="black", lw=0.5)
            axis.set(title=f"{_words(str(name))}\n{rows['site'].iloc[0]}", ylim=(-0.6, len(rows) - 0.4))
            axis.tick_params(axis="y", length=0)
        _outer_labels(figure, axes, "logit of the direction", "")
        return figure


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


def _panels(names: Any, *, height: float = PANEL_HEIGHT, share_y: bool) -> tuple[Figure, list[Axes]]:
    """A row or more of equal panels, as many as there are names."""
    count = len(names)
    columns = min(count, PER_ROW)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns + 0.6, (height + 0.45) * rows + 0.3), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=share_y)).ravel()
    for axis in grid[count:]:
        axis.set_visible(False)
    return figure, list(grid[:count])


def _outer_labels(figure: Figure, axes: list[Axes], x: str, y: str) -> None:
    """Axis labels once for the whole figure."""
    figure.supxlabel(x, fontsize=8)
    axes[0].set_ylabel(y)


def _ticks(labels: pd.Index, most: int) -> tuple[list[int], list[str]]:
    """At most so many places and labels of an axis, the middle one among them."""
    step = math.ceil(len(labels) / most)
    places = list(range(len(labels) // 2 % step, len(labels), step))
    return places, [f"{labels[i]:g}" for i in places]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _visible(token: str) -> str:
    """A token as a reader can tell it apart: a leading space is shown, control characters are escaped."""
    shown = token.encode("unicode_escape").decode("ascii") if not token.isprintable() else token
    return shown.replace(" ", "·").replace("$", r"\$")
