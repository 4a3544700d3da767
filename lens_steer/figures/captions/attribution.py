"""Captions of attribution figures: contributions, maps of components, persistence, projections."""

import pandas as pd

from lens_steer.figures.captions.common import (
    NO_STRENGTH,
    OF_THE_EDIT,
    compared,
    counted,
    interval,
    names,
    of_model,
    sample,
    steered,
)
from lens_steer.figures.style import Caption, words


def bars_caption(summary: pd.DataFrame) -> Caption:
    """Of `attribution_bars`."""
    additive = bool(summary["additive"].iloc[0])
    parts = "sum to the total" if additive else "are measured individually and do not sum to the total"
    return Caption(
        shown=f"Contribution of each component{of_model(summary)} to the {names(summary['quantity'])}, "
        f"{float(summary['measured'].iloc[0]):.3g} in total (dashed); the contributions {parts}.",
        n=f"{sample(summary, 'item')}, {counted(len(summary), 'component')}",
        interval=interval(summary, "items"),
        control="none: parts of one effect, which sum to it" if additive else "none: each part is ablated by itself",
        strength_scale=OF_THE_EDIT,
    )


def components_caption(rows: pd.DataFrame, value: str) -> Caption:
    """Of `component_map`: of `Contributions.summary`, or of `Readings.to_frame`."""
    of = f" of the vector {names(rows['vector'])} at {names(rows['site'])}" if "vector" in rows.columns else ""
    what = names(rows["quantity"]) if "quantity" in rows.columns else words(value)
    measured = "n" in rows.columns
    return Caption(
        shown=f"Every head and MLP{of_model(rows)} by layer: {what}{of}; a dot marks a component without a value.",
        n=sample(rows, "item") if measured else counted(rows["component"].nunique(), "component"),
        interval="none drawn: one colour a component",
        control=compared(rows, "read in the same way")
        if "n_random" in rows.columns
        else "none: no random directions in the table",
        strength_scale=OF_THE_EDIT if measured else NO_STRENGTH,
    )


def persistence_caption(summary: pd.DataFrame, over: str) -> Caption:
    """Of `persistence_curves`."""
    line = summary[summary["vector"] == "steering"]
    distance = ", and the distance from unsteered activations" if "off_manifold" in summary.columns else ""
    return Caption(
        shown=f"Persistence of an edit{of_model(summary)} by {over}: the change of the residual stream along the edit "
        f"and orthogonal to it{distance}.",
        n=sample(line, "sequence"),
        interval=interval(line, "sequences", "along_relative"),
        control=steered(summary, "each measured along its own edit; the band is their 95 %"),
        strength_scale=OF_THE_EDIT,
    )


def strip_caption(tokens: pd.DataFrame, value: str) -> Caption:
    """Of `projection_strip`."""
    runs = "unsteered and steered" if tokens["steered"].nunique() > 1 else "one run"
    return Caption(
        shown=f"The {value} of every token of a text{of_model(tokens)} on the vector {names(tokens['vector'])} at "
        f"{names(tokens['site'])}, {runs}, on one colour scale.",
        n=f"1 text of {counted(tokens['position'].nunique(), 'token')}",
        interval="none: one text",
        control="tokens of neutral text, whose mean and standard deviation define z"
        if value == "z"
        else f"none: the {value} as it is; z is relative to neutral text",
        strength_scale=OF_THE_EDIT if tokens["steered"].any() else NO_STRENGTH,
    )
