"""A task of Inspect as a study: its figure and its question. `lens-steer evaluate` runs it; a saved one is reported."""

from lens_steer.experiments.inspect_task.experiment import InspectTaskResult
from lens_steer.experiments.inspect_task.figures import task_arms
from lens_steer.experiments.inspect_task.verdict import QUESTION
from lens_steer.experiments.study import Study

STUDY = Study(
    name="inspect_task",
    title="a task of Inspect",
    result=InspectTaskResult,
    figures={"inspect_task": (task_arms, lambda result: (result.arms,))},
    questions=(QUESTION,),
)
