"""Length and sign of directions that are defined only up to scale (a principal component, a probe's normal).

    v = u (delta . u)      u = raw / ||raw||,   delta = mean of pos - mean of neg

Strength 1 moves one class mean onto the other along u, and the sign is from the negative to the positive class: v is
the same for u and -u. `sign_flipped` in the notes records whether the raw direction had the opposite sign. v is short
where u is nearly orthogonal to delta (`cosine_with_mean_difference`), so that steering with a good detector may need a
large strength.
"""

from collections.abc import Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.checks import NOTHING
from lens_steer.extraction.methods.fitter import Fit


def scaled_to_means(
    method: str,
    raw: Float[Tensor, " d_model"],
    pos_mean: Float[Tensor, " d_model"],
    neg_mean: Float[Tensor, " d_model"],
    notes: Mapping[str, float | str] = MappingProxyType({}),
) -> Fit:
    """A raw direction, scaled and signed by the two class means.

    Args:
        method: the method's name, for the message.
        raw: the direction, of any length and sign.
        pos_mean: mean of the positive activations.
        neg_mean: mean of the negative activations.
        notes: further notes on the direction.

    Returns:
        v = u (delta . u), float32, and the notes with `sign_flipped` and `cosine_with_mean_difference`.

    Raises:
        MethodError: the raw direction is zero, or the means do not differ along it.
    """
    delta, size = pos_mean - neg_mean, float(raw.norm())
    gap, typical = float(delta.norm()), max(float(pos_mean.norm()), float(neg_mean.norm()))
    distance = float(delta @ raw) / size if size > 0 else 0.0
    if gap <= NOTHING * typical or not abs(distance) > 1e-9 * gap:
        raise MethodError(
            f"{method} found no direction along which the means of the two sides differ; check that the two sides "
            "differ in the behaviour, or read at another position or site."
        )
    said = {"sign_flipped": float(distance < 0), "cosine_with_mean_difference": abs(distance) / gap}
    return Fit(direction=(raw / size * distance).float(), notes=MappingProxyType(said | dict(notes)))
