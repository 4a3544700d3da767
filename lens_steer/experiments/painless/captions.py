"""Captions of the figures of automatically made vectors."""

import pandas as pd

from lens_steer.figures.captions.common import counted, names
from lens_steer.figures.style import Caption

CORRECTED = "95 % of the corrected resampled t (Nadeau & Bengio 2003), over splits that share items"


def gains_caption(gains: pd.DataFrame) -> Caption:
    """Of `gain_bars`."""
    return Caption(
        shown="Accuracy on test items with the vector minus without, by task and method; best: the method that gains "
        "most on validation items of the seed. Filled: p below 0.05 after Holm over all tasks and methods.",
        n=f"{counted(gains['task'].nunique(), 'task')}, {counted(int(gains['seeds'].max()), 'split')} each",
        interval=CORRECTED,
        control="random vectors of the same norm (grey), whose site and strength are chosen in the same way",
        strength_scale="chosen on validation items, 0 among the strengths",
    )


def on_top_caption(on_top: pd.DataFrame) -> Caption:
    """Of `on_top_bars`."""
    tuned = on_top[on_top["condition"] == "adapter"]["seeds"]
    said = f"; fine-tuned on {counted(int(tuned.min()), 'split')}" if len(tuned) else ""
    return Caption(
        shown="Accuracy on test items minus that of the unsteered model: of the vector, of examples before the "
        "question and of an adapter trained on the same items, without and with the vector. Filled: p below "
        "0.05, not corrected for the number of tasks.",
        n=f"{counted(on_top['task'].nunique(), 'task')}, {counted(int(on_top['seeds'].max()), 'split')} each, "
        f"{int(on_top['shots'].max())} examples{said}",
        interval=CORRECTED,
        control="the unsteered model; random vectors are beside the gains of each method",
        strength_scale="chosen on validation items, 0 among the strengths",
    )


def tried_caption(points: pd.DataFrame) -> Caption:
    """Of `tried_curves`."""
    return Caption(
        shown="Gain of accuracy on validation items, mean over seeds and methods. Left: over strength, at the layer "
        "where it is largest. Right: over layer, at the strength where it is largest.",
        n=f"{counted(points['task'].nunique(), 'task')}, {counted(points['seed'].nunique(), 'split')} each; sites that "
        "ranking left out are not drawn",
        interval="none: points are chosen here, and the chosen ones tested on other items",
        control="random vectors in the same way (dashed), mean over tasks",
        strength_scale="as the study's settings say",
    )


def sizes_caption(sizes: pd.DataFrame) -> Caption:
    """Of `size_curves`."""
    return Caption(
        shown="Gain of accuracy on test items over the number of training items that the vector is made of, by method; "
        "validation and test items are the same at each.",
        n=f"{counted(sizes['task'].nunique(), 'task')}, {int(sizes['seeds'].min())} to {int(sizes['seeds'].max())} "
        f"splits; methods: {names(sizes['method'])}",
        interval=CORRECTED,
        control="none drawn; random vectors are beside the gains of all items",
        strength_scale="chosen on validation items, 0 among the strengths",
    )


def grid_caption(grid: pd.DataFrame) -> Caption:
    """Of `grid_maps`."""
    return Caption(
        shown="Gain of accuracy on validation items at every layer and strength of the paper's full grid, mean over "
        "splits, of the method that gains most at the point. Squares: where the paper's search ends, one a split.",
        n=f"{counted(grid['task'].nunique(), 'task')}, {counted(grid['seed'].nunique(), 'split')} each; "
        f"methods: {names(grid['vector'])}",
        interval="none: points are chosen here, and the chosen ones tested on other items",
        control="none drawn; random vectors are beside the gains of the automatic choice",
        strength_scale="raw",
    )
