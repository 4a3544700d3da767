"""The ways of steering several behaviours at once, each as one assignment with one global strength over it.

    mean, sum              one site:  s sum_i t_i v_i (mean: / n)    t_i: target, +1, -1 or 0; n: targets not 0
    weighted               one site:  s sum_i t_i w_i v_i        w_i: the strength that was chosen for i alone
    orthogonalised         one site:  s sum_i t_i u_i            u_i: Loewdin's orthogonal directions
    gram                   one site:  s sum_i c_i v_i            c: least squares, projected strengths t
    simultaneous           a site each:  s t_i v_i
    simultaneous gram      a site each:  s c_i v_i               the Gram matrix across sites

mean, sum, weighted and simultaneous are those of van der Weij et al. 2024 (arXiv 2403.05767); there the first four had
s = 1 and simultaneous 81 values of s on test items. Here all have the same grid. Every scheme has a curve that adds (t)
and one that subtracts (-t), so that s is never negative.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import SiteLike
from lens_steer.vector import SteeringVector
from lens_steer.vector.compose import (
    Assignment,
    assign,
    gram_strengths,
    orthogonalised,
    projected_strengths,
    simultaneous,
)

SCHEMES = (
    "mean",
    "sum",
    "mean weighted",
    "sum weighted",
    "orthogonalised",
    "gram",
    "simultaneous",
    "simultaneous gram",
)
DIRECTIONS = {"add": 1.0, "subtract": -1.0}
AS_PUBLISHED = ("mean", "sum", "mean weighted", "sum weighted")
"""The schemes that the paper evaluated at s = 1 alone."""

Weights = Mapping[str, Mapping[str, float]]
"""For each direction, the strength (0 or more) that was chosen for each behaviour alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SchemeCurve:
    """One scheme in one direction; `assignment` is that of global strength 1, `steered` a behaviour, or `all`.

    `targets` are those of its direction; the behaviours of an individual curve that are not steered have target 0.
    """

    scheme: str
    steered: str
    direction: str
    assignment: Assignment
    targets: Mapping[str, float]
    positions: str
    scale: Scale

    def configuration(self, strength: float) -> list[Intervention]:
        """The interventions at one global strength; none at 0."""
        return self.assignment.scaled(strength).interventions(self.positions, self.scale)

    @property
    def key(self) -> dict[str, str]:
        """The columns that identify the curve."""
        return {"scheme": self.scheme, "steered": self.steered, "direction": self.direction}

    def strength_rows(self) -> list[dict[str, object]]:
        """One row a behaviour: site, strength and projected strength at global strength 1."""
        projected = projected_strengths(self.assignment, self.scale)
        return [
            {
                **self.key,
                "behaviour": placement.behaviour,
                "site": str(placement.site),
                "target": self.targets[placement.behaviour],
                "strength": placement.strength,
                "projected_strength": projected[placement.behaviour],
            }
            for placement in self.assignment.placements
        ]


def individual_curves(
    vectors: Mapping[str, SteeringVector], site: SiteLike, targets: Mapping[str, float], positions: str, scale: Scale
) -> list[SchemeCurve]:
    """Each behaviour with a target alone at one site, with strength 1 towards it and away from it."""
    return [
        SchemeCurve(
            scheme="individual",
            steered=name,
            direction=direction,
            assignment=assign({name: vector}, site, math.copysign(sign, sign * targets[name])),
            targets=dict.fromkeys(vectors, 0.0) | {name: math.copysign(sign, sign * targets[name])},
            positions=positions,
            scale=scale,
        )
        for name, vector in vectors.items()
        if targets[name]
        for direction, sign in DIRECTIONS.items()
    ]


def scheme_curves(
    vectors: Mapping[str, SteeringVector],
    site: SiteLike,
    places: Mapping[str, SiteLike],
    targets: Mapping[str, float],
    weights: Weights,
    positions: str,
    scale: Scale,
    ridge: float,
) -> list[SchemeCurve]:
    """Every scheme in both directions.

    Args:
        vectors: by behaviour.
        site: of the combined schemes.
        places: of the simultaneous schemes, one for each behaviour.
        targets: +1 or -1 for each behaviour, or 0 for one that should stay as it is.
        weights: for the weighted schemes; those that are missing are 0.
        positions: which tokens are edited.
        scale: what strength 1 means.
        ridge: of the least-squares strengths.

    Returns:
        The curves.

    Raises:
        ScoreError: sites, targets or weights for other behaviours.
        SiteError: a vector lacks its site, or two behaviours have the same place.
        DirectionError: the vectors are linearly dependent.
    """
    curves, n = [], sum(target != 0 for target in targets.values())
    for direction, sign in DIRECTIONS.items():
        signed = {name: sign * target for name, target in targets.items()}
        at_one_site, at_own_sites = assign(vectors, site, signed), simultaneous(vectors, places, signed)
        weighted = at_one_site.with_strengths(
            {name: signed[name] * weights[direction].get(name, 0.0) for name in signed}
        )
        schemes = {
            "mean": at_one_site.scaled(1 / n),
            "sum": at_one_site,
            "mean weighted": weighted.scaled(1 / n),
            "sum weighted": weighted,
            "orthogonalised": orthogonalised(at_one_site),
            "gram": gram_strengths(at_one_site, signed, scale, ridge),
            "simultaneous": at_own_sites,
            "simultaneous gram": gram_strengths(at_own_sites, signed, scale, ridge),
        }
        common = {"steered": "all", "direction": direction, "targets": signed, "positions": positions, "scale": scale}
        curves += [SchemeCurve(scheme=name, assignment=assignment, **common) for name, assignment in schemes.items()]
    return curves
