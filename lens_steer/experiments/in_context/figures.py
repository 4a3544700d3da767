"""Figures of the comparison, one panel a task: the change of the right answer by vector, and what it costs."""

import matplotlib as mpl
import pandas as pd

from lens_steer.experiments.in_context.experiment import STEERING
from lens_steer.figures.captions.common import counted, sample
from lens_steer.figures.style import (
    CONTROL,
    INK,
    STYLE,
    Caption,
    Figure,
    add_legend,
    drawable,
    interval_points,
    log_x,
    outer_labels,
    panels,
    words,
)

MARKERS = {"zero_shot": ("o", -0.12), "shuffled_shot": ("s", 0.12)}
LABELS = {
    "icv_last": "ICV last",
    "icv_last_four": "ICV four",
    "function_vector": "FV",
    "mean_difference": "MD",
}
"""Short names below a panel; the caption says what they are."""


def effect_strip(effects: pd.DataFrame) -> Figure:
    """The change of the right answer's log-likelihood by each vector, beside that of its controls.

    Args:
        effects: from `in_context`, one row a task, method, vector and condition.

    Returns:
        The figure: points with intervals over test pairs; grey bars span the controls.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    columns = ("task", "method", "vector", "condition", "change", "change_low", "change_high", "n")
    rows = drawable(effects, columns)
    methods = list(rows["method"].unique())
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["task"].unique(), share_y=False)
        for axis, (name, own) in zip(axes, rows.groupby("task", sort=False), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for (condition, (marker, side)), colour in zip(MARKERS.items(), INK, strict=False):
                here = own[own["condition"] == condition]
                x = here["method"].map(methods.index) + side
                spread = here[here["vector"] != STEERING].groupby("method", sort=False)["change"].agg(["min", "max"])
                at = [methods.index(method) + side for method in spread.index]
                axis.vlines(at, spread["min"], spread["max"], color=CONTROL, lw=5, alpha=0.5, label="controls")
                steering = here["vector"] == STEERING
                interval_points(axis, here[steering], x[steering], "change", colour, marker, words(condition))
            labels = [LABELS.get(method, words(method)) for method in methods]
            axis.set_xticks(range(len(methods)), labels, rotation=30, ha="right", rotation_mode="anchor")
            axis.set_title(words(str(name)))
        outer_labels(figure, "", "change (nats a token)")
        add_legend(figure)
        controls = rows["vector"].nunique() - 1
        figure.caption = Caption(
            shown="Change of the log-likelihood of the right answer by in-context vectors (ICV; last token, or mean of "
            "the last four), function vector (FV) and mean difference (MD), each at the strength chosen on validation "
            "pairs; prompts without examples, and behind examples with permuted labels.",
            n=sample(rows, "test pair"),
            interval="95 % percentile bootstrap over test pairs",
            control=f"{counted(controls, 'control')} of each vector (bars: least to most), at its own best strength: "
            "sums of as many other heads of the same norm for FV, random directions for the others",
            strength_scale="ICV in norms of the activation, FV and MD in vectors as extracted",
        )
        return figure


def side_effect_curves(strengths: pd.DataFrame) -> Figure:
    """What each vector gains on validation pairs over its KL on neutral text, strength by strength.

    Args:
        strengths: from `in_context`, one row a task, method and strength.

    Returns:
        The figure: a line for each vector, the chosen strength filled.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(strengths, ("task", "method", "strength", "chosen", "change", "kl", "n_texts"))
    with mpl.rc_context(STYLE):
        figure, axes = panels(rows["task"].unique(), share_y=False)
        for axis, (name, own) in zip(axes, rows.groupby("task", sort=False), strict=True):
            axis.axhline(0, color="black", lw=0.5)
            for colour, (method, line) in zip(INK, own.groupby("method", sort=False), strict=False):
                look = {"color": colour, "marker": "o", "ms": 3}
                axis.plot(line["kl"], line["change"], lw=1, mfc="white", label=LABELS.get(method, method), **look)
                chosen = line[line["chosen"].astype(bool)]
                axis.plot(chosen["kl"], chosen["change"], lw=0, **look)
            log_x(axis)
            axis.set_title(words(str(name)))
        outer_labels(figure, "KL on neutral text (nats a token)", "change (nats a token)")
        add_legend(figure)
        figure.caption = Caption(
            shown="Change of the log-likelihood of the right answer on zero-shot validation prompts, over the KL of "
            "the same vector on neutral text, written at all tokens; one mark a strength, the chosen one filled.",
            n=counted(int(rows["n_texts"].max()), "neutral text"),
            interval="none: strengths are chosen here, and reported with intervals on test pairs",
            control="none drawn; controls are in the table of effects",
            strength_scale="ICV in norms of the activation, FV and MD in vectors as extracted",
        )
        return figure
