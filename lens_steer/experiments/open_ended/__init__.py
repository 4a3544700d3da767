"""Open-ended evaluation: the likelihood of matching and other continuations, and generated text scored by a judge."""

from lens_steer.experiments.open_ended.experiment import OpenEndedResult as OpenEndedResult
from lens_steer.experiments.open_ended.experiment import open_ended as open_ended
from lens_steer.experiments.open_ended.settings import OpenEnded as OpenEnded
