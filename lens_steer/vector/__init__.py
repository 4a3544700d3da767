"""The steering vector and its file."""

from lens_steer.vector.controls import random_like as random_like
from lens_steer.vector.storage import load_vector as load_vector
from lens_steer.vector.storage import save_vector as save_vector
from lens_steer.vector.vector import SteeringVector as SteeringVector
from lens_steer.vector.vector import require_same_model as require_same_model
