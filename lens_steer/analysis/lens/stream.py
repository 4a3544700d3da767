"""Maps a site's direction to the residual stream, where the unembedding can be applied.

    resid_*, attn_out, mlp_out    the direction itself
    z@l.h                         v W_O[h]

The output matrix is checked on the given model: between any two tokens, attn_out must differ by sum_h (z[h] - z'[h])
W_O[h]. This fails for models with a norm after attention, whose heads cannot be mapped. A direction added at attn_out
or resid_mid also affects the MLP of its layer; only the direct part is considered here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.extraction.record import record
from lens_steer.hooks.sites import HEADS, Site, SiteLike, check_site
from lens_steer.model import SteerableModel, fingerprint, output_weights, require_same_model, vocabulary_size
from lens_steer.vector import SteeringVector

TOKENS, TOLERANCE = 8, 1e-3
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
        SiteError: the vector has no such site, or a head's output does not reach the stream by its output matrix.
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model of the lens")
    parsed = Site.parse(site)
    direction = vector.at(parsed)
    check_site(model, parsed)
    if parsed.kind != HEADS:
        return direction, ""
    matrices = output_weights(model, parsed.layer)
    error = _missed(model, parsed.layer, matrices)
    if not error <= (TOLERANCE if vector.fingerprint.dtype in ("float32", "float64") else 0.05):
        raise SiteError(
            f"site {parsed}: what attention adds to the stream is not its heads through W_O (it misses by {error:.2g} "
            "of its size; a norm may stand behind attention), so the unembedding cannot read a head's direction. "
            "Read a direction at attn_out instead."
        )
    return direction @ matrices[parsed.head or 0], THROUGH


def _missed(model: SteerableModel, layer: int, matrices: Float[Tensor, "head d_head d_model"]) -> float:
    """How far attn_out is from the sum of the heads, by its differences between tokens, relative to them."""
    vocabulary = vocabulary_size(model)
    tokens = torch.randint(vocabulary, (1, TOKENS), generator=torch.Generator().manual_seed(0)).tolist()
    heads, out = [Site(HEADS, layer, head) for head in range(len(matrices))], Site("attn_out", layer)
    (seen,) = (recording.activations for recording in record(model, tokens, [*heads, out]))
    said = sum((seen[site] @ matrix for site, matrix in zip(heads, matrices, strict=True)), torch.zeros(1))
    moved, wanted = (rows - rows[:1] for rows in (seen[out], said))
    return float((moved - wanted).abs().max() / moved.abs().max())
