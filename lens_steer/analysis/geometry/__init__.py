"""Geometry of directions: cosines, subspaces, planes of activations, norms and energy, each with its null."""

from lens_steer.analysis.geometry.cosines import Cosines as Cosines
from lens_steer.analysis.geometry.cosines import cosine_atlas as cosine_atlas
from lens_steer.analysis.geometry.cosines import cosine_map as cosine_map
from lens_steer.analysis.geometry.cosines import layer_map as layer_map
from lens_steer.analysis.geometry.halves import Halves as Halves
from lens_steer.analysis.geometry.halves import half_directions as half_directions
from lens_steer.analysis.geometry.planes import activation_plane as activation_plane
from lens_steer.analysis.geometry.planes import pair_letters as pair_letters
from lens_steer.analysis.geometry.profiles import energy_profile as energy_profile
from lens_steer.analysis.geometry.profiles import norm_profile as norm_profile
from lens_steer.analysis.geometry.subspaces import effective_ranks as effective_ranks
from lens_steer.analysis.geometry.subspaces import subspace_angles as subspace_angles
