"""Which figures each result is drawn in, with the data behind each. It writes nothing."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lens_steer import figures
from lens_steer.experiments.broad_skill import BroadSkillResult
from lens_steer.experiments.collapse_check import CollapseResult
from lens_steer.experiments.multi_behaviour import IndividualResult, ManyResult
from lens_steer.experiments.optimiser import OptimiseResult

Drawings = dict[str, tuple[Figure, pd.DataFrame]]
"""By the name of the file."""


def individual(result: IndividualResult) -> Drawings:
    """Steering one by one."""
    return {
        "steering_curves": (figures.steering_curves(result.curves), result.curves),
        "layer_strength_map": (figures.layer_strength_map(result.validation), result.validation),
        "cosine_map": (figures.cosine_heatmap(result.cosines), result.cosines),
        "logit_lens": (figures.lens_bars(result.lens), result.lens),
    }


def broad(result: BroadSkillResult) -> Drawings:
    """Broad skills, on test documents."""
    curves, kept = (pd.DataFrame(frame[frame["part"] == "test"]) for frame in (result.curves, result.kept))
    return {
        "selectivity": (figures.selectivity_curves(curves), curves),
        "text_kept": (figures.kept_bars(kept, result.points), kept),
    }


def collapse(result: CollapseResult) -> Drawings:
    """How one vector collapses."""
    return {"collapse": (figures.collapse_diagnostics(result.strengths, result.thresholds), result.strengths)}


def many(result: ManyResult) -> Drawings:
    """Several behaviours at once."""
    cells, points, pairs = result.cells, result.points, result.interference
    return {
        "individual_bars": (figures.individual_bars(cells), cells),
        "combined_bars": (figures.combined_bars(cells), cells),
        "simultaneous": (figures.simultaneous_curve(cells, points), cells),
        "schemes": (figures.scheme_intervals(points), points),
        "interference": (figures.interference_matrices(pairs, result.agreement), pairs),
        "detection": (figures.detection_points(cells), cells),
    }


def optimiser(result: OptimiseResult) -> Drawings:
    """The optimiser beside the published schemes."""
    cells = result.cells
    return {"pareto_front": (figures.pareto_front(cells, result.tested, result.facts["budget"]), cells)}


DRAWN: dict[str, Callable[[Any], Drawings]] = {
    "broad": broad,
    "collapse": collapse,
    "many": many,
    "optimiser": optimiser,
}
"""By the name of the lab's experiment."""
