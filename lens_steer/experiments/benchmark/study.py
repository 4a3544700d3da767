"""The benchmark as a study: its figures and its question. The command `benchmark` runs it."""

from lens_steer import figures
from lens_steer.experiments.benchmark.experiment import Benchmark
from lens_steer.experiments.benchmark.figures import front_panels
from lens_steer.experiments.benchmark.verdict import QUESTION
from lens_steer.experiments.study import Study

STUDY = Study(
    name="benchmark",
    title="common benchmark",
    result=Benchmark,
    figures={
        "benchmark": (figures.method_heatmap, lambda result: (result.table,)),
        "benchmark_fronts": (front_panels, lambda result: (result.fronts,)),
    },
    questions=(QUESTION,),
)
