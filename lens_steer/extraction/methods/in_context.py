"""In-context vectors: the mean difference of demonstrations plus its first principal component.

    D_i = H(y_i) - H(x_i)                 H: the last token's activations at all sites, concatenated
    D - mean D = U S V^T                  PC1 = first row of V^T, unit norm
    v = mean_i D_i + s PC1                s = +-1, such that the largest |entry| of s u is positive
                                          u: first column of U

pos are the demonstrations' outputs H(y), neg their inputs H(x). Source: Liu et al. 2023 (arXiv 2311.06668), as computed
by the authors' code (the paper describes the component alone). The method is joint: a row concatenates all sites, and
the unit norm of the component is over all of them. The mean is usually much longer than 1 (see `mean_norm` in the
notes), so that v is close to the mean difference. s depends on the scores of the demonstrations, not on the classes, so
PC1 may point against the mean.
"""

from types import MappingProxyType
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.checks import both_sides, check_variation
from lens_steer.extraction.methods.components import first_component, largest_sign
from lens_steer.extraction.methods.fitter import Fit


def in_context_vector(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    part: Literal["sum", "component"] = "sum",
) -> Float[Tensor, " d_model"]:
    """The in-context vector of paired demonstrations, over rows of any width.

    Args:
        pos: activations of the outputs, one demonstration a row, all sites side by side.
        neg: activations of the inputs; row i is paired with row i of `pos`.
        part: "sum" for mean + component, as published; "component" for the unit component alone, pointing from the
            negative to the positive side.

    Returns:
        The vector, float32 on the CPU: in the units of the activations, or of norm 1 for the component alone.

    Raises:
        MethodError: an unknown part, fewer than two pairs, classes that are not paired, or differences that do not
            vary.

    Source:
        Liu et al. 2023, arXiv 2311.06668.
    """
    return fit_in_context_vector(pos, neg, part).direction


def fit_in_context_vector(
    pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"], part: str = "sum"
) -> Fit:
    """`in_context_vector` with its notes: `explained`, `mean_norm`, `sign_flipped` (the component against the mean)."""
    if part not in ("sum", "component"):
        raise MethodError(f"in_context_vector was given part {part!r}; expected 'sum' or 'component'.")
    up, down = both_sides("in_context_vector", pos, neg, minimum=2, paired=True)
    differences = up - down
    mean = differences.mean(dim=0)
    rows = differences - mean
    check_variation("in_context_vector", rows, up)
    unit, explained = first_component(rows)
    component = unit * largest_sign(rows @ unit)
    against = float(component @ mean) < 0
    vector = mean + component if part == "sum" else component * (-1.0 if against else 1.0)
    notes = {"explained": explained, "mean_norm": float(mean.norm()), "sign_flipped": float(against)}
    return Fit(direction=vector.float(), notes=MappingProxyType(notes))
