"""Vectors of labelled data sets, chosen automatically, as Cui & Chen 2025 make them, with controls."""

from lens_steer.experiments.painless.experiment import PainlessResult as PainlessResult
from lens_steer.experiments.painless.experiment import painless_tasks as painless_tasks
from lens_steer.experiments.painless.settings import PainlessTasks as PainlessTasks
