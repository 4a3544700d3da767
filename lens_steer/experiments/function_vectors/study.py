"""Function vectors as a study: its figure and its question. `compare_function_vectors` is called with tasks."""

from lens_steer.experiments.function_vectors import FunctionVectorsResult
from lens_steer.experiments.function_vectors.figures import function_vector_panels
from lens_steer.experiments.function_vectors.verdict import QUESTION
from lens_steer.experiments.study import Study

STUDY = Study(
    name="function_vectors",
    title="function vectors",
    result=FunctionVectorsResult,
    figures={
        "function_vector_panels": (
            function_vector_panels,
            lambda result: (result.layers, result.chosen, result.accuracy),
        )
    },
    questions=(QUESTION,),
)
