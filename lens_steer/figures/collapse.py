# pyright: reportArgumentType=false, reportCallIssue=false
"""The figure of collapse: every diagnostic against strength, with the collapsed region shaded."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lens_steer.figures.style import COLLAPSED, DOUBLE_COLUMN, STYLE

INK = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
ANSWERS = (
    ("matching rate", {"matching_rate": "matching rate"}, (0, 1)),
    ("letters", {"modal_letter_share": "modal share", "letter_mass": "letter mass", "faulty_share": "faulty"}, (0, 1)),
    ("entropy of letters", {"answer_entropy": "answers", "gold_entropy": "gold"}, (0, 1)),
)
GENERATION = (
    ("diversity", {"distinct_n": "distinct-n", "cross_prompt_similarity": "similarity"}, (0, 1)),
    ("repetition", {"repetition_share": "repetition", "looping_share": "loops"}, (0, 1)),
    ("entropies", {"ngram_entropy": "n-grams (bits)", "step_entropy": "step (nats)"}, None),
)


def collapse_diagnostics(strengths: pd.DataFrame, thresholds: pd.DataFrame) -> Figure:
    """All diagnostics of collapse against strength: answers above, generated text below.

    Args:
        strengths: from `check_collapse`, one row a strength.
        thresholds: from `check_collapse`, one row a rule and direction.

    Returns:
        The figure: shading begins at the onset of collapse, whose interval is the bar at the top of each panel (up to
        the edge where it is censored); crosses are collapsed points.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 3.5), layout="constrained")
        grid = figure.subplots(2, 3, sharex=True)
        for row, (rule, panels) in zip(grid, (("answers", ANSWERS), ("generation", GENERATION)), strict=True):
            for axis, (title, columns, limits) in zip(row, panels, strict=True):
                _panel(axis, strengths, columns, strengths[f"{rule}_collapsed"].to_numpy(dtype=bool))
                axis.set_title(f"{rule}: {title}")
                if limits:
                    axis.set_ylim(-0.04, 1.12)
                _shade(axis, thresholds[thresholds["rule"] == rule], strengths["strength"])
                axis.legend(loc="center left", framealpha=0.8, edgecolor="none", borderpad=0.2, handlelength=1.2)
        grid[0, 0].set_xlim(strengths["strength"].min(), strengths["strength"].max())
        figure.supxlabel(f"strength ({strengths['scale'].iloc[0]})", fontsize=8)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame, columns: dict[str, str], collapsed: np.ndarray) -> None:
    """The lines of one panel, with crosses where the rule says collapsed."""
    for (column, label), colour in zip(columns.items(), INK, strict=False):
        x, y = rows["strength"].to_numpy(), rows[column].to_numpy(dtype=float)
        axis.plot(x, y, color=colour, lw=1.1, marker="o", ms=2, label=label)
        axis.plot(x[collapsed], y[collapsed], "x", color=colour, ms=4, mew=1)


def _shade(axis: Axes, thresholds: pd.DataFrame, strengths: pd.Series) -> None:
    """Shades from each onset outwards, and draws its interval at the top."""
    for entry in thresholds.itertuples():
        edge = float(strengths.max() if entry.direction == "adding" else strengths.min())
        if entry.censored:
            continue
        axis.axvspan(entry.strength, edge, color=COLLAPSED, alpha=0.13, lw=0)
        ends = [edge if np.isinf(end) else end for end in (entry.low, entry.high)]
        axis.plot(
            ends, [0.97, 0.97], color=COLLAPSED, lw=2, transform=axis.get_xaxis_transform(), solid_capstyle="butt"
        )
