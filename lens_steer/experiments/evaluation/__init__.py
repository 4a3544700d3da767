"""One vector, evaluated in one call: effect with controls, reliability item by item, side effects, and a verdict."""

from lens_steer.experiments.evaluation.experiment import Evaluation as Evaluation
from lens_steer.experiments.evaluation.experiment import evaluate as evaluate
