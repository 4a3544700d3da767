"""Sweeps: the same items at every point of a grid, exactly or to first order."""

from lens_steer.evaluation.sweep.first_order import first_order as first_order
from lens_steer.evaluation.sweep.first_order import rank_agreement as rank_agreement
from lens_steer.evaluation.sweep.result import SweepResult as SweepResult
from lens_steer.evaluation.sweep.sweep import STRENGTHS as STRENGTHS
from lens_steer.evaluation.sweep.sweep import sweep as sweep
from lens_steer.evaluation.sweep.sweep import sweep_each as sweep_each
from lens_steer.evaluation.sweep.sweep import sweep_together as sweep_together
