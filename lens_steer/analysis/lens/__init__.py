"""Vocabulary readings of directions (static, Jacobian and contextual lenses), and the logit lens of the stream."""

from lens_steer.analysis.lens.contextual import Contexts as Contexts
from lens_steer.analysis.lens.contextual import contextual_reading as contextual_reading
from lens_steer.analysis.lens.readings import LensReading as LensReading
from lens_steer.analysis.lens.readings import fit_jacobian_lens as fit_jacobian_lens
from lens_steer.analysis.lens.readings import jacobian_reading as jacobian_reading
from lens_steer.analysis.lens.readings import static_readings as static_readings
from lens_steer.analysis.lens.residuals import lens_accuracy as lens_accuracy
from lens_steer.analysis.lens.residuals import residual_lens as residual_lens
from lens_steer.analysis.lens.stream import in_stream as in_stream
from lens_steer.analysis.lens.tables import agreement_table as agreement_table
from lens_steer.analysis.lens.tables import token_table as token_table
from lens_steer.analysis.lens.vectors import VectorReadings as VectorReadings
from lens_steer.analysis.lens.vectors import read_vector as read_vector
from lens_steer.analysis.lens.vectors import vector_lens as vector_lens
