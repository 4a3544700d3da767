"""Function vectors of in-context tasks beside random sums of heads, on queries that made none of them."""

from lens_steer.experiments.function_vectors.experiment import FunctionVectors as FunctionVectors
from lens_steer.experiments.function_vectors.experiment import FunctionVectorsResult as FunctionVectorsResult
from lens_steer.experiments.function_vectors.experiment import compare_function_vectors as compare_function_vectors
