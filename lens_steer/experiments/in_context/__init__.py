"""In-context vectors against function vectors, mean differences and few-shot prompts, on in-context tasks."""

from lens_steer.experiments.in_context.experiment import InContextResult as InContextResult
from lens_steer.experiments.in_context.experiment import in_context as in_context
from lens_steer.experiments.in_context.settings import InContext as InContext
