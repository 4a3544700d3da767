"""Figures of the geometry of directions: cosine atlas, planes of activations, norms, energy by dimension."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lens_steer.figures.captions.vectors import atlas_caption, energy_caption, norm_caption, plane_caption
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    LEAST_FONT,
    SINGLE_COLUMN,
    STYLE,
    Figure,
    drawable,
    evenly,
    log_x,
    number_size,
    words,
)

PER_LABEL = 0.095
"""The least height of a tick label of a site, inches."""
LEVEL = 0.05
MARKERS = "osD^vP*X"
AXES = {"pca": "PC{} ({:.0%} of variance)", "lda": "LD{} ({:.0%} of that between classes)"}


def cosine_atlas_map(atlas: pd.DataFrame, width: float = SINGLE_COLUMN) -> Figure:
    """All pairwise cosines: measured above the diagonal, corrected for noise (where known) below it.

    Args:
        atlas: from `cosine_atlas`.
        width: of the figure, inches.

    Returns:
        The figure, on a scale centred on 0; a dot marks a cosine not significantly different from that of random
        directions (Holm, 5 %). Lines separate the vectors, or the site kinds of a single vector; small
        labels are sites.

    Raises:
        ScoreError: the frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    columns = ("first", "first_site", "second", "second_site", "cosine", "corrected", "p_holm", "null")
    frame = drawable(atlas, columns)
    names = list(dict.fromkeys(zip(frame["first"], frame["first_site"], strict=True)))
    place = {name: index for index, name in enumerate(names)}
    grid, chance = np.full((len(names), len(names)), np.nan), []
    for row in frame.itertuples():
        i, j = sorted((place[row.first, row.first_site], place[row.second, row.second_site]))
        grid[i, j], grid[j, i] = row.cosine, row.cosine if np.isnan(row.corrected) else row.corrected
        chance += [(i, j), (j, i)] if row.p_holm >= LEVEL else []
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.8 * width + 0.2), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(np.clip(grid, -1, 1), cmap="RdBu_r", vmin=-1, vmax=1)
        size = number_size(0.6 * width, len(names))
        for (i, j), value in np.ndenumerate(grid):
            if size and i != j and not np.isnan(value):
                colour = "white" if abs(value) > 0.6 else "black"
                text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
                axis.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)
        far, dot = 0.3 if size else 0.0, min(2.0, 10 * width / len(names))
        axis.plot([j + far for _, j in chance], [i - far for i, _ in chance], "o", color="black", ms=dot, mew=0)
        _axes_of(axis, names, 0.6 * width)
        figure.colorbar(image, ax=axis, label="cosine", shrink=0.6, pad=0.02, ticks=(-1, -0.5, 0, 0.5, 1))
        figure.caption = atlas_caption(atlas)
        return figure


def plane_scatter(planes: pd.DataFrame, width: float = DOUBLE_COLUMN) -> Figure:
    """Positive (filled) and negative (hollow) activations; colour shows the behaviour, marker the letter.

    Args:
        planes: from `activation_plane`, of one or both kinds; only held-out rows are drawn.
        width: of the figure, inches.

    Returns:
        The figure, one panel per kind.

    Raises:
        ScoreError: the frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    columns = ("kind", "behaviour", "side", "letter", "x", "y", "held_out", "share_x", "share_y")
    frame = drawable(planes, columns)
    frame = drawable(frame[frame["held_out"]], columns)
    behaviours, letters = list(frame["behaviour"].unique()), list(frame["letter"].unique())
    colour = {name: INK[index % len(INK)] for index, name in enumerate(behaviours)}
    marker = {letter: MARKERS[index % len(MARKERS)] for index, letter in enumerate(letters)}
    kinds = list(frame["kind"].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, width / max(len(kinds), 1.2) * 0.78 + 0.35), layout="constrained")
        for axis, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
            rows = frame[frame["kind"] == kind]
            for (behaviour, side, letter), part in rows.groupby(["behaviour", "side", "letter"], sort=False):
                ink = colour[behaviour]
                face = ink if side == "positive" else "none"
                look = {"s": 11, "facecolors": face, "edgecolors": ink, "linewidths": 0.6, "alpha": 0.8}
                axis.scatter(part["x"], part["y"], marker=marker[letter], **look)
            form = AXES[kind]
            axis.set(xlabel=form.format(1, rows["share_x"].iloc[0]), ylabel=form.format(2, rows["share_y"].iloc[0]))
            axis.set_title("principal components" if kind == "pca" else "discriminants, rows held out")
        handles = [_mark("o", colour[name], colour[name], words(name)) for name in behaviours]
        handles += [_mark(marker[letter], "black", "none", letter) for letter in letters if letter]
        handles += [_mark("o", "black", "black", "positive"), _mark("o", "black", "none", "negative")]
        figure.legend(handles=handles, loc="outside upper center", ncols=int(width / 0.95), frameon=False)
        figure.caption = plane_caption(planes)
        return figure


def norm_curves(profile: pd.DataFrame, width: float = DOUBLE_COLUMN) -> Figure:
    """Norms of directions and activations by layer, one column per site kind.

    Args:
        profile: from `norm_profile`.
        width: of the figure, inches.

    Returns:
        The figure: norms in the top row (grey: median over each vector's training tokens), their ratio below.

    Raises:
        ScoreError: the frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    frame = drawable(profile, ("vector", "kind", "layer", "norm", "activation_norm", "relative"))
    kinds = list(frame["kind"].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 3.0), layout="constrained")
        grid = figure.subplots(2, len(kinds), sharex="col", sharey="row", squeeze=False)
        for (above, below), kind in zip(grid.T, kinds, strict=True):
            rows = frame[frame["kind"] == kind]
            for index, (name, line) in enumerate(rows.groupby("vector", sort=False)):
                ink, line = INK[index % len(INK)], line.groupby("layer").mean(numeric_only=True)
                grey = {"color": CONTROL, "lw": 0.9, "label": None if index else "activations"}
                above.plot(line.index, line["activation_norm"], **grey, zorder=1)
                above.plot(line.index, line["norm"], color=ink, lw=1.1, marker="o", ms=2.2, label=words(str(name)))
                below.plot(line.index, line["relative"], color=ink, lw=1.1, marker="o", ms=2.2)
            above.set_title(kind)
            below.set_xticks(evenly(sorted(rows["layer"].unique()), 9))
        grid[0, 0].set(ylabel="norm", ylim=(0, None))
        grid[1, 0].set(ylabel="vector / activation", ylim=(0, None))
        figure.supxlabel("layer", fontsize=8)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=max(2, int(width / 1.15)), frameon=False)
        figure.caption = norm_caption(profile)
        return figure


def energy_curves(profile: pd.DataFrame, width: float = DOUBLE_COLUMN) -> Figure:
    """The share of a direction's energy in its k largest dimensions, with the band of random directions.

    Args:
        profile: from `energy_profile`; where there are too many sites, evenly spaced ones are drawn.
        width: of the figure, inches.

    Returns:
        The figure, one panel per site.

    Raises:
        ScoreError: the frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    frame = drawable(profile, ("vector", "site", "k", "share", "null_low", "null_high", "n_random"))
    sites = evenly(list(frame["site"].unique()), max(1, int(width / 1.6)))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 2.1), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, len(sites), sharey=True)))
        for axis, site in zip(axes, sites, strict=True):
            rows = frame[frame["site"] == site]
            null = rows.drop_duplicates("k").sort_values("k")
            label = "random directions (95 %)"
            axis.fill_between(
                null["k"], null["null_low"], null["null_high"], color=CONTROL, alpha=0.4, lw=0, label=label
            )
            for index, (name, line) in enumerate(rows.groupby("vector", sort=False)):
                ink = INK[index % len(INK)]
                axis.plot(line["k"], line["share"], color=ink, lw=1.0, marker="o", ms=2, label=words(str(name)))
            axis.set(title=site, ylim=(0, 1.02))
            log_x(axis)
        axes[0].set_ylabel("share of the energy")
        figure.supxlabel("largest dimensions", fontsize=8)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=max(2, int(width / 1.3)), frameon=False)
        figure.caption = energy_caption(profile)
        return figure


def _axes_of(axis: Axes, names: list[tuple[str, str]], inches: float) -> None:
    """Names of vectors; or of blocks of one vector or site kind, with lines between them and small names of sites."""
    vectors, sites = (list(dict.fromkeys(name[part] for name in names)) for part in (0, 1))
    kinds = {site.partition("@")[0] for site in sites}
    layers = len(vectors) == 1 or len(kinds) == 1
    title = f"layers of {kinds.pop()}" if layers else ""
    axis.set_title(sites[0] if len(sites) == 1 else words(vectors[0]) if len(vectors) == 1 else title)
    groups = [site.partition("@")[0] if len(vectors) == 1 < len(sites) else words(vector) for vector, site in names]
    starts = [index for index in range(len(names)) if not index or groups[index] != groups[index - 1]]
    ends, pad = [*starts[1:], len(names)], 3.0
    for start in starts[1:] if len(sites) > 1 else []:
        axis.axhline(start - 0.5, color="black", lw=0.7)
        axis.axvline(start - 0.5, color="black", lw=0.7)
    if len(sites) > 1:
        step = math.ceil(len(names) / (inches / PER_LABEL))
        shown = [place for start, end in zip(starts, ends, strict=True) for place in range(start, end, step)]
        labels = [names[place][1].partition("@")[2] if layers else names[place][1] for place in shown]
        axis.set_xticks(shown, labels, minor=True)
        axis.set_yticks(shown, labels, minor=True)
        axis.tick_params(which="minor", labelsize=LEAST_FONT)
        axis.tick_params(axis="x", which="minor", labelrotation=90)
        axis.xaxis.remove_overlapping_locs = axis.yaxis.remove_overlapping_locs = False
        pad += 0.7 * LEAST_FONT * max(map(len, labels)) + 2
    blocks = evenly([((start + end - 1) / 2, groups[start]) for start, end in zip(starts, ends, strict=True)], 12)
    places, labels = [place for place, _ in blocks], [label for _, label in blocks]
    axis.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(places, labels)
    axis.spines[:].set_visible(False)
    axis.tick_params(which="both", length=0)
    axis.tick_params(which="major", pad=pad)


def _mark(marker: str, ink: str, face: str, label: str) -> Line2D:
    """A legend entry."""
    return Line2D([], [], ls="", marker=marker, ms=3.5, mec=ink, mfc=face, mew=0.7, label=label)
