"""Maps a site's direction to the residual stream, where the unembedding can be applied.

    resid_*, attn_out, mlp_out    the direction itself
    z@l.h                         v W_O[h]
    mlp_input                     refused: what is added there never reaches the stream itself

The output matrix is checked on the given model: between any two tokens, attn_out must differ by sum_h (z[h] - z'[h])
W_O[h]. This fails for models with a norm after attention, whose heads cannot be mapped. A direction added at attn_out
or resid_mid also affects the MLP of its layer; only the direct part is considered here.
"""

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.hooks.sites import HEADS, Site, SiteLike, check_site
from lens_steer.hooks.terms import MLP_INPUT, allowed_error, heads_miss
from lens_steer.model import SteerableModel, fingerprint, output_weights, require_same_model
from lens_steer.vector import SteeringVector

THROUGH = "through W_O"


def in_stream(model: SteerableModel, vector: SteeringVector, site: SiteLike) -> tuple[Float[Tensor, " d_model"], str]:
    """The direction that a vector adds to the residual stream at a site.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of its sites.

    Returns:
        The direction in the stream, float32 on the CPU, and a note of how it got there (empty where it is there).

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector has no such site, or a head's output does not reach the stream by its output matrix, or
            it is what an MLP reads.
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model of the lens")
    parsed = Site.parse(site)
    direction = vector.at(parsed)
    check_site(model, parsed)
    if parsed.kind == MLP_INPUT:
        raise SiteError(
            f"site {parsed}: what is added there is read by the MLP and never reaches the stream itself, so the "
            "unembedding cannot read it. Read a direction at mlp_out or resid_post instead."
        )
    if parsed.kind != HEADS:
        return direction, ""
    matrices = output_weights(model, parsed.layer)
    error = heads_miss(model, parsed.layer)
    if not error <= allowed_error(model):
        raise SiteError(
            f"site {parsed}: what attention adds to the stream is not its heads through W_O (it misses by {error:.2g} "
            "of its size; a norm may stand behind attention), so the unembedding cannot read a head's direction. "
            "Read a direction at attn_out instead."
        )
    return direction @ matrices[parsed.head or 0], THROUGH
