"""Gates: another operator, where a condition on the activation itself holds.

    ConditionGate   fires where cos(h, tanh((c . h / c . c) c)) is above (or below) the threshold
    ProbeGate       fires where sigmoid(w . h + b) is above the threshold
    both            h <- T(h) where it fires, h elsewhere

`per="token"`: h is the token's own activation, and each token is decided for itself. This is exact whatever the batch,
its padding and the key-value cache. `per="row"`: h is the mean over all tokens of the row that this call sees, and the
row is steered whole or not at all. An operator sees neither masks nor earlier calls. So the mean takes in padding, and
while generating with a cache each new token is decided by itself: per-row gates are exact for unpadded rows (batches
of one length) in one forward pass. No row's decision ever depends on another row. The decision is hard: gradients flow
through what fires, not through whether it does.

Sources: Lee et al. 2024 (CAST, arXiv 2409.05907), whose published code decides a whole batch by its first row, and
whose comparator "larger" says that the *threshold* is larger; here "above" fires where the similarity is above the
threshold. A probe as gate: Cooper Stickland et al. 2024 (arXiv 2406.15518).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lens_steer.errors import SteeringError
from lens_steer.operators.arithmetic import placed, require_finite, require_vector, widened
from lens_steer.operators.operator import Operator

Comparator = Literal["above", "below"]
Per = Literal["row", "token"]


@dataclass(frozen=True, eq=False)
class ConditionGate:
    """Another operator, where the activation is similar (or dissimilar) enough to its squashed part along `condition`.

    Where the tanh is nearly straight, the similarity is |cos(h, c)|: it says how much of the activation lies along the
    condition, not on which side. A `ProbeGate` tells the sides apart. Large activations saturate the tanh.

    Raises:
        DirectionError: the condition is not one axis, not finite, or zero.
        SteeringError: the threshold is not a cosine, or `comparator` or `per` is unknown.
    """

    operator: Operator
    condition: Float[Tensor, " d_model"] = field(repr=False)
    threshold: float
    comparator: Comparator = "above"
    per: Per = "row"

    def __post_init__(self) -> None:
        require_vector(self.condition, "ConditionGate: condition")
        if not -1 <= self.threshold <= 1:
            raise SteeringError(f"ConditionGate: threshold {self.threshold}; a cosine is from -1 to 1.")
        _require_choice(self.comparator, ("above", "below"), "ConditionGate: comparator")
        _require_choice(self.per, ("row", "token"), "ConditionGate: per")

    def fires(self, activation: Float[Tensor, "batch pos d_model"]) -> Bool[Tensor, "batch pos"]:
        """Where the operator is applied.

        Args:
            activation: the activation at one site.

        Returns:
            True where the similarity is strictly above (below) the threshold.

        Raises:
            DirectionError: the condition is not as long as the activation is wide.
        """
        h = _observed(activation, self.per)
        condition = placed(self.condition, h, "the condition")
        projected = torch.tanh((h @ condition / (condition @ condition))[..., None] * condition)
        similarity = cosine_similarity(h, projected, dim=-1)
        fired = similarity > self.threshold if self.comparator == "above" else similarity < self.threshold
        return fired.expand(activation.shape[:-1])

    def __call__(
        self, activation: Float[Tensor, "batch pos d_model"], direction: Float[Tensor, " d_model"], strength: float
    ) -> Float[Tensor, "batch pos d_model"]:
        """Applies the operator where the gate fires.

        Args:
            activation: the activation at one site.
            direction: as the operator reads it.
            strength: as the operator reads it; 0 gives back the very tensor that came in.

        Returns:
            The operator's result where the gate fires, the activation bit for bit elsewhere; same device and dtype.

        Raises:
            DirectionError: the condition is not as long as the activation is wide, or as the operator does.

        Source:
            Lee et al. 2024, arXiv 2409.05907.
        """
        if strength == 0:
            return activation
        return _gated(self.fires(activation), self.operator(activation, direction, strength), activation)


@dataclass(frozen=True, eq=False)
class ProbeGate:
    """Another operator, where a linear probe says yes.

    With a weight along the direction, no bias and threshold 0.5 it fires where the projection is positive.

    Raises:
        DirectionError: the weight is not one axis, not finite, or zero.
        SteeringError: the bias is not finite, the threshold not a probability, or `per` is unknown.
    """

    operator: Operator
    weight: Float[Tensor, " d_model"] = field(repr=False)
    bias: float = 0.0
    threshold: float = 0.5
    per: Per = "token"

    def __post_init__(self) -> None:
        require_vector(self.weight, "ProbeGate: weight")
        require_finite(self.bias, "ProbeGate: bias")
        if not 0 < self.threshold < 1:
            raise SteeringError(f"ProbeGate: threshold {self.threshold}; give a probability between 0 and 1.")
        _require_choice(self.per, ("row", "token"), "ProbeGate: per")

    def fires(self, activation: Float[Tensor, "batch pos d_model"]) -> Bool[Tensor, "batch pos"]:
        """Where the operator is applied.

        Args:
            activation: the activation at one site.

        Returns:
            True where the probability is strictly above the threshold.

        Raises:
            DirectionError: the weight is not as long as the activation is wide.
        """
        h = _observed(activation, self.per)
        probability = torch.sigmoid(h @ placed(self.weight, h, "the probe's weight") + self.bias)
        return (probability > self.threshold).expand(activation.shape[:-1])

    def __call__(
        self, activation: Float[Tensor, "batch pos d_model"], direction: Float[Tensor, " d_model"], strength: float
    ) -> Float[Tensor, "batch pos d_model"]:
        """Applies the operator where the probe says yes.

        Args:
            activation: the activation at one site.
            direction: as the operator reads it.
            strength: as the operator reads it; 0 gives back the very tensor that came in.

        Returns:
            The operator's result where the gate fires, the activation bit for bit elsewhere; same device and dtype.

        Raises:
            DirectionError: the weight is not as long as the activation is wide, or as the operator does.

        Source:
            Cooper Stickland et al. 2024, arXiv 2406.15518.
        """
        if strength == 0:
            return activation
        return _gated(self.fires(activation), self.operator(activation, direction, strength), activation)


def _observed(activation: Tensor, per: Per) -> Tensor:
    """What a gate looks at: each token, or the mean over each row's tokens."""
    h = widened(activation)
    return h if per == "token" else h.mean(dim=-2, keepdim=True)


def _gated(fired: Tensor, written: Tensor, activation: Tensor) -> Tensor:
    return torch.where(fired[..., None], written, activation)


def _require_choice(given: str, choices: tuple[str, ...], name: str) -> None:
    if given not in choices:
        raise SteeringError(f"{name} {given!r}; expected one of {', '.join(choices)}.")
