"""Figures of vectors: cosines, effects of extraction methods, and promoted tokens."""

import matplotlib as mpl
import numpy as np
import pandas as pd

from lens_steer.analysis.lens import vector_lens
from lens_steer.errors import ScoreError
from lens_steer.figures.captions.steering import methods_caption
from lens_steer.figures.captions.vectors import cosines_caption, tokens_caption
from lens_steer.figures.labels import visible
from lens_steer.figures.style import (
    BOTTOM,
    DOUBLE_COLUMN,
    STYLE,
    TOP,
    Figure,
    Rows,
    drawable,
    number_size,
    of_one,
    outer_labels,
    panels,
    tidy,
    words,
)
from lens_steer.hooks.sites import SiteLike
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector


def cosine_heatmap(cosines: Rows) -> Figure:
    """Cosines between named vectors, one panel per site.

    Args:
        cosines: from `cosine_map` or `layer_map`, or columns `first, second, site, cosine`.

    Returns:
        The figure, on a colour scale centred on 0.

    Raises:
        ScoreError: the frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    cosines = tidy(cosines, "to_frame")
    if {"first_site", "second_site", "vector"} <= set(cosines.columns):
        cosines = cosines.assign(site=cosines["vector"], first=cosines["first_site"], second=cosines["second_site"])
    drawable(cosines, ("first", "second", "site", "cosine"))
    with mpl.rc_context(STYLE):
        figure, axes = panels(cosines["site"].unique(), height=2.45, share_y=True)
        inches = 0.75 * figure.get_figwidth() * axes[0].get_position().width
        image = None
        for axis, (site, rows) in zip(axes, cosines.groupby("site", sort=False), strict=True):
            names = list(rows["first"].unique())
            grid = rows.pivot(index="first", columns="second", values="cosine").loc[names, names]
            image = axis.imshow(grid, cmap="RdBu_r", vmin=-1, vmax=1)
            labels, size = [name if "@" in name else words(name) for name in names], number_size(inches, len(names))
            axis.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(names)), labels)
            for (i, j), value in np.ndenumerate(grid.to_numpy()):
                text, colour = f"{value:.2f}".replace("-0.00", "0.00"), "white" if abs(value) > 0.6 else "black"
                if size:
                    axis.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)
            axis.set(title=str(site))
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
        if image is not None:
            figure.colorbar(image, ax=axes, label="cosine", shrink=0.85, pad=0.02)
        figure.caption = cosines_caption(cosines)
        return figure


def method_heatmap(table: pd.DataFrame) -> Figure:
    """Heat map of the effect of each method's vectors on each behaviour, with numbers.

    Args:
        table: effects in nats, one row per method, one column per behaviour and `mean`; NaN where no strength reaches
            the required side effects.

    Returns:
        The figure, on a colour scale centred on 0.

    Raises:
        ScoreError: the table is empty, or holds no number.
    """
    if not drawable(table, ()).notna().any(axis=None):
        raise ScoreError(
            "a table without one effect; give what effect_table makes of methods that reach the side effects."
        )
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, max(2.0, 0.22 * len(table) + 0.9)), layout="constrained")
        axis = figure.subplots()
        values = table.to_numpy(dtype=float)
        most = float(np.nanmax(np.abs(values)))
        image = axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        names = [words(str(name)) for name in table.columns]
        axis.set_xticks(range(len(names)), names, rotation=20, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(table)), [words(str(name)) for name in table.index])
        for (row, column), value in np.ndenumerate(values):
            shade = "white" if abs(value) > 0.6 * most else "black"
            axis.text(column, row, "-" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", color=shade)
        figure.colorbar(image, label="effect at equal KL (nats)", shrink=0.8)
        figure.caption = methods_caption(table)
        return figure


def lens_bars(
    tokens: Rows | SteeringVector, model: SteerableModel | None = None, site: SiteLike = -1, k: int = 10
) -> Figure:
    """The tokens that a vector promotes and suppresses, one panel per behaviour.

    Args:
        tokens: from `vector_lens`, or columns `behaviour, site, rank, end (top or bottom), token, logit`; or a vector,
            to which the logit lens is applied.
        model: the vector's model, where a vector is given.
        site: the site of the vector; the last layer where absent.
        k: number of tokens at each end, for a vector.

    Returns:
        The figure: horizontal bars of the lens logits, highest at the top.

    Raises:
        ScoreError: the frame is empty or lacks a column, or a behaviour has several sites.
        MismatchError: results of different models.
    """
    if isinstance(tokens, SteeringVector):
        if model is None:
            raise ScoreError(f"to read {tokens!r} through the lens, give its model: lens_bars(vector, model, site).")
        frame = vector_lens(model, tokens, site, k)
    else:
        frame = tidy(tokens, "to_frame")
    if "behaviour" not in frame.columns and "vector" in frame.columns:
        frame = frame.assign(behaviour=frame["vector"])
    drawable(frame, ("behaviour", "site", "end", "token", "logit"))
    with mpl.rc_context(STYLE):
        rows_each = int(frame.groupby("behaviour", sort=False).size().max())
        figure, axes = panels(frame["behaviour"].unique(), height=0.45 + 0.13 * rows_each, share_y=False)
        for axis, (name, rows) in zip(axes, frame.groupby("behaviour", sort=False), strict=True):
            rows = of_one(rows, ("vector", "site"), f"a lens of {name}").sort_values("logit").reset_index(drop=True)
            inks = [TOP if end == "top" else BOTTOM for end in rows["end"]]
            axis.barh(rows.index, rows["logit"], color=inks, height=0.75)
            axis.set_yticks(rows.index, [visible(token) for token in rows["token"]], fontsize=6)
            axis.axvline(0, color="black", lw=0.5)
            axis.set(title=f"{words(str(name))}\n{rows['site'].iloc[0]}", ylim=(-0.6, len(rows) - 0.4))
            axis.tick_params(axis="y", length=0)
        outer_labels(figure, "logit of the direction", "")
        figure.caption = tokens_caption(frame)
        return figure
