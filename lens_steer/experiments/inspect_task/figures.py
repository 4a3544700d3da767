"""The figure of a task of Inspect: the score of every arm, and its change from unsteered."""

import matplotlib as mpl
import pandas as pd

from lens_steer.experiments.inspect_task.experiment import STEERING, UNSTEERED
from lens_steer.figures.captions.common import of_model, sample, scale, steered
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    STEERED,
    STYLE,
    Caption,
    Figure,
    drawable,
    words,
)

PANELS = (("score", "score"), ("change", "change from unsteered"))


def task_arms(arms: pd.DataFrame) -> Figure:
    """The mean score of every arm, and its change from unsteered, sample by sample.

    Args:
        arms: from `evaluate_task`, one row a scorer and arm.

    Returns:
        The figure: two panels, a group of points a scorer.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    numbers = [f"{column}{end}" for column, _ in PANELS for end in ("", "_low", "_high")]
    rows = drawable(arms, ("task", "scorer", "arm", "n", "scale", *numbers))
    scorers, colours = list(rows["scorer"].unique()), {UNSTEERED: "black", STEERING: STEERED}
    places = [number + scorers.index(scorer) for number, scorer in enumerate(rows["scorer"])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 1.2 + 0.17 * len(rows)), layout="constrained")
        for axis, (column, title) in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
            for place, row in zip(places, rows.to_dict("records"), strict=True):
                value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
                look = {"color": colours.get(str(row["arm"]), CONTROL), "marker": "o", "ms": 3.5, "capsize": 1.5}
                axis.errorbar(value, place, xerr=[[value - low], [high - value]], elinewidth=1, **look)
            axis.set_title(title)
        figure.axes[0].set_yticks(places, [words(str(arm)) for arm in rows["arm"]])
        figure.axes[0].invert_yaxis()
        figure.axes[1].axvline(0, color="black", lw=0.5, ls=":")
        figure.caption = _caption(rows)
        return figure


def _caption(rows: pd.DataFrame) -> Caption:
    """Of `task_arms`."""
    named = ", then ".join(map(str, rows["scorer"].unique()))
    return Caption(
        shown=f"The task {rows['task'].iloc[0]}{of_model(rows)}: mean score ({named}) without steering, with the "
        "vector and with random directions, and its change from unsteered on the same samples.",
        n=sample(rows, "sample"),
        interval="95 % over samples (bootstrap-t)",
        control=steered(rows.assign(vector=rows["arm"]), "at the same site and strength"),
        strength_scale=scale(rows),
        side_effects="not of this task: the score is what is judged; the share of collapsed answers is in the table",
    )
