"""The figure of collapse: what the two rules compare, over strength, with the limits and the collapsed region."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lens_steer.experiments.collapse_check.experiment import STEERING
from lens_steer.figures.captions.common import counted, directions, of_model, scale
from lens_steer.figures.style import (
    COLLAPSED,
    CONTROL,
    SINGLE_COLUMN,
    STEERED,
    STYLE,
    Caption,
    Figure,
    drawable,
    of_one,
    range_bars,
)
from lens_steer.metrics.collapse import ANSWER_PROBABILITY_LIMIT, FAULTY_LIMIT, MODAL_LIMIT
from lens_steer.metrics.collapse.generation import COLLAPSED_LIMIT, SIMILARITY_LIMIT

ONSET = ("direction", "strength", "low", "high", "censored")
ROW_HEIGHT, UNDER = 1.1, 1.15
"""Inches: of a row of panels, and of what is below them."""
PANELS = {
    "answers": (
        ("modal_letter_share", "modal letter share", MODAL_LIMIT),
        ("answer_probability", "answer probability", ANSWER_PROBABILITY_LIMIT),
        ("faulty_share", "faulty share", FAULTY_LIMIT),
    ),
    "generation": (
        ("collapsed_share", "collapsed share", COLLAPSED_LIMIT),
        ("cross_prompt_similarity", "cross-prompt similarity", SIMILARITY_LIMIT),
        ("distinct_n", "distinct 3-grams", None),
    ),
}
TITLES = {"answers": "answers", "generation": "generated text"}


def collapse_diagnostics(strengths: pd.DataFrame, thresholds: pd.DataFrame) -> Figure:
    """What the rules of collapse compare with their limits, over strength: a column for each rule.

    Args:
        strengths: from `check_collapse`, one row for each vector and strength.
        thresholds: from `check_collapse`, one row for each vector, rule and direction.

    Returns:
        The figure: the vector, and the range of the random directions at each strength; shading begins at the onset of
        collapse, whose interval is the bar at the top of each panel (up to the edge where it is open); crosses are
        collapsed points.

    Raises:
        ScoreError: a frame is empty or lacks a column.
        MismatchError: results of different models.
    """
    drawable(thresholds, ("vector", "rule", "n", *ONSET))
    rules = [rule for rule in PANELS if (thresholds["rule"] == rule).any()]
    shown = [column for rule in rules for column, _, _ in PANELS[rule]]
    drawable(strengths, ("vector", "strength", "scale", *(f"{rule}_collapsed" for rule in rules), *shown))
    of_one(strengths, ("scale",), "diagnostics of collapse")
    onsets = thresholds[thresholds["vector"] == STEERING]
    with mpl.rc_context(STYLE):
        size = (SINGLE_COLUMN, 3 * ROW_HEIGHT + UNDER)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(3, len(rules), sharex=True, sharey=True, squeeze=False)
        for column, rule in zip(grid.T, rules, strict=True):
            for axis, (name, label, limit) in zip(column, PANELS[rule], strict=True):
                _panel(axis, strengths, name, strengths[f"{rule}_collapsed"].astype(bool), limit)
                _shade(axis, onsets[onsets["rule"] == rule], strengths["strength"])
                axis.set_title(label, fontsize=7, pad=3)
            column[0].annotate(TITLES[rule], (0.5, 1.24), xycoords="axes fraction", ha="center", weight="bold")
            column[-1].set_xlabel(f"strength ({strengths['scale'].iloc[0]})")
        least, most = strengths["strength"].min(), strengths["strength"].max()
        grid[0, 0].set_xlim(least - 0.05 * (most - least), most + 0.05 * (most - least))
        grid[0, 0].set_ylim(-0.06, 1.14)
        grid[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.legend(handles=_legend(strengths), loc="outside lower center", ncols=2, frameon=False, fontsize=6.5)
        figure.caption = _collapse_caption(strengths, thresholds)
        return figure


def _panel(axis: Axes, rows: pd.DataFrame, name: str, collapsed: pd.Series, limit: float | None) -> None:
    """One quantity: the vector's line, crosses where the rule says collapsed, the controls' range, the limit."""
    steering = (rows["vector"] == STEERING).to_numpy()
    x, y, fallen = (column[steering].to_numpy() for column in (rows["strength"], rows[name], collapsed))
    if not steering.all():
        controls = rows[~steering].groupby("strength")[name]
        range_bars(axis, controls.min(), controls.max(), "")
    if limit is not None:
        axis.axhline(limit, color="black", lw=0.6, ls=(0, (4, 3)))
    axis.plot(x, y, color=STEERED, lw=1.1)
    axis.plot(x[~fallen], y[~fallen], "o", color=STEERED, ms=2.2)
    axis.plot(x[fallen], y[fallen], "x", color=STEERED, ms=4, mew=1)


def _shade(axis: Axes, onsets: pd.DataFrame, strengths: pd.Series) -> None:
    """Shades from each onset outwards, and draws its interval at the top."""
    for direction, begins, low, high, censored in onsets[list(ONSET)].itertuples(index=False):
        if censored:
            continue
        edge = float(strengths.max() if direction == "adding" else strengths.min())
        axis.axvspan(begins, edge, color=COLLAPSED, alpha=0.13, lw=0)
        ends = [edge if np.isinf(end) else end for end in (low, high)]
        top = axis.get_xaxis_transform()
        axis.plot(ends, [0.97, 0.97], color=COLLAPSED, lw=2, marker="|", ms=5, mew=1.5, transform=top)


def _legend(strengths: pd.DataFrame) -> list[Line2D | Patch]:
    """What the marks mean."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=STEERED, lw=1.1, marker="o", ms=2.2, label="the vector"),
        Line2D([], [], color=STEERED, lw=0, marker="x", ms=4, label="the vector, collapsed"),
        Line2D([], [], color="black", lw=0.6, ls=(0, (4, 3)), label="limit of the rule"),
        Line2D([], [], color=COLLAPSED, lw=2, marker="|", ms=5, mew=1.5, label="interval of the onset"),
        Patch(color=COLLAPSED, alpha=0.13, lw=0, label="from the onset on"),
    ]
    controls = strengths["vector"].nunique() - 1
    if controls:
        look = {"color": CONTROL, "alpha": 0.5, "lw": 3}
        handles.append(Line2D([], [], **look, label=f"range, {counted(controls, 'random direction')}"))
    return handles


def _collapse_caption(strengths: pd.DataFrame, thresholds: pd.DataFrame) -> Caption:
    """Of `collapse_diagnostics`."""
    steering = thresholds["vector"] == STEERING
    rules = thresholds[steering].drop_duplicates("rule")
    nouns = {"answers": "items in both option orders", "generation": "prompts"}
    sizes = [f"{n} {nouns[rule]}" for rule, n in rules[["rule", "n"]].itertuples(index=False)]
    begun = int((~thresholds["censored"].astype(bool))[steering].sum())
    control = directions(strengths["vector"].nunique() - 1, "at the same strengths")
    return Caption(
        shown=f"What the rules of collapse compare{of_model(strengths)}, over strength; dashed: the limit of the rule "
        "(distinct 3-grams have none); crosses are collapsed points, shading begins at the onset of collapse.",
        n=f"{', '.join(sizes)}; {counted(strengths['strength'].nunique(), 'strength')}",
        interval=f"bars: 95 % bootstrap of the {begun} onsets found of {int(steering.sum())} looked for",
        control=f"the unsteered model at strength 0; {_begun(control, thresholds[~steering])}",
        strength_scale=scale(strengths),
        side_effects="none measured beside what is drawn",
    )


def _begun(control: str, onsets: pd.DataFrame) -> str:
    """The control, with how many of its onsets were found and the range of their sizes."""
    sizes = onsets.loc[~onsets["censored"].astype(bool), "strength"].abs()
    if not len(onsets):
        return "no random directions"
    between = f", at strengths of {sizes.min():.2g} to {sizes.max():.2g}" if len(sizes) else ""
    return f"{control}, with {len(sizes)} onsets of {len(onsets)} looked for{between}"
