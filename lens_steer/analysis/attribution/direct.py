"""Direct logit attribution of a steering effect: the part that each component writes directly to the logits.

    h' - h = sum_c d_c                  c: the edit, every later head and MLP;  d_c = its output, steered - unsteered
    s(h)   = <r, h> / sigma(h) + offset                                            `lens_steer.model.read_out`

    s(h') - s(h) = sum_c  <r, d_c> (1/sigma' + 1/sigma) / 2    +    <r, (h' + h) / 2> (1/sigma' - 1/sigma)
                          component c, norm frozen                   the norm's own scale

h and h' are the final residual stream, unsteered and steered. The decomposition is the product rule for differences and
therefore exact; it equals the mean of the attributions with the norm frozen at the unsteered and at the steered scale,
and changes sign when the two runs are exchanged. Source: the frozen-norm direct logit attribution of Elhage et al. 2021
("A mathematical framework for transformer circuits"); the symmetric form is ours. TransformerLens'
`direct_logit_attribution` needs folded weights and one run; this compares two runs with unchanged weights.

The part of the edit is its direct path. The part of a head is the change in what it writes, which may only pass on what
an earlier component read. Only the last token of each prompt is considered.
"""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from lens_steer.analysis.attribution.contrast import TokenContrast
from lens_steer.analysis.attribution.contributions import Component, Contributions
from lens_steer.analysis.attribution.runs import (
    AttributionRun,
    allowance,
    later_components,
    require_whole_heads,
    run,
    written,
)
from lens_steer.errors import AttributionError, SteeringError
from lens_steer.hooks import Interventions, as_interventions
from lens_steer.hooks.sites import Site, site_fault
from lens_steer.model import SteerableModel, read_out

_IN_ATTENTION = ("resid_mid", "z")
QUANTITY = "logit difference, steered - unsteered (nats)"


def attribute_directly(
    model: SteerableModel,
    asked: TokenContrast,
    interventions: Interventions,
    heads: bool = True,
    batch_size: int = 32,
) -> Contributions:
    """Decomposes the effect of steering on a logit difference by component; see the module's formula.

    Args:
        model: a loaded model.
        asked: prompts and the tokens that are compared.
        interventions: what steers.
        heads: later heads one by one, or each later attention as a whole (for models that put a norm behind it).
        batch_size: prompts in one forward pass.

    Returns:
        One part for each edited site, each later head and MLP, and the norm's scale; they sum to what was measured
        within 1e-3 of its size and the rounding of the model's own logits and stream, or an error is raised. That
        rounding is what `unexplained` holds: in bfloat16 as much as a hundredth of a logit, however small the effect.

    Raises:
        AttributionError: the model caps its logits; a later layer has parts that are no sites, or heads that do not add
            up to its attention; or logits, or the stream, are not the sums that they should be.
        SteeringError: there are no interventions, or one selected no token of any prompt.

    Source:
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".

    Example:
        >>> import torch
        >>> from lens_steer import Intervention, load_model
        >>> from lens_steer.analysis.attribution import token_contrast
        >>> model = load_model("lab")
        >>> asked = token_contrast(model, ["Once upon a time"], " there", " the")
        >>> found = attribute_directly(model, asked, [Intervention.at("resid_post@5", torch.randn(128))])
        >>> bool(found.unexplained.abs().max() < 1e-3)
        True
    """
    interventions = as_interventions(interventions)
    if not interventions:
        raise SteeringError("there are no interventions to attribute; give at least one intervention.")
    readout, edited = read_out(model), list(dict.fromkeys(entry.site for entry in interventions))
    components = later_components(model, edited, heads)
    _check_components(model, components)
    last = Site("resid_post", int(model.cfg.n_layers) - 1)
    before, after = (run(model, asked, [*components, last], plan, batch_size) for plan in ((), interventions))
    old, new = (found.activations[last].double() for found in (before, after))
    rows, offsets = (f(asked.raised, asked.lowered) for f in (readout.directions, readout.offsets))
    for found, stream in ((before, old), (after, new)):
        _check_readout(model, _along(rows, stream) / readout.scale(stream) + offsets, found)
    now, then = 1 / readout.scale(new), 1 / readout.scale(old)
    moved = [written(model, site, after.edits[site]) for site in edited]
    moved += [written(model, site, _own(model, after, site) - before.activations[site]) for site in components]
    _check_stream(model, reduce(moved, "component n d_model -> n d_model", "sum"), old, new)
    parts = [_along(rows, change) * (now + then) / 2 for change in moved]
    parts.append(_along(rows, new + old) / 2 * (now - then))
    return Contributions(
        quantity=QUANTITY,
        items=asked.items,
        components=_names(edited, components),
        values=rearrange(parts, "component n -> n component"),
        measured=after.read - before.read,
    )


def _along(rows: Float[Tensor, "n d_model"], stream: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
    """The product of each prompt's answer direction with its own stream."""
    return einsum(rows, stream, "n d_model, n d_model -> n")


def _names(edited: Sequence[Site], components: Sequence[Site]) -> tuple[Component, ...]:
    """Edits, components and the norm's scale, in this order."""
    edits = [Component(label=f"edit {site}", kind="edit", layer=site.layer, head=site.head) for site in edited]
    return (*edits, *map(Component.at, components), Component(label="norm scale", kind="norm"))


def _own(model: SteerableModel, after: AttributionRun, site: Site) -> Float[Tensor, "n width"]:
    """The component's own output, without edits at its site or, for a whole attention layer, at its heads."""
    inside = [edited for edited in after.edits if edited == site]
    if site.kind == "attn_out":
        inside += [edited for edited in after.edits if edited.layer == site.layer and edited.kind in _IN_ATTENTION]
    added = torch.zeros_like(after.activations[site])
    for edited in inside:
        added = added + (after.edits[edited] if edited == site else written(model, edited, after.edits[edited]))
    return after.activations[site] - added


def _check_components(model: SteerableModel, components: Sequence[Site]) -> None:
    """Refuses layers of which a part is no site, and heads that do not add up to what attention writes."""
    for site in components:
        fault = site_fault(model, site)
        if fault:
            advice = ["an edit at a later layer"]
            if any(not site_fault(model, other) for other in (*components, Site("z", site.layer, 0))):
                advice.insert(0, "patch_back, which measures one part at a time")
            if site.head is not None and not site_fault(model, Site("attn_out", site.layer)):
                advice.insert(0, "heads=False")
            wrong = f"what layer {site.layer} writes cannot be added up, because {site} {fault}"
            raise AttributionError(f"{wrong}. Use {', or '.join(advice)}.")
    require_whole_heads(model, components)


def _check_readout(model: SteerableModel, said: Tensor, found: AttributionRun) -> None:
    """Refuses a model whose logits are not the norm and the linear map that they should be."""
    error, size = float((found.read - said).abs().max()), float(found.read.abs().max())
    if not error <= allowance(model, max(1.0, size), found.largest_logit, roundings=2):
        raise AttributionError(
            f"the last residual stream, its norm and the unembedding miss the measured logit difference by "
            f"{error:.2g} (largest difference {size:.2g}): this model does something else to its logits, such as "
            "a scale or a cap. Use patch_back, which measures instead of adding up."
        )


def _check_stream(model: SteerableModel, summed: Tensor, old: Tensor, new: Tensor) -> None:
    """Refuses a model whose residual stream is not the sum of its components' outputs."""
    error, size = (float(change.norm(dim=1).max()) for change in (summed - (new - old), new - old))
    if not error <= allowance(model, size, float(new.norm(dim=1).max())):
        raise AttributionError(
            f"the components' changes miss the change of the residual stream by {error:.2g} of {size:.2g}: its blocks "
            "do more than add. Use patch_back, or look at preflight."
        )
