"""The figure of function vectors: gain over layers, gain beside random sums of heads, and accuracy, a column a task."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.experiments.function_vectors.experiment import SHOWN, SHUFFLED, ZERO
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.figures.captions.common import counted, of_model, sample
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    STEERED,
    STYLE,
    Caption,
    Figure,
    add_legend,
    drawable,
    words,
)

BARS = {
    (ZERO, "unsteered"): "query alone",
    (ZERO, STEERING): "with the vector",
    (SHUFFLED, "unsteered"): "shuffled examples",
    (SHUFFLED, STEERING): "with the vector",
    (SHOWN, "unsteered"): "examples",
}


def function_vector_panels(layers: pd.DataFrame, chosen: pd.DataFrame, accuracy: pd.DataFrame) -> Figure:
    """Function vectors beside random sums of heads, one column of panels a task.

    Args:
        layers: from `compare_function_vectors`: columns `task, vector, layer, gain`.
        chosen: likewise: `task, way, vector, gain, gain_low, gain_high, n`.
        accuracy: likewise: `task, way, vector, accuracy, low, high`.

    Returns:
        The figure: above, the gain on validation over layers, below it the accuracy on test queries; grey is the range
        of the random sums.

    Raises:
        ScoreError: a frame is empty or lacks a column.
    """
    drawable(layers, ("task", "vector", "layer", "gain"))
    drawable(chosen, ("task", "way", "vector", "gain", "gain_low", "gain_high", "n"))
    drawable(accuracy, ("task", "way", "vector", "accuracy", "low", "high"))
    tasks = list(layers["task"].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(DOUBLE_COLUMN / 3 * len(tasks), 3.35), 4.0), layout="constrained")
        axes = np.atleast_2d(figure.subplots(2, len(tasks), sharey="row", squeeze=False))
        for (upper, lower), task in zip(axes.T, tasks, strict=True):
            _over_layers(upper, layers[layers["task"] == task])
            _accuracies(lower, accuracy[accuracy["task"] == task])
            upper.set(title=words(str(task)), xlabel="layer")
        axes[0, 0].set_ylabel("gain on validation (nats)")
        axes[1, 0].set_ylabel("accuracy on test")
        add_legend(figure)
        figure.caption = _caption(layers, chosen)
        return figure


def _over_layers(axis: Axes, rows: pd.DataFrame) -> None:
    """The vector's gain over layers, above the range of the random sums."""
    line = rows[rows["vector"] == STEERING].sort_values("layer")
    random = rows[rows["vector"] != STEERING].groupby("layer")["gain"]
    if len(random):
        low, high = random.min(), random.max()
        axis.fill_between(low.index, low, high, color=CONTROL, alpha=0.4, lw=0, label="random sums of heads, range")
    axis.plot(line["layer"], line["gain"], color=STEERED, marker="o", ms=2.5, lw=1.2, label="function vector")
    axis.axhline(0, color="black", lw=0.4, ls=":")
    locator: Any = axis.xaxis.get_major_locator()
    locator.set_params(integer=True)


def _accuracies(axis: Axes, rows: pd.DataFrame) -> None:
    """The accuracy in every way of asking, with its interval, and the range of the random sums beside it."""
    labels = []
    for place, ((way, vector), label) in enumerate(BARS.items()):
        here: Any = rows[rows["way"] == way].set_index("vector")
        value, low, high = (float(here.loc[vector, name]) for name in ("accuracy", "low", "high"))
        colour = STEERED if vector == STEERING else "black"
        axis.errorbar([place], [value], [[value - low], [high - value]], fmt="o", color=colour, ms=4, elinewidth=0.9)
        random = here[here.index.str.startswith("random")]["accuracy"]
        if vector == STEERING and len(random):
            axis.vlines(place + 0.3, random.min(), random.max(), color=CONTROL, lw=4, alpha=0.7)
            axis.plot(place + 0.3, random.median(), "_", color="black", ms=5)
        labels.append(label)
    axis.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axis.set(ylim=(-0.03, 1.03), yticks=(0, 0.25, 0.5, 0.75, 1))


def _caption(layers: pd.DataFrame, chosen: pd.DataFrame) -> Caption:
    """Of `function_vector_panels`."""
    random = layers["vector"].nunique() - 1
    return Caption(
        shown=f"Function vectors of {counted(layers['task'].nunique(), 'task')}{of_model(layers)}. Above: gain in the "
        "log-likelihood of the answer to a query without examples, over layers, at each layer's best strength on "
        "validation queries. Below: share of test queries whose answer is likeliest, at each vector's chosen point; "
        "grey bars are the range of the random sums, with their median.",
        n=sample(chosen, "test query").replace("querys", "queries"),
        interval="95 %, Agresti-Coull; none above",
        control=f"{random} sums of as many random heads, scaled to the vector's norm, each at its own chosen point",
        strength_scale="raw",
        side_effects="not drawn; in the study's table of side effects",
    )
