"""Captions of figures over layers and steps."""

import pandas as pd

from lens_steer.figures.captions.common import NO_STRENGTH, OF_THE_EDIT, counted, of_model, sample, scale
from lens_steer.figures.style import Caption


def layers_caption(configurations: pd.DataFrame) -> Caption:
    """Of `layer_curves`."""
    return Caption(
        shown=f"Matching rate{of_model(configurations)} over layers by strength; crosses are collapsed points.",
        n=f"{counted(configurations['behaviour'].nunique(), 'behaviour')}; {sample(configurations, 'item')}",
        interval="95 % over items",
        control="none: the steering vector alone; random directions are in the steering curves",
        strength_scale=scale(configurations),
    )


def quality_caption(sites: pd.DataFrame, sizes: pd.DataFrame) -> Caption:
    """Of `quality_curves`."""
    return Caption(
        shown=f"Quality of a vector{of_model(sites)} at each site: separability along it, cosine between vectors of "
        "two halves of the data, mean cosine of single pairs to it, and cosine of vectors of fewer pairs to it.",
        n=f"{counted(len(sites), 'site')}; up to {int(sizes['size'].max())} pairs",
        interval="central 95 % over random choices of the pairs",
        control="none: vectors are compared with each other",
        strength_scale=NO_STRENGTH,
    )


def steps_caption(steps: pd.DataFrame) -> Caption:
    """Of `step_curves`."""
    return Caption(
        shown=f"Entropy of the next token{of_model(steps)} and KL to the unsteered model at each generated step.",
        n=counted(steps["prompt"].nunique(), "prompt"),
        interval="interquartile range over prompts",
        control="the unsteered generation",
        strength_scale=OF_THE_EDIT,
    )
