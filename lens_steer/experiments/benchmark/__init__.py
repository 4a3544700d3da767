"""The common benchmark: vectors, maps, gates, prompts and fine-tuning at equal side effects."""

from lens_steer.experiments.benchmark.contenders import CONTENDERS as CONTENDERS
from lens_steer.experiments.benchmark.experiment import Benchmark as Benchmark
from lens_steer.experiments.benchmark.experiment import benchmark as benchmark
from lens_steer.experiments.benchmark.settings import BenchmarkSettings as BenchmarkSettings
