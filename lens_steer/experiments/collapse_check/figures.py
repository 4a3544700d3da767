"""The figure of collapse: every diagnostic against strength, with the collapsed region shaded."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.figures.captions.common import IN_FACTS, of_model, scale
from lens_steer.figures.style import COLLAPSED, DOUBLE_COLUMN, STYLE, Caption, Figure, drawable, of_one

INK = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
ONSET = ("direction", "strength", "low", "high", "censored")
ANSWERS = (
    {"matching_rate": "matching rate"},
    {"modal_letter_share": "modal share", "answer_probability": "answer probability", "faulty_share": "faulty"},
    {"answer_entropy": "entropy of letters", "gold_entropy": "of gold (bits)"},
)
GENERATION = (
    {"distinct_n": "distinct-n", "cross_prompt_similarity": "cross-prompt similarity"},
    {"repetition_share": "repetition", "looping_share": "in a loop"},
    {"ngram_entropy": "n-gram entropy (bits)", "step_entropy": "step (nats)"},
)


def collapse_diagnostics(strengths: pd.DataFrame, thresholds: pd.DataFrame) -> Figure:
    """All diagnostics of collapse against strength: answers above, generated text below.

    Args:
        strengths: from `check_collapse`, one row a strength.
        thresholds: from `check_collapse`, one row a rule and direction.

    Returns:
        The figure: shading begins at the onset of collapse, whose interval is the bar at the top of each panel (up to
        the edge where it is censored); crosses are collapsed points.

    Raises:
        ScoreError: a frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    shown = [column for part in (*ANSWERS, *GENERATION) for column in part]
    drawable(strengths, ("strength", "scale", "answers_collapsed", "generation_collapsed", *shown))
    of_one(strengths, ("scale",), "diagnostics of collapse")
    drawable(thresholds, ("rule", *ONSET))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.4), layout="constrained")
        grid = figure.subplots(2, 3, sharex=True)
        for row, (rule, panels) in zip(grid, (("answers", ANSWERS), ("generation", GENERATION)), strict=True):
            collapsed = strengths[f"{rule}_collapsed"].to_numpy(dtype=bool)
            for axis, columns in zip(row, panels, strict=True):
                _panel(axis, strengths, columns, collapsed)
                _shade(axis, thresholds[thresholds["rule"] == rule], strengths["strength"])
                top = float(np.nanmax([1.0, *strengths[list(columns)].max()]))
                axis.set_ylim(-0.04 * top, 1.1 * top)
            row[0].set_ylabel(rule)
        grid[0, 0].set_xlim(strengths["strength"].min(), strengths["strength"].max())
        scale = strengths["scale"].iloc[0]
        figure.supxlabel(f"strength ({scale}); shaded: collapsed, bars: interval of the onset", fontsize=8)
        figure.caption = _collapse_caption(strengths, thresholds)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame, columns: dict[str, str], collapsed: np.ndarray) -> None:
    """The lines of one panel, with crosses where the rule says collapsed."""
    for (column, label), colour in zip(columns.items(), INK, strict=False):
        x, y = rows["strength"].to_numpy(), rows[column].to_numpy(dtype=float)
        axis.plot(x, y, color=colour, lw=1.1, marker="o", ms=2, label=label)
        axis.plot(x[collapsed], y[collapsed], "x", color=colour, ms=4, mew=1)
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.97), "ncols": 3, "frameon": False}
    axis.legend(**place, handlelength=1.0, columnspacing=0.8, handletextpad=0.4)


def _shade(axis: Axes, thresholds: pd.DataFrame, strengths: pd.Series) -> None:
    """Shades from each onset outwards, and draws its interval at the top."""
    for direction, begins, low, high, censored in thresholds[list(ONSET)].itertuples(index=False):
        if censored:
            continue
        edge = float(strengths.max() if direction == "adding" else strengths.min())
        axis.axvspan(begins, edge, color=COLLAPSED, alpha=0.13, lw=0)
        ends = [edge if np.isinf(end) else end for end in (low, high)]
        axis.plot(
            ends, [0.97, 0.97], color=COLLAPSED, lw=2, transform=axis.get_xaxis_transform(), solid_capstyle="butt"
        )


def _collapse_caption(strengths: pd.DataFrame, thresholds: pd.DataFrame) -> Caption:
    """Of `collapse_diagnostics`."""
    found = int((~thresholds["censored"].astype(bool)).sum())
    return Caption(
        shown=f"Diagnostics of collapse{of_model(strengths)} over strength, of answers (above) and of generated text "
        "(below); crosses are points that the rule calls collapsed, shading begins at the onset.",
        n=f"{len(strengths)} strengths; items and prompts {IN_FACTS}",
        interval=f"bars: 95 % bootstrap of the {found} onsets found of {len(thresholds)} looked for",
        control="the unsteered model at strength 0; no random directions",
        strength_scale=scale(strengths),
    )
