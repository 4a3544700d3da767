"""Steering with several vectors at once: sites, strengths, and the interference between behaviours."""

from lens_steer.vector.compose.assignment import Assignment as Assignment
from lens_steer.vector.compose.assignment import Placement as Placement
from lens_steer.vector.compose.assignment import assign as assign
from lens_steer.vector.compose.assignment import combined as combined
from lens_steer.vector.compose.assignment import require_behaviours as require_behaviours
from lens_steer.vector.compose.assignment import simultaneous as simultaneous
from lens_steer.vector.compose.gram import gram_matrix as gram_matrix
from lens_steer.vector.compose.gram import gram_strengths as gram_strengths
from lens_steer.vector.compose.gram import orthogonalised as orthogonalised
from lens_steer.vector.compose.gram import projected_strengths as projected_strengths
from lens_steer.vector.compose.gram import solve_strengths as solve_strengths
from lens_steer.vector.compose.gram import strength_matrix as strength_matrix
