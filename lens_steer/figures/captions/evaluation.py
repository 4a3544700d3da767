"""The caption of one vector's evaluation."""

import pandas as pd

from lens_steer.figures.captions.common import NO_SIDE_EFFECTS, counted, of_model, sample, scale, steered
from lens_steer.figures.style import Caption


def evaluation_caption(curves: pd.DataFrame, controls: pd.DataFrame, side_effects: pd.DataFrame) -> Caption:
    """Of `evaluation_panels`."""
    texts = side_effects.drop_duplicates("text")
    counts = [counted(row["n"], f"{row['text']} text") for row in texts.to_dict("records")]
    costs = "; retained top-1 accuracy and KL from the unsteered model, over strength" if counts else ""
    return Caption(
        shown=f"One vector{of_model(curves)}: mean propensity of test items over strength; the slope of each item in "
        f"rising order, those below 0 in another colour{costs}.",
        n="; ".join([sample(curves, "item"), *counts]),
        interval="95 % over items, and over texts",
        control=steered(controls, "each at its own place; a grey bar is their middle 95 % at that strength"),
        strength_scale=scale(curves),
        side_effects="the panels on the right" if counts else NO_SIDE_EFFECTS,
    )
