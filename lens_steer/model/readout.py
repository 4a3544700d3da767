"""How a model makes logits of the last residual stream, as a norm's scale and a linear map.

    logits(h) = f (W_U^T [ gain * c(h) / sigma(h) + shift ] + b_U)        sigma(h) = sqrt( mean(c(h)^2) + epsilon )

    c(h) = h - mean(h) under a LayerNorm, h under an RMSNorm;   f: a factor of the configuration (Cohere, Granite), or 1

For a fixed sigma a logit difference is linear in h: it is <direction, h> / sigma + offset. TransformerLens'
`direct_logit_attribution` says the same, of models whose weights it has folded; here they are left alone. A model that
caps its logits has no such map, and is refused. A norm on whose input other things are done is not noticed here: who
uses this must compare with the model's own logits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import AttributionError
from lens_steer.model.protocol import SteerableModel


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """The final norm and the unembedding of a model, its factor in it; `centred` under a LayerNorm."""

    gain: Float[Tensor, " d_model"]
    shift: Float[Tensor, " d_model"]
    centred: bool
    epsilon: float
    unembedding: Float[Tensor, "d_model d_vocab"]
    bias: Float[Tensor, " d_vocab"]

    def scale(self, stream: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """The norm's sigma of each row of the last residual stream, float64."""
        stream = stream.double()
        centred = stream - stream.mean(dim=-1, keepdim=True) if self.centred else stream
        return (centred.pow(2).mean(dim=-1) + self.epsilon).sqrt()

    def directions(
        self, raised: Int[Tensor, " n"], lowered: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n d_model"]:
        """The stream's direction by which one logit exceeds another, before the norm.

        Args:
            raised: token ids.
            lowered: token ids to compare them with; the mean of the vocabulary where absent.

        Returns:
            One row a pair, float64 on the CPU: `<row, h> / scale(h)` is the difference of logits, but for an offset.
        """
        rows = self._compared(self.unembedding, raised, lowered).T * self.gain.double()
        return rows - rows.mean(dim=-1, keepdim=True) if self.centred else rows

    def offsets(self, raised: Int[Tensor, " n"], lowered: Int[Tensor, " n"] | None = None) -> Float[Tensor, " n"]:
        """What biases add to each difference of logits, whatever the stream; arguments as for `directions`."""
        shifted = self._compared(self.unembedding, raised, lowered).T @ self.shift.double()
        return shifted + self._compared(self.bias[None], raised, lowered)[0]

    @staticmethod
    def _compared(columns: Tensor, raised: Tensor, lowered: Tensor | None) -> Tensor:
        """The columns of some tokens minus those of others, or minus the mean column."""
        device = columns.device
        if lowered is None:
            mean = columns.mean(dim=1, keepdim=True, dtype=torch.float64)
        else:
            mean = columns[:, lowered.to(device)].double()
        return (columns[:, raised.to(device)].double() - mean).cpu()


def read_out(model: SteerableModel) -> Readout:
    """The final norm and the unembedding of a model.

    Args:
        model: a loaded model.

    Returns:
        What makes logits of its last residual stream.

    Raises:
        AttributionError: the model caps its logits, or has no final norm or unembedding of this form.
    """
    cap = getattr(model.cfg, "output_logits_soft_cap", None) or -1.0
    if cap > 0:
        raise AttributionError(
            f"this model caps its logits ({cap:g} tanh(logit / {cap:g})), so a logit is not a sum over the components "
            "of the stream. Use patch_back, which measures instead of adding up, or a model without a softcap."
        )
    norm, unembedding = getattr(model, "ln_final", None), getattr(model, "W_U", None)
    if norm is None or not isinstance(unembedding, Tensor):
        raise AttributionError("this architecture shows no final norm or no unembedding; use patch_back instead.")
    shift, bias, factor = getattr(norm, "bias", None), getattr(model, "b_U", None), logit_factor(model)
    gain = norm_gain(model, norm).cpu()
    return Readout(
        gain=gain,
        shift=shift.detach().float().cpu() if isinstance(shift, Tensor) else torch.zeros_like(gain),
        centred=not model.cfg.uses_rms_norm,
        epsilon=float(model.cfg.eps),
        unembedding=unembedding.detach() * factor if factor != 1 else unembedding.detach(),
        bias=bias.detach() * factor if isinstance(bias, Tensor) else unembedding.new_zeros(unembedding.shape[1]),
    )


def logit_factor(model: SteerableModel) -> float:
    """What an architecture multiplies its logits by, as its configuration says: 1 / 16 for Cohere, 1 for most.

    Args:
        model: a loaded model.
    """
    config = model.original_model.config
    scale, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    factor = float(getattr(config, "lm_head_multiplier", 1.0))
    return factor * (scale if isinstance(scale, int | float) else 1.0) / (divisor or 1.0)


def norm_gain(model: SteerableModel, norm: Any) -> Float[Tensor, " d_model"]:
    """What a norm multiplies each coordinate by, once it has divided by its scale.

    Args:
        model: a loaded model.
        norm: one of its norms.

    Returns:
        float32; ones where the norm has no weights, and one more than the weights where the architecture adds one.
    """
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        return torch.ones(int(model.cfg.d_model), dtype=torch.float32, device="cpu")
    return weight.detach().float() + (1.0 if getattr(model.cfg, "rmsnorm_uses_offset", False) else 0.0)
