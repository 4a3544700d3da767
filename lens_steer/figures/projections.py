"""Figure of projection maps: a text with tokens coloured by projection, unsteered above steered."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import cm, colors
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lens_steer._util.printable import printable
from lens_steer.errors import ScoreError
from lens_steer.figures.captions.attribution import strip_caption
from lens_steer.figures.style import DOUBLE_COLUMN, STYLE, Figure, Rows, drawable, of_one, tidy

LINE, CHARACTERS, FONT = 0.17, 92, 6.2
NAMES = {"z": "z against neutral text", "projection": "projection (units of the site)", "cosine": "cosine"}


def projection_strip(tokens: Rows, value: str = "z", skip_first: bool = True) -> Figure:
    """A text with each token coloured by its projection; one block per run.

    Args:
        tokens: of one text, from `ProjectionMap.to_frame`: columns `vector, site, position, piece, steered` and the
            value's.
        value: z, projection or cosine.
        skip_first: leave the first token white and out of the scale, because the norm of BOS is usually much larger.

    Returns:
        The figure, on one colour scale centred on 0, up to the largest absolute value of all runs.

    Raises:
        ScoreError: the frame is empty, lacks a column, holds several texts, vectors or sites, or has no such values.
        MismatchError: results of different models.
    """
    tokens = tidy(tokens, "to_frame")
    drawable(tokens, ("vector", "site", "position", "piece", "steered", value))
    of_one(tokens, ("text", "vector", "site"), "a projection strip")
    counted = tokens[tokens["position"] > 0] if skip_first else tokens
    if counted[value].count() == 0:
        raise ScoreError(f"{value} of no token; z needs neutral texts, or give value='projection'.")
    with mpl.rc_context(STYLE):
        runs = [(name, rows.sort_values("position")) for name, rows in tokens.groupby("steered")]
        lines = {steered: _lines(rows["piece"]) for steered, rows in runs}
        heights = [1 + max(line for line, *_ in lines[steered]) for steered, _ in runs]
        most = float(counted[value].abs().max()) or 1.0
        figure = Figure(figsize=(DOUBLE_COLUMN, LINE * sum(heights) + 0.27 * len(runs) + 0.55), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(len(runs), 1, height_ratios=heights)))
        scale = cm.ScalarMappable(colors.Normalize(-most, most), "RdBu_r")
        for axis, (steered, rows), height in zip(axes, runs, heights, strict=True):
            _strip(axis, rows, lines[steered], height, value, scale, skip_first)
            axis.set_title("steered" if steered else "unsteered", loc="left", pad=2)
        label = f"{NAMES.get(value, value)}: {tokens['vector'].iloc[0]} at {tokens['site'].iloc[0]}"
        figure.colorbar(scale, ax=axes, label=label, orientation="horizontal", aspect=60, shrink=0.6, pad=0.02)
        figure.caption = strip_caption(tokens, value)
        return figure


def _strip(
    axis: Axes,
    rows: pd.DataFrame,
    places: list[tuple[int, int, str]],
    height: int,
    value: str,
    scale: cm.ScalarMappable,
    skip_first: bool,
) -> None:
    """The tokens of one run."""
    most = float(scale.get_clim()[1] or 1.0)
    for (line, start, text), position, number in zip(places, rows["position"], rows[value], strict=True):
        blank = (skip_first and position == 0) or np.isnan(number)
        ground = "white" if blank else scale.to_rgba(number)
        axis.add_patch(Rectangle((start, line), len(text), 0.94, facecolor=ground, edgecolor="white", lw=0.4))
        ink = "white" if not blank and abs(number) > 0.62 * most else "black"
        axis.text(
            start + len(text) / 2, line + 0.47, text, family="monospace", fontsize=FONT, ha="center", va="center",
            color=ink, parse_math=False,
        )  # fmt: skip
    axis.set(xlim=(0, CHARACTERS), ylim=(height, 0))
    axis.axis("off")


def _lines(pieces: pd.Series) -> list[tuple[int, int, str]]:
    """The line, first column and label of each token; a line break in the text starts a new line."""
    places, line, column = [], 0, 0
    for piece in pieces:
        text = printable(piece, {"\n": "↵", "\t": "→"}, other="·") or "·"
        if column and column + len(text) > CHARACTERS:
            line, column = line + 1, 0
        places.append((line, column, text[:CHARACTERS]))
        column += len(text)
        if "\n" in piece:
            line, column = line + 1, 0
    return places
