"""How reliably a vector steers, per item and per prompt: Tan et al. 2024 and Braun et al. 2025, with controls."""

from lens_steer.experiments.reliability.experiment import ReliabilityResult as ReliabilityResult
from lens_steer.experiments.reliability.experiment import reliability as reliability
from lens_steer.experiments.reliability.judge import judge_vector as judge_vector
from lens_steer.experiments.reliability.settings import Reliability as Reliability
