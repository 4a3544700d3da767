"""Steering vectors, their file format, and import and export of other formats."""

from lens_steer.vector.controls import random_like as random_like
from lens_steer.vector.exchange import export_gguf as export_gguf
from lens_steer.vector.exchange import import_gguf as import_gguf
from lens_steer.vector.exchange import import_tensor as import_tensor
from lens_steer.vector.exchange import read_rows as read_rows
from lens_steer.vector.harness import export_lm_eval as export_lm_eval
from lens_steer.vector.storage import load_vector as load_vector
from lens_steer.vector.storage import save_vector as save_vector
from lens_steer.vector.vector import SteeringVector as SteeringVector
