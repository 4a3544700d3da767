"""Gates: whether an activation is steered at all, decided on the activation itself.

    ConditionGate   fires where cos(h, tanh((c . h / c . c) c)) is above (or below) the threshold
    ProbeGate       fires where sigmoid(w . h + b) is above the threshold

`per="token"`: h is the token's own activation, and each token is decided for itself. `per="row"`: h is the mean over
the tokens of a row that are given as real, and the row is steered whole or not at all. An intervention holds a gate
beside its operator, and `lens_steer.hooks` decides rows by their prompts, once, so that neither padding nor the
key-value cache nor the other rows of a batch change a decision. A decision is hard: gradients flow through what
fires, not through whether it does.

Sources: Lee et al. 2024 (CAST, arXiv 2409.05907), whose published code decides a whole batch by its first row, and
whose comparator "larger" says that the *threshold* is larger; here "above" fires where the similarity is above the
threshold. A probe as gate: Cooper Stickland et al. 2024 (arXiv 2406.15518).
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lens_steer._util.shown import shown
from lens_steer.errors import SteeringError
from lens_steer.hooks.operators.arithmetic import placed, require_finite, require_vector, widened

Comparator = Literal["above", "below"]
Per = Literal["row", "token"]


@runtime_checkable
class Gate(Protocol):
    """Decides from an activation where it is steered."""

    @property
    def per(self) -> Per:
        """Whether rows are decided whole, or each token for itself; only the latter may share forward passes."""
        ...

    def fires(
        self, activation: Float[Tensor, "batch pos width"], real: Bool[Tensor, "batch pos"] | None = None
    ) -> Bool[Tensor, "batch pos"]:
        """True where the operator is applied; rows are decided by their real tokens (all where absent)."""
        ...


@shown()
@dataclass(frozen=True, eq=False)
class ConditionGate:
    """Fires where the activation is similar (or dissimilar) enough to its squashed part along `condition`.

    Where the tanh is nearly straight, the similarity is |cos(h, c)|: it says how much of the activation lies along the
    condition, not on which side. A `ProbeGate` tells the sides apart. Large activations saturate the tanh.

    Raises:
        DirectionError: the condition is not one axis, not finite, or zero.
        SteeringError: the threshold is not a cosine, or `comparator` or `per` is unknown.
    """

    condition: Float[Tensor, " width"] = field(repr=False)
    threshold: float
    comparator: Comparator = "above"
    per: Per = "row"

    def __post_init__(self) -> None:
        require_vector(self.condition, "ConditionGate: condition")
        if not -1 <= self.threshold <= 1:
            raise SteeringError(f"ConditionGate: threshold {self.threshold}; a cosine is from -1 to 1.")
        _require_choice(self.comparator, ("above", "below"), "ConditionGate: comparator")
        _require_choice(self.per, ("row", "token"), "ConditionGate: per")

    def fires(
        self, activation: Float[Tensor, "batch pos width"], real: Bool[Tensor, "batch pos"] | None = None
    ) -> Bool[Tensor, "batch pos"]:
        """Where the operator is applied.

        Args:
            activation: the activation at one site.
            real: the tokens that a row is decided by; all where absent. A row without any never fires.

        Returns:
            True where the similarity is strictly above (below) the threshold.

        Raises:
            DirectionError: the condition is not as long as the activation is wide.

        Source:
            Lee et al. 2024, arXiv 2409.05907.
        """
        similarity = self.similarity(_observed(activation, self.per, real))
        fired = similarity > self.threshold if self.comparator == "above" else similarity < self.threshold
        return fired.expand(activation.shape[:-1])

    def similarity(self, h: Float[Tensor, "... width"]) -> Float[Tensor, "..."]:
        """The cosine of activations in working dtype with their squashed part along the condition."""
        condition = placed(self.condition, h, "the condition")
        projected = torch.tanh((h @ condition / (condition @ condition))[..., None] * condition)
        return cosine_similarity(h, projected, dim=-1)


@shown()
@dataclass(frozen=True, eq=False)
class ProbeGate:
    """Fires where a linear probe says yes.

    With a weight along the direction, no bias and threshold 0.5 it fires where the projection is positive.

    Raises:
        DirectionError: the weight is not one axis, not finite, or zero.
        SteeringError: the bias is not finite, the threshold not a probability, or `per` is unknown.
    """

    weight: Float[Tensor, " width"] = field(repr=False)
    bias: float = 0.0
    threshold: float = 0.5
    per: Per = "token"

    def __post_init__(self) -> None:
        require_vector(self.weight, "ProbeGate: weight")
        require_finite(self.bias, "ProbeGate: bias")
        if not 0 < self.threshold < 1:
            raise SteeringError(f"ProbeGate: threshold {self.threshold}; give a probability between 0 and 1.")
        _require_choice(self.per, ("row", "token"), "ProbeGate: per")

    def fires(
        self, activation: Float[Tensor, "batch pos width"], real: Bool[Tensor, "batch pos"] | None = None
    ) -> Bool[Tensor, "batch pos"]:
        """Where the operator is applied.

        Args:
            activation: the activation at one site.
            real: the tokens that a row is decided by; all where absent. A row without any never fires.

        Returns:
            True where the probability is strictly above the threshold.

        Raises:
            DirectionError: the weight is not as long as the activation is wide.

        Source:
            Cooper Stickland et al. 2024, arXiv 2406.15518.
        """
        h = _observed(activation, self.per, real)
        probability = torch.sigmoid(h @ placed(self.weight, h, "the probe's weight") + self.bias)
        return (probability > self.threshold).expand(activation.shape[:-1])


def _observed(activation: Tensor, per: Per, real: Tensor | None) -> Tensor:
    """What a gate looks at: each token, or the mean over each row's real tokens (NaN, which never fires, of none)."""
    h = widened(activation)
    if per == "token":
        return h
    if real is None:
        return h.mean(dim=-2, keepdim=True)
    kept = real.to(h.device)[..., None]
    return torch.where(kept, h, 0).sum(dim=-2, keepdim=True) / kept.sum(dim=-2, keepdim=True)


def _require_choice(given: str, choices: tuple[str, ...], name: str) -> None:
    if given not in choices:
        raise SteeringError(f"{name} {given!r}; expected one of {', '.join(choices)}.")
