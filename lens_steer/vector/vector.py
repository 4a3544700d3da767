"""The steering vector: one direction per site, with its provenance.

    v = {site: direction}      (v + w)[site] = v[site] + w[site]      v.unit()[site] = v[site] / ||v[site]||

Directions are float32 on the CPU, in the units of the site's activations; only `unit` normalises them. A vector is
frozen: arithmetic returns a new one. `activation_norms` are the median norms of the training tokens' activations at
each site, the unit of the `relative` strength scale. `fingerprint` identifies the model; `apply` steers it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.plotting import draw
from lens_steer._util.shown import shown
from lens_steer.errors import DirectionError, MismatchError, SiteError
from lens_steer.hooks import Intervention, Lengths, Scale, Steering, steer
from lens_steer.hooks.operators import Gate, Operator
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike, Sites, sites_of, span
from lens_steer.model import Fingerprint, SteerableModel, require_model, require_same_model


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringVector:
    """A direction at each of its sites, with its provenance; frozen.

    `method`, `options`, `position` (a position rule), `data_hash` and the number of activations of each class record
    how it was made, `fingerprint` from which model, `versions` with which library versions. `activation_norms` are
    the median activation norms at each site.

    Raises:
        DirectionError: a direction is NaN, infinite, zero or not of the site's width; the site is named.
        SiteError: there are no sites, or the model has no such layer or head.
    """

    name: str
    directions: Mapping[Site, Float[Tensor, " width"]]
    method: str
    position: str
    data_hash: str
    n_positive: int
    n_negative: int
    activation_norms: Mapping[Site, float]
    fingerprint: Fingerprint
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.directions:
            raise SiteError(f"vector {self.name!r} has no sites; give at least one direction.")
        kept = {}
        for site in sorted(self.directions):
            if site.layer >= self.fingerprint.n_layers:
                raise SiteError(f"vector {self.name!r}: {site} on a model of {self.fingerprint.n_layers} layers.")
            if site.head is not None and site.head >= (self.fingerprint.n_heads or 0):
                raise SiteError(f"vector {self.name!r}: {site} on a model of {self.fingerprint.n_heads} heads a layer.")
            width = site.width(self.fingerprint.d_model, self.fingerprint.d_head)
            kept[site] = _checked(self.directions[site], width, f"vector {self.name!r} at {site}")
        missing = [str(site) for site in kept if not self.activation_norms.get(site, 0) > 0]
        if missing:
            raise DirectionError(
                f"vector {self.name!r}: no activation norm above 0 at {', '.join(missing)}; give the median norm of "
                "the site's activations."
            )
        norms = {site: float(self.activation_norms[site]) for site in kept}
        object.__setattr__(self, "directions", MappingProxyType(kept))
        object.__setattr__(self, "activation_norms", MappingProxyType(norms))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        object.__setattr__(self, "versions", MappingProxyType(dict(self.versions)))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in order."""
        return tuple(self.directions)

    @property
    def left_out(self) -> dict[Site, str]:
        """The sites at which extraction found no direction, and why."""
        return {Site.parse(site): str(why) for site, why in self.options.get("left_out", {}).items()}

    def _line(self) -> str:
        pairs = self.options.get("pairs")
        made = f"{pairs} pairs" if pairs else f"{self.n_positive} + {self.n_negative} activations"
        return f"SteeringVector({self.name!r}, {self.fingerprint.name}, {self.method} of {made}, {span(self.sites)})"

    def at(self, site: SiteLike) -> Float[Tensor, " width"]:
        """The direction at a site.

        Args:
            site: one of the vector's sites.

        Returns:
            A copy, float32 on the CPU, in the units of the site's activations.

        Raises:
            SiteError: the vector has no direction there.
        """
        return self.directions[self._own(site)].clone()

    def only(self, *sites: SiteLike) -> "SteeringVector":
        """The same vector at some of its sites.

        Args:
            sites: one or more of the vector's.

        Raises:
            SiteError: the vector has no direction at one of them.
        """
        return self.replaced(self.name, {self._own(site): self.at(site) for site in sites})

    def apply(
        self,
        model: SteerableModel,
        layer: Sites | None = None,
        strength: float | int = 1.0,
        scale: Scale = "raw",
        positions: str | int | Sequence[int] | Positions = "all",
        operator: Operator | None = None,
        gate: Gate | None = None,
        prompt_lengths: Lengths = None,
        site: Sites | None = None,
    ) -> AbstractContextManager[Steering]:
        """Steers a model with this vector while the context is open.

        `vector.apply(model, 13, 2.0)` is `steer(model, Intervention.of(vector, 13, 2.0), learn_prompts=True)`.

        Args:
            model: the vector's model.
            layer: a layer (its resid_post), any other site, or several sites; may be left out where the vector has one
                site.
            strength: in units of the scale.
            scale: what strength 1 means: the vector as extracted (`raw`), norm 1 (`unit`), or the site's median
                activation norm (`relative`).
            positions: which tokens are steered, in the syntax of `Positions.parse`.
            operator: how the direction is applied; addition where absent.
            gate: a condition on the activation; always applied where absent.
            prompt_lengths: number of prompt tokens of each row, for positions relative to the prompt. Where absent,
                `steer` infers them for `generate`, `model.generate` and a forward pass of prompts.
            site: alias of `layer`.

        Returns:
            The context manager of `steer`.

        Raises:
            ArgumentError: no model.
            SiteError: no site is given and the vector has several, or it has no direction at the site.
            SteeringError, PositionError, MismatchError: as `steer` and `Intervention.of`.

        Example:
            >>> from lens_steer import Decoding, extract, generate, load_model
            >>> model = load_model("lab")
            >>> vector = extract(model, ["I love this.", "What joy."], ["I hate this.", "What grief."])
            >>> with vector.apply(model, layer=3, strength=4.0, positions="generated") as steering:
            ...     text = generate(model, "Once upon a time", decoding=Decoding(max_new_tokens=8)).texts[0]
            >>> steering.edited
            [7]
        """
        require_model(model, "vector.apply(model, layer, strength=2.0)", layer, strength)
        if (layer is None) == (site is None) and (site is not None or len(self.sites) > 1):
            raise SiteError(
                f"vector {self.name!r} has {len(self.sites)} sites; give one site, such as vector.apply(model, "
                f"'{self.sites[len(self.sites) // 2]}', strength=2.0)."
            )
        place = layer if site is None else site
        edits = [
            Intervention.of(self, where, strength, scale, positions, operator, gate)
            for where in (self.sites if place is None else sites_of(model, place))
        ]
        return steer(model, *edits, prompt_lengths=prompt_lengths, learn_prompts=True)

    def norm(self, site: SiteLike) -> float:
        """The Euclidean norm of the direction at a site, in the units of its activations."""
        return float(self.directions[self._own(site)].double().norm())

    def activation_norm(self, site: SiteLike) -> float:
        """The median norm of the training tokens' activations at a site."""
        return self.activation_norms[self._own(site)]

    def cosine(self, other: "SteeringVector", site: SiteLike) -> float:
        """The cosine between this vector and another of the same model, at a site.

        Args:
            other: a vector with a direction at the site.
            site: a site of both vectors.

        Returns:
            Between -1 and 1.

        Raises:
            MismatchError: the other vector is of another model.
            SiteError: one of the two has no direction there.
        """
        require_same_model(self.fingerprint, other.fingerprint, f"vectors {self.name!r} and {other.name!r}")
        mine, theirs = self.at(site).double(), other.at(site).double()
        return float((mine @ theirs / (mine.norm() * theirs.norm())).clamp(-1, 1))

    def unit(self) -> "SteeringVector":
        """The same vector with every direction scaled to norm 1."""
        directions = {site: direction / direction.norm() for site, direction in self.directions.items()}
        return self._derived(f"unit({self.name})", directions)

    def without(self, other: "SteeringVector") -> "SteeringVector":
        """This vector less its part along another, v - (v.u) u with u the unit direction of `other`, site by site.

        Args:
            other: a vector of the same model, at all of this one's sites or more.

        Returns:
            The residual, orthogonal to `other` at every site.

        Raises:
            MismatchError: a vector of another model.
            SiteError: `other` has no direction at one of the sites.
            DirectionError: nothing is left at a site.
        """
        require_same_model(self.fingerprint, other.fingerprint, f"vectors {self.name!r} and {other.name!r}")
        directions = {}
        for site, direction in self.directions.items():
            unit = torch.nn.functional.normalize(other.at(site).double(), dim=0)
            rest = direction.double() - (direction.double() @ unit) * unit
            directions[site] = torch.where(rest.norm() > 1e-6 * direction.norm(), rest, 0 * rest).float()
        return self._derived(f"({self.name} without {other.name})", directions)

    def to_frame(self) -> pd.DataFrame:
        """One row per site: the norm, the site's median activation norm, and their ratio."""
        rows = [(str(site), self.norm(site), self.activation_norms[site]) for site in self.sites]
        frame = pd.DataFrame(rows, columns=["site", "norm", "activation_norm"])
        return frame.assign(relative_norm=frame["norm"] / frame["activation_norm"])

    def plot_lens(self, model: SteerableModel, site: SiteLike | None = None, k: int = 10) -> Any:
        """Draws the tokens that the vector raises and lowers most, by the logit lens.

        Args:
            model: the vector's model.
            site: one of its sites; the last one where absent.
            k: tokens at each end.

        Returns:
            The figure; `lens_steer.analysis.lens.vector_lens` gives its table.
        """
        return draw("lens_bars", self, model, self.sites[-1] if site is None else site, k)

    def to(self, *_: Any) -> "SteeringVector":
        """Returns the vector unchanged: directions stay float32 on the CPU; hooks copy them to the model's device."""
        return self

    @classmethod
    def load(cls, path: str | Path, model: SteerableModel | None = None) -> "SteeringVector":
        """Reads a vector that `save` wrote; see `load_vector`."""
        from lens_steer.vector.storage import load_vector

        return load_vector(path, model)

    def save(self, path: str | Path) -> Path:
        """Writes the vector to a safetensors file with a JSON header; `load` reads it back.

        Args:
            path: of the file, usually ending in `.safetensors`; an existing file is replaced.

        Returns:
            The path written. The same vector gives the same bytes.

        Raises:
            FormatError: an option has no JSON form.
        """
        from lens_steer.vector.storage import save_vector

        return save_vector(self, path)

    def __add__(self, other: "SteeringVector") -> "SteeringVector":
        return self._combined(other, 1.0, f"({self.name} + {other.name})")

    def __radd__(self, other: int) -> "SteeringVector":
        if other != 0:
            raise DirectionError(f"{other!r} + vector {self.name!r}: only vectors can be added; `sum` begins with 0.")
        return self

    def __sub__(self, other: "SteeringVector") -> "SteeringVector":
        return self._combined(other, -1.0, f"({self.name} - {other.name})")

    def __mul__(self, factor: float | int) -> "SteeringVector":
        directions = {site: direction * factor for site, direction in self.directions.items()}
        return self._derived(f"{factor:g} * {self.name}", directions)

    def __rmul__(self, factor: float | int) -> "SteeringVector":
        return self * factor

    def __truediv__(self, divisor: float | int) -> "SteeringVector":
        if divisor == 0:
            raise DirectionError(f"vector {self.name!r} cannot be divided by 0.")
        directions = {site: direction / divisor for site, direction in self.directions.items()}
        return self._derived(f"{self.name} / {divisor:g}", directions)

    def __neg__(self) -> "SteeringVector":
        return self._derived(f"-{self.name}", {site: -direction for site, direction in self.directions.items()})

    def _own(self, site: SiteLike) -> Site:
        """One of this vector's sites."""
        parsed = Site.parse(site, self.fingerprint.n_layers)
        if parsed not in self.directions:
            why = self.left_out.get(parsed)
            raise SiteError(
                f"vector {self.name!r} has no direction at {parsed}{f' ({why})' if why else ''}; it has "
                f"{span(self.sites)}."
            )
        return parsed

    def replaced(
        self,
        name: str,
        directions: Mapping[Site, Float[Tensor, " width"]],
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> "SteeringVector":
        """A new vector with other directions and the rest of this vector's provenance.

        Args:
            name: of the new vector.
            directions: by site, in the units of the site's activations.
            method: of the new directions; this vector's method where absent.
            options: of that method; this vector's options where absent.

        Returns:
            The new vector.

        Raises:
            DirectionError: a direction is NaN, infinite, zero or not of the site's width.
        """
        method, options = method or self.method, self.options if options is None else options
        return replace(self, name=name, directions=directions, method=method, options=options)

    def _derived(self, name: str, directions: Mapping[Site, Tensor]) -> "SteeringVector":
        """A vector with the same provenance, named after the expression that made it."""
        return self.replaced(name, directions, options={**self.options, "expression": name})

    def _combined(self, other: "SteeringVector", sign: float, name: str) -> "SteeringVector":
        """A sum of two vectors of the same model and sites; the median norms are averaged."""
        require_same_model(self.fingerprint, other.fingerprint, f"vectors {self.name!r} and {other.name!r}")
        if self.sites != other.sites:
            raise MismatchError(
                f"vectors {self.name!r} ({span(self.sites)}) and {other.name!r} ({span(other.sites)}) do not have the "
                "same sites; combine them where both are (`v.only(site) + w.only(site)`), or extract both at the same "
                "sites. To write them at different sites, give one intervention each."
            )
        return SteeringVector(
            name=name,
            directions={site: self.directions[site] + sign * other.directions[site] for site in self.sites},
            method=self.method if self.method == other.method else f"{self.method}, {other.method}",
            position=self.position if self.position == other.position else f"{self.position}, {other.position}",
            data_hash=hashlib.sha256(f"{self.data_hash} {sign:g} {other.data_hash}".encode()).hexdigest(),
            n_positive=self.n_positive + other.n_positive,
            n_negative=self.n_negative + other.n_negative,
            activation_norms={s: (self.activation_norms[s] + other.activation_norms[s]) / 2 for s in self.sites},
            fingerprint=self.fingerprint,
            options={"expression": name},
            versions=self.versions,
        )


def _checked(direction: Tensor, width: int | None, where: str) -> Tensor:
    """A copy of a direction as float32 on the CPU; raises with the site's name where it is invalid."""
    if isinstance(direction, Tensor) and direction.is_complex():
        raise DirectionError(f"{where}: complex entries; give real ones, such as direction.real.")
    given = torch.as_tensor(direction, dtype=torch.float32, device="cpu")
    with torch.inference_mode(False):  # a vector outlives the mode that it was made in
        kept = given.detach().clone(memory_format=torch.contiguous_format)
    if kept.shape != (width,):
        raise DirectionError(f"{where}: shape {tuple(kept.shape)}; expected ({width},), the width of the site.")
    if not bool(kept.isfinite().all()):
        raise DirectionError(f"{where}: NaN or infinite entries; check the activations it was made from.")
    if not bool(kept.any()):
        raise DirectionError(f"{where}: the direction is zero and would steer nothing; leave this site out.")
    return kept
