"""Which components write a vector: decomposes the class difference in the residual stream by component.

    stream at l = embedding + sum over heads and MLPs before it of their outputs          (biases are in both classes)
    < u, mean h+ - mean h- > = sum_c < u, mean out_c+ - mean out_c- >,       u = v / ||v||

The decomposition is exact for any u; where v is the mean difference, the parts sum to ||v||. A component that writes
the difference at this token may only have copied it from another token (see its attention pattern). "Embedding" is the
whole stream before block 0, including position embeddings. Source: the residual stream as a sum, Elhage et al. 2021.
Input are the activations of `lens_steer.extraction.contrast_activations`; the model runs on a few tokens only, to prove
that its heads add up.
"""

from collections.abc import Mapping

from einops import rearrange
from torch import Tensor

from lens_steer.analysis.attribution.contributions import Component, Contributions
from lens_steer.analysis.attribution.runs import allowance, require_whole_heads, written
from lens_steer.errors import AttributionError
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.hooks.terms import MLP_INPUT
from lens_steer.model import SteerableModel, fingerprint, require_same_model
from lens_steer.vector import SteeringVector

QUANTITY = "projection on the direction, positive - negative (stream units)"


def writing_sites(model: SteerableModel, site: SiteLike, heads: bool = True) -> tuple[Site, ...]:
    """The sites whose activations `attribute_writing` needs.

    Args:
        model: a loaded model.
        site: of the stream, or attn_out.
        heads: heads one by one, or each layer's attention as a whole (for models that put a norm behind it).

    Returns:
        What writes there, the embedding first, and the site itself last.

    Raises:
        AttributionError: the site is one component's own output, or what an MLP reads.
    """
    where = Site.parse(site)
    if where.kind in ("mlp_out", "z"):
        raise AttributionError(f"{where} is written by one component alone; give a site of the stream, or attn_out.")
    if where.kind == MLP_INPUT:
        raise AttributionError(f"{where} stands behind a norm and is no sum; give a site of the stream, or attn_out.")

    def attention(layer: int) -> list[Site]:
        return (
            [Site("z", layer, head) for head in range(int(model.cfg.n_heads))] if heads else [Site("attn_out", layer)]
        )

    if where.kind == "attn_out":
        return (*[Site("z", where.layer, head) for head in range(int(model.cfg.n_heads))], where)
    found = [Site("resid_pre", 0)]
    for layer in range(where.layer):
        found += [*attention(layer), Site("mlp_out", layer)]
    if where.kind != "resid_pre":
        found += attention(where.layer)
    if where.kind == "resid_post":
        found.append(Site("mlp_out", where.layer))
    return (*found, where) if where != found[0] else tuple(found)


def attribute_writing(
    model: SteerableModel,
    vector: SteeringVector,
    site: SiteLike,
    sides: Mapping[Site, tuple[Tensor, Tensor]],
    heads: bool = True,
) -> Contributions:
    """Decomposes the difference of positive and negative activations by component.

    Args:
        model: the vector's model.
        vector: the direction on which everything is projected.
        site: one of its sites, of the stream or attn_out.
        sides: from `contrast_activations` at `writing_sites(model, site)`, of a contrast of pairs, one token a
            sequence.
        heads: as for `writing_sites`.

    Returns:
        One part a component and pair, in the units of the stream; they sum to the projected difference within 1e-3 of
        its size and the rounding of the stream itself, or an error is raised.

    Raises:
        MismatchError: a vector of another model.
        AttributionError: a site is missing, the classes are not pairs, or the parts do not sum to the whole.

    Source:
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model that writes it")
    where, needed = Site.parse(site), writing_sites(model, site, heads)
    missing = [str(entry) for entry in needed if entry not in sides]
    if missing:
        raise AttributionError(f"no activations of {', '.join(missing)}; read the sides at writing_sites(model, site).")
    counts = {len(side) for entry in needed for side in sides[entry]}
    if len(counts) > 1:
        raise AttributionError(
            f"sides of {sorted(counts)} rows are no pairs; give a ContrastSet, one token a sequence."
        )
    unit = vector.at(where).double() / vector.norm(where)
    parts = needed[:-1] if len(needed) > 1 else needed
    moved = {entry: sides[entry][0].double() - sides[entry][1].double() for entry in needed}
    values = rearrange([written(model, entry, moved[entry]) @ unit for entry in parts], "component n -> n component")
    measured = moved[where] @ unit
    error = float((values.sum(dim=1) - measured).abs().max())
    size, whole = (float(part.norm(dim=1).max()) for part in (moved[where], sides[where][0]))
    if not error <= allowance(model, size, whole):
        raise AttributionError(
            f"the components' outputs miss the difference at {where} by {error:.2g}: this model's stream is not their "
            f"sum{' (a norm behind attention? Use heads=False)' if heads else ''}. Look at preflight."
        )
    require_whole_heads(model, parts)
    return Contributions(
        quantity=QUANTITY,
        items=tuple(f"pair {index}" for index in range(len(measured))),
        components=tuple(Component.at(entry) for entry in parts),
        values=values,
        measured=measured,
    )
