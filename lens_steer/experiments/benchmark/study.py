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
        "benchmark": (
            lambda rows: figures.method_heatmap(rows.set_index("method")),
            lambda result: (result.table.rename_axis("method").reset_index(),),
        ),
        "benchmark_fronts": (front_panels, lambda result: (result.fronts,)),
    },
    questions=(QUESTION,),
)
