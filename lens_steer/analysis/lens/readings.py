"""Vocabulary readings of a direction from the weights: three static lenses and the Jacobian lens.

    raw        f v W_U                   f: what the architecture multiplies its logits by (Cohere, Granite), or 1
    folded     f (g * C v) W_U           g: gain of the final norm, C: its centring (none under an RMSNorm)
    ln_final   transform( ln_final(v) W_U + b_U )                         TransformerLens' `logit_readout`
    jacobian   f (g * C J_l v) W_U       J_l: mean of d h_final / d h_l over texts, TransformerLens' `JacobianLens`

`raw`, `folded` and `jacobian` are linear in v (half the difference of the readings of v and -v), so that biases cancel
and -v reverses the order of tokens. `ln_final` is the logit lens of v as used in most papers; it includes the norm's
bias and b_U, which are the same for every vector, and a softcap where the model has one. Without biases and softcap it
orders tokens like `folded`. Static readings give the effect of v added at the last layer; only `jacobian` (on average,
to first order) and `contextual` take the layers in between into account.

Source: nostalgebraist 2020 (logit lens); Gurnee et al. 2026 (Jacobian lens).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer._util.torch_state import initial_torch
from lens_steer.analysis.lens.stream import in_stream
from lens_steer.errors import DataError, MismatchError, SiteError
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import SteerableModel, fingerprint, logit_factor, require_finite, tokenize
from lens_steer.model.logits import CHUNK
from lens_steer.vector import SteeringVector

STATIC = ("raw", "folded", "ln_final")
_OWN = "lens_steer_weights"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class LensReading:
    """One value per token; `kind` names the reading, `unit` its unit, `note` a caveat.

    A contextual reading also keeps the change of each token's log-probability in each context, when the direction is
    added and when it is subtracted.
    """

    vector: str
    site: Site
    kind: str
    values: Float[Tensor, " d_vocab"]
    unit: str
    note: str = ""
    changes: Float[Tensor, "sign n d_vocab"] | None = None


def static_readings(model: SteerableModel, vector: SteeringVector, site: SiteLike) -> tuple[LensReading, ...]:
    """The three static lenses of a direction.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of its sites.

    Returns:
        `raw`, `folded` and `ln_final`, float32 on the CPU. The first two are in logits for each unit of the final
        norm's scale, for the vector as it is long; the third in logits, whatever the length.

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector has no such site, its direction cannot be brought into the stream, or the model's logits
            are not its final norm and unembedding alone.
        LogitError: a reading is NaN or infinite.

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    direction, note = in_stream(model, vector, site)
    cap = getattr(model.cfg, "output_logits_soft_cap", None) or -1.0
    capped = f"softcap {cap:g}" if cap > 0 else ""
    whole, raw, folded = (read(model, direction) for read in (_literal, _unembedded, _folded))
    largest = torch.stack([whole.max(), raw.abs().max(), folded.abs().max()])
    require_finite(model, largest, f"a static reading of vector {vector.name!r} at {site}")
    common = {"vector": vector.name, "site": Site.parse(site)}
    notes = "; ".join(part for part in (note, capped) if part)
    return (
        LensReading(**common, kind="raw", values=raw, unit="logits x norm scale", note=note),
        LensReading(**common, kind="folded", values=folded, unit="logits x norm scale", note=note),
        LensReading(**common, kind="ln_final", values=whole, unit="logits", note=notes),
    )


@initial_torch()
def jacobian_reading(model: SteerableModel, vector: SteeringVector, site: SiteLike, lens: Any) -> LensReading:
    """A direction mapped to the last layer by the mean Jacobian, then read like `folded`.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: resid_post, mlp_out, or resid_pre above the first layer: what is written at the output of a block.
        lens: a `transformer_lens.tools.analysis.JacobianLens`, from `fit_jacobian_lens` or published.

    Returns:
        The reading. At the last layer nothing is carried, and it is `folded`.

    Raises:
        MismatchError: a vector or a lens of another model.
        SiteError: the site is not the output of a block, or the lens was not fitted there.
    """
    direction, note = in_stream(model, vector, site)
    layer = _block_output(Site.parse(site))
    try:
        lens.validate_model(model)
    except (TypeError, ValueError) as error:
        raise MismatchError(f"the Jacobian lens does not belong to this model: {error}") from error
    weights, known = lens.metadata.get(_OWN), fingerprint(model)
    if weights not in (None, known.content_hash, known.weight_hash):
        raise MismatchError(
            "the Jacobian lens was fitted on a model of the same name with other weights; fit it again."
        )
    if layer < int(model.cfg.n_layers) - 1:
        if layer not in lens.source_layers:
            raise SiteError(
                f"site {site}: the Jacobian lens was fitted at blocks {lens.source_layers}, not at {layer}."
            )
        direction = lens.transport(direction, layer)
    values = _folded(model, direction)
    require_finite(model, values, f"the Jacobian reading of vector {vector.name!r} at {site}")
    return LensReading(
        vector=vector.name,
        site=Site.parse(site),
        kind="jacobian",
        values=values,
        unit="logits x norm scale",
        note="; ".join(part for part in (note, f"{lens.n_prompts} texts") if part),
    )


@initial_torch()
def fit_jacobian_lens(
    model: SteerableModel,
    texts: Sequence[str],
    corpus: str,
    layers: Sequence[int] | None = None,
    skip: int = 4,
    max_tokens: int = 128,
    outputs_at_once: int = 32,
) -> Any:
    """Fits TransformerLens' Jacobian lens on texts: d_model backward passes a text, and no network.

    Args:
        model: a raw bridge.
        texts: what the Jacobian is averaged over, each longer than `skip` + 1 tokens; 100 texts of 128 tokens are
            usable, by its authors.
        corpus: what the texts are called.
        layers: after which blocks; all but the last where absent.
        skip: tokens left out at the beginning of each text, which are unlike the others.
        max_tokens: where texts are cut.
        outputs_at_once: output dimensions of one backward pass; changes speed and memory, nothing else.

    Returns:
        A `transformer_lens.tools.analysis.JacobianLens`, which knows the weights it was fitted on.

    Raises:
        DataError: there are no texts, or one is too short.
        MismatchError: a model that the lens does not support; TransformerLens says why.

    Source:
        Gurnee et al. 2026, "Verbalizable representations form a global workspace in language models".
    """
    from transformer_lens.tools.analysis import JacobianLens

    shortest = min((len(row) for row in tokenize(model, texts)), default=0)
    if shortest <= skip + 1:
        raise DataError(f"{len(texts)} texts, the shortest of {shortest} tokens; give texts of more than {skip + 1}.")
    known = fingerprint(model)
    try:
        return JacobianLens.fit(
            model,
            texts,
            corpus=corpus,
            source_layers=layers,
            dim_batch=outputs_at_once,
            max_seq_len=max_tokens,
            skip_first_positions=skip,
            show_progress=False,
            metadata={_OWN: known.content_hash or known.weight_hash},
        )
    except (TypeError, ValueError) as error:
        raise MismatchError(f"no Jacobian lens of this model: {error}") from error


@initial_torch()
def _literal(model: SteerableModel, direction: Float[Tensor, " d_model"]) -> Float[Tensor, " d_vocab"]:
    """TransformerLens' own reading of a direction."""
    from transformer_lens.tools.analysis import logit_readout

    try:
        return logit_readout(model, direction).values.float().cpu()
    except (ValueError, NotImplementedError) as error:
        raise SiteError(f"the unembedding of this model cannot read a direction: {error}") from error


@initial_torch()
def _folded(model: Any, direction: Float[Tensor, " d_model"]) -> Float[Tensor, " d_vocab"]:
    """A direction through the final norm's centring and gain, without its scale and bias, and the unembedding."""
    moved = direction.to(model.W_U)
    norm = getattr(model, "ln_final", None)
    if norm is not None:
        whole, centred = direction.double(), not model.cfg.uses_rms_norm
        scale = ((whole - whole.mean() if centred else whole).pow(2).mean() + model.cfg.eps).sqrt()
        with torch.no_grad():
            both = norm(torch.stack([moved, -moved])[None])[0].float()
        moved = (both[0] - both[1]) / 2 * float(scale)
    return _unembedded(model, moved)


@initial_torch()
def _unembedded(model: Any, direction: Float[Tensor, " d_model"]) -> Float[Tensor, " d_vocab"]:
    """f v W_U, in float32 on the CPU."""
    weight, factor = model.W_U.detach(), logit_factor(model)
    row = direction.detach().float().to(weight.device)
    parts = weight.split(max(CHUNK // len(weight), 1), dim=1)  # in half precision each part is copied
    logits = torch.cat([row @ part.float() for part in parts]).cpu()
    return logits if factor == 1 else logits * factor


def _block_output(site: Site) -> int:
    """After which block a site's direction is written."""
    if site.kind in ("resid_post", "mlp_out"):
        return site.layer
    if site.kind == "resid_pre" and site.layer:
        return site.layer - 1
    raise SiteError(
        f"site {site}: a Jacobian lens reads what is written at the output of a block (resid_post, mlp_out, or "
        "resid_pre above the first layer); leave the lens out here, or read another site."
    )
