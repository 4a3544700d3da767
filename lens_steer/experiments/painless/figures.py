"""Figures of automatically made vectors: gains by task and method or on top of what, points tried, sizes, full grid."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lens_steer.evaluation.painless.run import RANDOM
from lens_steer.experiments.finding import LEVEL
from lens_steer.experiments.painless.captions import (
    gains_caption,
    grid_caption,
    on_top_caption,
    sizes_caption,
    tried_caption,
)
from lens_steer.experiments.painless.on_top import BASES
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    STYLE,
    Caption,
    Figure,
    add_legend,
    drawable,
    outer_labels,
    panels,
    ticks,
    words,
)
from lens_steer.hooks.sites import Site


def gain_bars(gains: pd.DataFrame) -> Figure:
    """The gain of each task and method on test items, beside that of random vectors.

    Args:
        gains: from `painless_tasks`, one row a task and method.

    Returns:
        The figure: points with intervals over seeds, filled where the corrected p is below 0.05.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(gains, ("task", "method", "seeds", "gain", "gain_low", "gain_high", "p_corrected_holm"))
    return _gains(rows, "method", "p_corrected_holm", gains_caption(rows))


def on_top_bars(on_top: pd.DataFrame) -> Figure:
    """The gain of the vector alone, of examples and of fine-tuning, and of the vector on top of them.

    Args:
        on_top: from `painless_tasks`, one row a task and condition.

    Returns:
        The figure: points with intervals over seeds, filled where p is below 0.05.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(on_top, ("task", "condition", "seeds", "shots", "gain", "gain_low", "gain_high", "gain_p"))
    rows = rows[rows["condition"] != BASES[0]]
    return _gains(rows, "condition", "gain_p", on_top_caption(rows))


def tried_curves(points: pd.DataFrame) -> Figure:
    """The gain on validation items over strength and over layer.

    Args:
        points: from `painless_tasks`, one row a task, seed, method and point.

    Returns:
        The figure: one line a task in each of two panels, random vectors dashed.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(points, ("task", "seed", "method", "site", "strength", "gain"))
    tried = rows[rows["strength"] > 0]
    tried = tried.assign(layer=[Site.parse(str(site)).layer for site in tried["site"]])
    is_random = tried["method"].str.startswith(RANDOM)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.4), layout="constrained")
        for axis, over in zip(figure.subplots(1, 2, sharey=True), ("strength", "layer"), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for number, (task, own) in enumerate(tried[~is_random].groupby("task", sort=False)):
                line = _best_over(own, over)
                axis.plot(line.index, line, "o-", color=INK[number % len(INK)], ms=3, lw=1, label=words(str(task)))
            if is_random.any():
                line = _best_over(tried[is_random], over)
                axis.plot(line.index, line, "--", color=CONTROL, lw=1, label="random vectors")
            axis.set_xlabel(over)
            axis.xaxis.set_major_locator(MaxNLocator(integer=over == "layer"))
        figure.axes[0].set_ylabel("gain on validation items")
        add_legend(figure)
        figure.caption = tried_caption(rows)
        return figure


def size_curves(sizes: pd.DataFrame) -> Figure:
    """The gain on test items over the number of training items.

    Args:
        sizes: from `painless_tasks`, one row a task, number of training items and method.

    Returns:
        The figure: a panel a task, a line a method.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(sizes, ("task", "method", "n_train", "seeds", "gain", "gain_low", "gain_high"))
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["task"].unique(), share_y=True)
        for axis, (task, own) in zip(axes, rows.groupby("task", sort=False), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for number, (method, line) in enumerate(own.sort_values("n_train").groupby("method", sort=False)):
                reach = np.abs(line[["gain_low", "gain_high"]].to_numpy(dtype=float).T - line["gain"].to_numpy())
                look = {"color": INK[number % len(INK)], "lw": 1, "elinewidth": 0.7, "capsize": 1.5, "ms": 3}
                axis.errorbar(line["n_train"], line["gain"], reach, fmt="o-", label=words(str(method)), **look)
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted(own["n_train"].unique()), [str(n) for n in sorted(own["n_train"].unique())])
            axis.set_title(words(str(task)))
        outer_labels(figure, "training items", "gain of accuracy")
        add_legend(figure)
        figure.caption = sizes_caption(rows)
        return figure


def grid_maps(grid: pd.DataFrame) -> Figure:
    """The gain on validation items at every site and strength of the full grid.

    Args:
        grid: from `painless_tasks`, one row a task, seed, vector, site and strength.

    Returns:
        The figure: a heat map a task; a square marks a point that the paper's search ends at.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(grid, ("task", "seed", "vector", "site", "strength", "gain", "chosen"))
    rows = rows.assign(layer=[Site.parse(str(site)).layer for site in rows["site"]])
    means = rows.groupby(["task", "vector", "layer", "strength"], sort=False)["gain"].mean()
    best = means.groupby(["task", "layer", "strength"]).max()
    reach = float(best.abs().max()) or 1.0
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["task"].unique(), share_y=True)
        image = None
        for axis, (task, own) in zip(axes, rows.groupby("task", sort=False), strict=True):
            table = best.loc[task].unstack("strength")
            image = axis.imshow(table, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach)
            ends = own[own["chosen"]]
            x, y = table.columns.get_indexer(ends["strength"]), table.index.get_indexer(ends["layer"])
            axis.scatter(x, y, marker="s", s=30, lw=1, facecolors="none", edgecolors="black")
            axis.set_xticks(*ticks(table.columns, 5))
            axis.set_yticks(*ticks(table.index, 8))
            axis.set_title(words(str(task)))
        outer_labels(figure, "strength (raw)", "layer")
        if image is not None:
            figure.colorbar(image, ax=axes, label="gain of accuracy", shrink=0.8, pad=0.01)
        figure.caption = grid_caption(rows)
        return figure


def _gains(rows: pd.DataFrame, by: str, p: str, caption: Caption) -> Figure:
    """Gains with intervals by task, in a colour each; filled where p is below the level."""
    tasks, kinds = list(rows["task"].unique()), list(rows[by].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.4), layout="constrained")
        axis = figure.subplots()
        axis.axhline(0, color="black", lw=0.5)
        for number, kind in enumerate(kinds):
            own = rows[(rows[by] == kind) & rows["gain"].notna()]
            x = own["task"].map(tasks.index).to_numpy(dtype=float) + (number - (len(kinds) - 1) / 2) * 0.12
            colour = CONTROL if kind == RANDOM else INK[number]
            reach = [own["gain"] - own["gain_low"], own["gain_high"] - own["gain"]]
            axis.errorbar(x, own["gain"], yerr=reach, fmt="none", ecolor=colour, elinewidth=1, capsize=1.5)
            shown = (own[p] < LEVEL).to_numpy()
            look = {"color": colour, "marker": "o", "ms": 4, "ls": ""}
            axis.plot(x, own["gain"], mfc="white", label=words(str(kind)), **look)
            axis.plot(x[shown], own["gain"][shown], **look)
        axis.set_xticks(range(len(tasks)), [words(str(task)) for task in tasks])
        axis.set_ylabel("gain of accuracy")
        add_legend(figure)
        figure.caption = caption
        return figure


def _best_over(rows: pd.DataFrame, over: str) -> pd.Series:
    """The mean gain at each value of one axis, at the best value of the other one."""
    other = "layer" if over == "strength" else "strength"
    return rows.groupby([over, other])["gain"].mean().groupby(over).max()
