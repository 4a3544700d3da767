"""Assignments: the site and strength of each of several behaviours that are steered together.

    h <- h + strength_i v_i     at the site of each placement i; edits at the same site add up

With all placements at one site this is the combined steering of van der Weij et al. 2024 (arXiv 2403.05767; their
`mean` is their `sum` scaled by 1/n), with a different site for each behaviour their simultaneous steering. `scaled`
multiplies all strengths by one global factor.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError, SiteError
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import require_same_model
from lens_steer.vector import SteeringVector


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """One behaviour's vector, added at one of its sites with a signed strength.

    Raises:
        SiteError: the vector has no direction at the site.
        ScoreError: the strength is not finite.
    """

    behaviour: str
    vector: SteeringVector
    site: Site
    strength: float = 1.0

    def __post_init__(self) -> None:
        self.vector.at(self.site)
        if not math.isfinite(self.strength):
            raise ScoreError(f"behaviour {self.behaviour!r}: strength {self.strength} is not a finite number.")

    def direction(self, scale: Scale = "raw") -> Float[Tensor, " width"]:
        """The direction added at strength 1 in this scale (as in `Intervention.of`); float64."""
        return Intervention.of(self.vector, self.site, 1.0, scale).direction.double()


@shown()
@dataclass(frozen=True, eq=False)
class Assignment:
    """Placements of different behaviours that are steered together; edits at the same site add up.

    Raises:
        ScoreError: no placements, or a repeated behaviour.
    """

    placements: tuple[Placement, ...]

    def __post_init__(self) -> None:
        names = self.behaviours
        if not names or len(set(names)) < len(names):
            raise ScoreError(f"placements of {list(names)}; give at least one, each of a different behaviour.")

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The behaviours, in order."""
        return tuple(placement.behaviour for placement in self.placements)

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of each behaviour."""
        return {placement.behaviour: placement.strength for placement in self.placements}

    def scaled(self, factor: float | int) -> "Assignment":
        """The same assignment with every strength multiplied by a global factor."""
        return Assignment(
            tuple(replace(placement, strength=placement.strength * factor) for placement in self.placements)
        )

    def with_strengths(self, strengths: Mapping[str, float]) -> "Assignment":
        """The same vectors at the same sites, with other strengths.

        Args:
            strengths: one for each behaviour.

        Returns:
            The new assignment.

        Raises:
            ScoreError: a behaviour is missing or unknown.
        """
        require_behaviours(strengths, self.behaviours, "strengths")
        return Assignment(
            tuple(replace(placement, strength=float(strengths[placement.behaviour])) for placement in self.placements)
        )

    def interventions(self, positions: str | Positions = "all", scale: Scale = "raw") -> list[Intervention]:
        """One intervention per placement; placements of strength 0 are left out."""
        return [
            Intervention.of(placement.vector, placement.site, placement.strength, scale, positions)
            for placement in self.placements
            if placement.strength
        ]


def assign(
    vectors: Mapping[str, SteeringVector],
    sites: SiteLike | Mapping[str, SiteLike],
    strengths: float | Mapping[str, float] = 1.0,
) -> Assignment:
    """Assigns a site and a strength to each behaviour's vector.

    Args:
        vectors: by behaviour.
        sites: one for all (combined steering), or one for each behaviour.
        strengths: one for all, or one for each behaviour; negative strengths subtract.

    Returns:
        The assignment, in the order of the vectors.

    Raises:
        ScoreError: sites or strengths name other behaviours than the vectors do, or there are no vectors.
        SiteError: a vector has no direction at its site.
    """
    places = sites if isinstance(sites, Mapping) else dict.fromkeys(vectors, sites)
    placements = strengths if isinstance(strengths, Mapping) else dict.fromkeys(vectors, strengths)
    require_behaviours(places, vectors, "sites")
    require_behaviours(placements, vectors, "strengths")
    return Assignment(
        tuple(
            Placement(behaviour=name, vector=vector, site=Site.parse(places[name]), strength=float(placements[name]))
            for name, vector in vectors.items()
        )
    )


def simultaneous(
    vectors: Mapping[str, SteeringVector],
    sites: Mapping[str, SiteLike],
    strengths: float | Mapping[str, float] = 1.0,
) -> Assignment:
    """An assignment in which every behaviour has a different site; see `assign`.

    Raises:
        SiteError: two behaviours are added to the same tensor.
    """
    assignment = assign(vectors, sites, strengths)
    taken: dict[Site, Placement] = {}
    for placement in assignment.placements:
        other = taken.setdefault(placement.site.tensor, placement)
        if other is not placement:
            raise SiteError(
                f"behaviours {other.behaviour!r} at {other.site} and {placement.behaviour!r} at {placement.site} are "
                "added to the same tensor; simultaneous steering needs a different site for each. Use `assign` to add "
                "them at one site."
            )
    return assignment


def combined(assignment: Assignment, name: str, scale: Scale = "raw") -> SteeringVector:
    """One vector equivalent to an assignment at a single site.

    Args:
        assignment: placements at one site.
        name: of the vector.
        scale: the scale of the assignment's strengths.

    Returns:
        sum_i strength_i v_i at that site; adding it at strength 1 in the scale `raw` equals the assignment.

    Raises:
        SiteError: the placements are at several sites.
        DirectionError: the sum is zero.
        MismatchError: the vectors are of different models.
    """
    site = only_site(assignment.placements)
    require_one_model(assignment.placements)
    directions = torch.stack([placement.strength * placement.direction(scale) for placement in assignment.placements])
    first = assignment.placements[0].vector
    placements = {placement.behaviour: placement.strength for placement in assignment.placements}
    options = {
        "placements": placements,
        "scale": scale,
        "of": {placement.behaviour: placement.vector.data_hash for placement in assignment.placements},
    }
    return replace(
        first,
        name=name,
        directions={site: directions.sum(dim=0).float()},
        method="combined",
        data_hash=hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest(),
        n_positive=sum(placement.vector.n_positive for placement in assignment.placements),
        n_negative=sum(placement.vector.n_negative for placement in assignment.placements),
        activation_norms={site: fmean(placement.vector.activation_norm(site) for placement in assignment.placements)},
        options=options,
    )


def require_behaviours(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises unless the given behaviours are exactly the known ones.

    Args:
        given: the behaviours of an argument.
        known: the expected behaviours.
        what: the argument's name, for the message.

    Raises:
        ScoreError: a behaviour is unknown, or missing.
    """
    here, there = set(given), set(known)
    if here != there:
        odd = [
            f"{', '.join(sorted(names))} {word}"
            for names, word in ((here - there, "unknown"), (there - here, "missing"))
            if names
        ]
        raise ScoreError(
            f"{what}: {'; '.join(odd)}; give one for each of {', '.join(sorted(there)) or 'no behaviours'}."
        )


def require_one_model(placements: Sequence[Placement]) -> None:
    """Raises where the placements' vectors are of different models.

    Raises:
        MismatchError: two vectors' fingerprints differ.
    """
    first = placements[0].vector
    for placement in placements[1:]:
        names = f"vectors {first.name!r} and {placement.vector.name!r}"
        require_same_model(first.fingerprint, placement.vector.fingerprint, names)


def only_site(placements: Sequence[Placement]) -> Site:
    """The common site of all placements.

    Raises:
        SiteError: they are at several sites.
    """
    sites = {placement.site for placement in placements}
    if len(sites) > 1:
        raise SiteError(
            f"placements at {', '.join(map(str, sorted(sites)))}; one vector needs all of them at one site."
        )
    return placements[0].site
