"""An intervention: what is written where, how strongly, at which tokens and on which condition. A plan; it installs
nothing.

    raw       strength x v                               v as it was extracted
    unit      strength x v / ||v||                       multiples of the unit direction
    relative  strength x v / ||v|| x median ||h||        fraction of the site's median activation norm

    h <- f(h)   at the tokens that the positions select and, where there is a gate, the gate is open for

A gate looks at the activation of the same site, just before the edit, or at an earlier site of the same forward pass.
An intervention made of a vector remembers whose the vector is, and is refused on another model. One made of a bare
direction carries no fingerprint and is taken at its word.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import DirectionError, SteeringError
from lens_steer.hooks.operators import Add, Gate, Operator
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import Fingerprint

Scale = Literal["raw", "unit", "relative"]


@runtime_checkable
class Directions(Protocol):
    """What an intervention is made of: a direction a site, and whose it is; `SteeringVector` is one."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def sites(self) -> tuple[Site, ...]: ...

    def at(self, site: SiteLike) -> Float[Tensor, " width"]: ...

    def norm(self, site: SiteLike) -> float: ...

    def activation_norm(self, site: SiteLike) -> float: ...


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention:
    """One edit of one site; made by `Intervention.of` (a vector) or `Intervention.at` (a bare direction).

    `gate_site` is where the gate looks, the edit's own site where None; an `exclusive` intervention refuses to edit a
    token that another one selects at the same tensor.

    Raises:
        DirectionError: the direction is NaN, infinite, zero or not one axis.
        SteeringError: the strength is not finite, or there is a gate's site without a gate.
    """

    site: Site
    direction: Float[Tensor, " width"]
    strength: float
    positions: Positions
    operator: Operator = field(default_factory=Add)
    gate: Gate | None = None
    gate_site: Site | None = None
    exclusive: bool = False
    fingerprint: Fingerprint | None = None
    name: str = "direction"

    def __post_init__(self) -> None:
        direction = self.direction
        finite = bool(direction.isfinite().all()) and not direction.is_complex()
        if direction.ndim != 1 or not finite or not bool(direction.any()):
            raise DirectionError(
                f"{self.name!r} at {self.site}: a direction must be one axis, real, finite and not zero; got "
                f"{direction.dtype} of shape {tuple(direction.shape)}, of which "
                f"{int((~direction.isfinite()).sum())} entries are NaN or infinite."
            )
        if not math.isfinite(self.strength):
            raise SteeringError(f"{self.name!r} at {self.site}: strength {self.strength} is not a finite number.")
        if self.gate is None and self.gate_site is not None:
            raise SteeringError(f"{self.name!r} at {self.site}: gate_site {self.gate_site} without a gate; give both.")

    def __str__(self) -> str:
        gate = "" if self.gate is None else f", behind a {type(self.gate).__name__} at {self.gate_site or self.site}"
        return f"{self.name!r} at {self.site} x {self.strength:g}, positions {self.positions}{gate}"

    def __reduce__(self) -> tuple[Any, ...]:
        """The direction goes by its bytes: as a tensor it would be shared memory, one open file for each direction."""
        rest = {name: value for name, value in vars(self).items() if name != "direction"}
        return _received, (save({"direction": self.direction.detach().cpu().contiguous()}), rest)

    def exclusively(self) -> "Intervention":
        """The same edit, which refuses to edit a token that another intervention selects at the same tensor."""
        return replace(self, exclusive=True)

    @classmethod
    def of(
        cls,
        vector: Directions,
        site: SiteLike,
        strength: float | int,
        scale: Scale = "raw",
        positions: str | int | Sequence[int] | Positions = "all",
        operator: Operator | None = None,
        gate: Gate | None = None,
        gate_site: SiteLike | None = None,
    ) -> "Intervention":
        """The edit that writes a vector's direction at one of its sites.

        Args:
            vector: where the direction comes from.
            site: one of the vector's sites, as `Site.parse` reads them; a layer is its resid_post.
            strength: in units of the scale.
            scale: what strength 1 means: the vector as extracted, norm 1, or the site's median activation norm.
            positions: which tokens, as `Positions.parse` reads them.
            operator: how it is written; `Add()` where absent.
            gate: on which condition; always where absent.
            gate_site: where the gate looks; at the edit's own site where absent.

        Returns:
            The intervention, which remembers the vector's model.

        Raises:
            SiteError: the vector has no direction there.
            PositionError: the position rule does not parse.
            SteeringError: no vector, an unknown scale, or a strength that is not finite.
        """
        if not isinstance(vector, Directions):
            raise SteeringError(
                f"Intervention.of takes a SteeringVector and got {type(vector).__name__}; a bare direction is written "
                "by Intervention.at(site, direction, strength)."
            )
        parsed = Site.parse(site, vector.fingerprint.n_layers)
        direction = vector.at(parsed)
        if scale == "unit":
            direction = direction / vector.norm(parsed)
        elif scale == "relative":
            direction = direction / vector.norm(parsed) * vector.activation_norm(parsed)
        elif scale != "raw":
            raise SteeringError(f"scale {scale!r}; expected 'raw', 'unit' or 'relative'.")
        return cls(
            site=parsed,
            direction=direction,
            strength=_number(strength),
            positions=Positions.parse(positions),
            operator=operator or Add(),
            gate=gate,
            gate_site=None if gate_site is None else Site.parse(gate_site),
            fingerprint=vector.fingerprint,
            name=vector.name,
        )

    @classmethod
    def at(
        cls,
        site: SiteLike,
        direction: Float[Tensor, " width"],
        strength: float | int = 1.0,
        positions: str | int | Sequence[int] | Positions = "all",
        operator: Operator | None = None,
        name: str = "direction",
        gate: Gate | None = None,
        gate_site: SiteLike | None = None,
    ) -> "Intervention":
        """The edit that writes a bare direction, of which no model is known.

        Args:
            site: where.
            direction: what, in the units of the site's activations.
            strength: how many times the direction.
            positions: which tokens, as `Positions.parse` reads them.
            operator: how it is written; `Add()` where absent.
            name: what messages call it.
            gate: on which condition; always where absent.
            gate_site: where the gate looks; at the edit's own site where absent.

        Returns:
            The intervention.

        Raises:
            DirectionError: the direction is NaN, infinite, zero or not one axis.
            SiteError: the site does not parse.
            PositionError: the position rule does not parse.
        """
        return cls(
            site=Site.parse(site),
            direction=direction if isinstance(direction, Tensor) else torch.as_tensor(direction, dtype=torch.float32),
            strength=_number(strength),
            positions=Positions.parse(positions),
            operator=operator or Add(),
            gate=gate,
            gate_site=None if gate_site is None else Site.parse(gate_site),
            name=name,
        )


Interventions = Intervention | Sequence[Intervention]
"""One intervention, or several that act in this order."""


def as_interventions(given: Interventions | Sequence[Interventions]) -> tuple[Intervention, ...]:
    """Interventions as a tuple, whether one or several are given.

    Args:
        given: one intervention, or a list of them or of such lists.

    Returns:
        The interventions, in their order.

    Raises:
        SteeringError: something else is given, such as a vector, which says neither how strongly nor at which tokens.
    """
    if isinstance(given, Intervention):
        return (given,)
    if isinstance(given, list | tuple):
        return tuple(chain.from_iterable(map(as_interventions, given)))
    if isinstance(given, Directions):
        raise SteeringError(
            f"vector {given.name!r} alone does not say where and how strongly it is written; write "
            f"Intervention.of(vector, '{given.sites[len(given.sites) // 2]}', strength=2.0), or steer by "
            "vector.apply(model, layer, strength=2.0)."
        )
    raise SteeringError(
        f"{type(given).__name__} is not an intervention; write Intervention.of(vector, site, strength), or "
        "Intervention.at(site, direction, strength) for a bare direction; () is none."
    )


def _received(direction: bytes, rest: dict[str, Any]) -> Intervention:
    """An intervention that another process sent; its direction is on the CPU."""
    return Intervention(direction=load(direction)["direction"], **rest)


def _number(strength: float | int) -> float:
    """A strength as a number; `Intervention` refuses one that is not finite."""
    if isinstance(strength, str | bool) or not hasattr(strength, "__float__"):
        raise SteeringError(f"strength {strength!r} is not a number; give one, such as 2.0.")
    return float(strength)
