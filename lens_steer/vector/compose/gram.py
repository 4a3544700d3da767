"""Geometric interference between the behaviours of an assignment, and strengths that compensate for it.

    G_ij = <v_i, v_j>                              v_i: direction of behaviour i at its site
    p_i  = sum_j c_j G_ij / G_ii                   projected strength of i; equals c_i if directions are orthogonal
    c    = argmin ||A c - t||^2 + ridge ||c||^2    A_ij = G_ij / G_ii;  t: target projected strengths

The simultaneous steering of van der Weij et al. 2024 (arXiv 2403.05767) uses equal strengths and does not compensate.
For vectors of equal norm at one site, summing, orthogonalising and solving for strengths multiply the directions by
G^0, G^(-1/2) and G^(-1). Across layers, G treats the residual stream as one space: it ignores what the blocks between
two sites compute, and that an edit does not affect earlier layers.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import DirectionError, ScoreError, SiteError
from lens_steer.hooks import Scale
from lens_steer.vector.compose.assignment import Assignment, only_site, require_behaviours, require_one_model

RIDGE = 1e-3
_DEPENDENT = 1e-6


def gram_matrix(assignment: Assignment, scale: Scale = "raw") -> Float[Tensor, "n n"]:
    """Inner products of the placements' directions; independent of the strengths.

    Args:
        assignment: placements at sites of one width, in the order of the rows and columns.
        scale: the strength scale.

    Returns:
        G_ij = <v_i, v_j>, float64, in squared units of the activations.

    Raises:
        SiteError: the sites are of different widths.
        MismatchError: the vectors are of different models.
    """
    require_one_model(assignment.placements)
    directions = [placement.direction(scale) for placement in assignment.placements]
    if len({len(direction) for direction in directions}) > 1:
        places = ", ".join(
            f"{placement.site} ({len(d)})" for placement, d in zip(assignment.placements, directions, strict=True)
        )
        raise SiteError(f"sites {places} are of different widths; directions there have no inner product.")
    rows = torch.stack(directions)
    return rows @ rows.T


def strength_matrix(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A_ij = G_ij / G_ii: projected strength on behaviour i of strength 1 of the vector of j."""
    return gram / gram.diagonal()[:, None]


def projected_strengths(assignment: Assignment, scale: Scale = "raw") -> dict[str, float]:
    """The projection of the whole assignment on each behaviour's direction.

    Args:
        assignment: placements, possibly at different sites of one width.
        scale: the strength scale.

    Returns:
        sum_j c_j <v_j, v_i> / ||v_i||^2 for each behaviour i, in units of its strength.

    Raises:
        SiteError, MismatchError: as `gram_matrix`.
    """
    strengths = torch.tensor(
        [placement.strength for placement in assignment.placements], dtype=torch.float64, device="cpu"
    )
    found = strength_matrix(gram_matrix(assignment, scale)) @ strengths
    return dict(zip(assignment.behaviours, found.tolist(), strict=True))


def solve_strengths(
    gram: Float[Tensor, "n n"], targets: Float[Tensor, " n"], ridge: float = RIDGE
) -> Float[Tensor, " n"]:
    """Strengths that give target projected strengths (ridge regression).

    Args:
        gram: from `gram_matrix`.
        targets: the target projected strength of each behaviour, of either sign.
        ridge: penalty on the squared strengths; 0 solves A c = t, with the smallest norm where c is not unique.

    Returns:
        argmin_c ||A c - t||^2 + ridge ||c||^2, float64.

    Raises:
        ScoreError: a negative ridge, or targets or inner products that are not finite or of the wrong shape.
    """
    n, wanted = len(gram), targets.double()
    if ridge < 0 or gram.shape != (n, n) or wanted.shape != (n,) or not bool(gram.isfinite().all()):
        raise ScoreError(
            f"a Gram matrix of shape {tuple(gram.shape)}, {len(wanted)} targets and ridge {ridge}; give a finite "
            "square matrix, one target a row, and a ridge of 0 or more."
        )
    if not bool(wanted.isfinite().all()) or not bool((gram.diagonal() > 0).all()):
        raise ScoreError(
            f"targets {wanted.tolist()}, squared norms {gram.diagonal().tolist()}; give finite targets "
            "and directions that are not zero."
        )
    stacked = torch.cat(
        [strength_matrix(gram.double()), math.sqrt(ridge) * torch.eye(n, dtype=torch.float64, device="cpu")]
    )
    return torch.linalg.pinv(stacked) @ torch.cat([wanted, torch.zeros(n, dtype=torch.float64, device="cpu")])


def gram_strengths(
    assignment: Assignment, targets: Mapping[str, float], scale: Scale = "raw", ridge: float = RIDGE
) -> Assignment:
    """The same vectors at the same sites, with strengths that give each behaviour its target projected strength.

    Args:
        assignment: the vectors and sites; its strengths are ignored.
        targets: the target projected strength of each behaviour, such as +1 or -1.
        scale: the strength scale.
        ridge: as in `solve_strengths`.

    Returns:
        The assignment with these strengths.

    Raises:
        ScoreError: a behaviour without a target, an unknown behaviour, or a target that is not finite.
        SiteError, MismatchError: as `gram_matrix`.
    """
    require_behaviours(targets, assignment.behaviours, "targets")
    wanted = torch.tensor([float(targets[name]) for name in assignment.behaviours], dtype=torch.float64, device="cpu")
    found = solve_strengths(gram_matrix(assignment, scale), wanted, ridge)
    return assignment.with_strengths(dict(zip(assignment.behaviours, found.tolist(), strict=True)))


def orthogonalised(assignment: Assignment) -> Assignment:
    """The same assignment with mutually orthogonal directions, by Loewdin's symmetric orthogonalisation.

        U = (W W^T)^(-1/2) W,    W: the unit directions as rows;    v_i <- ||v_i|| u_i

    U is the orthonormal set closest to W in the least-squares sense; unlike Gram-Schmidt it does not depend on the
    order of the behaviours. Each u_i is orthogonal to the other *new* directions, not to the old ones. To reach each
    old direction without the others, use `gram_strengths`.

    Args:
        assignment: placements at one site.

    Returns:
        The assignment with the new directions; norms and strengths are unchanged.

    Raises:
        SiteError: the placements are at several sites.
        DirectionError: the directions are linearly dependent.
        MismatchError: the vectors are of different models.

    Source:
        Loewdin 1950, J. Chem. Phys. 18, 365.
    """
    site = only_site(assignment.placements)
    require_one_model(assignment.placements)
    rows = torch.stack([placement.direction() for placement in assignment.placements])
    norms = rows.norm(dim=1, keepdim=True)
    left, sizes, right = torch.linalg.svd(rows / norms, full_matrices=False)
    if len(rows) > rows.shape[1] or float(sizes.min()) < _DEPENDENT:
        raise DirectionError(
            f"directions of {', '.join(assignment.behaviours)} at {site} are linearly dependent (smallest singular "
            f"value {float(sizes.min()):.1e} of their unit forms); leave one out before orthogonalising."
        )
    new = norms * (left @ right)
    return Assignment(
        tuple(
            replace(
                placement,
                vector=placement.vector.replaced(f"{placement.vector.name}, orthogonalised", {site: row.float()}),
            )
            for placement, row in zip(assignment.placements, new, strict=True)
        )
    )
