"""A vector on a task of Inspect: unsteered, steered and random-direction runs, compared sample by sample."""

from lens_steer.experiments.inspect_task.experiment import InspectTask as InspectTask
from lens_steer.experiments.inspect_task.experiment import InspectTaskResult as InspectTaskResult
from lens_steer.experiments.inspect_task.experiment import evaluate_task as evaluate_task
