"""One vector's evaluation as a study: its figure and its question. `evaluate` makes it; a saved one is reported."""

from lens_steer.experiments.evaluation.experiment import Evaluation
from lens_steer.experiments.evaluation.verdict import QUESTION
from lens_steer.experiments.study import Study
from lens_steer.figures import evaluation_panels

STUDY = Study(
    name="evaluation",
    title="evaluation of one vector",
    result=Evaluation,
    figures={
        "evaluation": (
            evaluation_panels,
            lambda result: (result.curves, result.items, result.controls, result.side_effects),
        )
    },
    questions=(QUESTION,),
)
