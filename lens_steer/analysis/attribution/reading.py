"""How strongly later components can read a direction, from their weights, compared with random directions.

    u = v / ||v||,   n(u) = gain * c(u)                                  the norm before the block, without its scale
    query   || n(u) W_Q ||     key   || n(u) W_K ||       effect of u on the head's queries, or keys
    ov      || n(u) W_V W_O ||                            effect of u on the head's output (a norm's gain is in W_O)
    mlp     || n(u) [W_in, W_gate] ||                     effect of u on the neurons
    toward  < n(u) W_V W_O, r > / ||r||                   component of that output along an answer direction r

    ratio = value / median of random directions      z = (value - mean) / sd      p = (1 + #{random >= value}) / (1 + n)

These are the composition scores of Elhage et al. 2021 for a direction instead of an earlier head's output. The null is
isotropic random directions unless others are given; activations are not isotropic, so z compares with arbitrary
directions, not with those that occur in the model. Weights show what can be read; what is read depends on the rest of
the residual stream, and `patch_back` measures it. Rotary positions and norms of q and k are ignored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.attribution.maps import BlockMaps, proved_maps
from lens_steer.analysis.attribution.runs import later_components
from lens_steer.analysis.tokens import one_token
from lens_steer.errors import AttributionError
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.metrics.significance import control_p
from lens_steer.model import SteerableModel, fingerprint, read_out, require_finite, require_same_model
from lens_steer.vector import SteeringVector

MEASURES = ("query", "key", "ov", "toward", "mlp")


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """Reading scores of a direction; one row of `frame` per later component and measure."""

    vector: str
    site: Site
    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Columns vector, site, component, kind, layer, head (-1: none), measure, value, ratio, z, p, n_random."""
        return self.frame.assign(vector=self.vector, site=str(self.site))

    def top(self, k: int, measure: str = "ov") -> tuple[Site, ...]:
        """The components that stand out most from random directions by one measure; `toward` by its size.

        Args:
            k: how many.
            measure: one of `MEASURES`.
        """
        rows = self.frame[self.frame["measure"] == measure]
        places = rows["z"].abs() if measure == "toward" else rows["z"]
        return tuple(Site.parse(name) for name in rows.loc[places.nlargest(k).index, "component"])


def attribute_reading(
    model: SteerableModel,
    vector: SteeringVector,
    site: SiteLike,
    toward: tuple[str | int, str | int | None] | None = None,
    null: Float[Tensor, "n d_model"] | None = None,
    n_random: int = 200,
    seed: int = 0,
) -> Readings:
    """Reads a direction through the input maps of every later head and MLP.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of its sites; the direction of a head is mapped through its W_O into the stream first.
        toward: a token raised and one lowered (None: the mean of all), which make the direction r.
        null: directions of the stream to be compared with; random ones where absent.
        n_random: how many random directions.
        seed: of the random directions.

    Returns:
        The readings; no row `toward` where no tokens are given, no MLP rows where a block's MLP is not one (experts),
        no head rows where a block has no attention (the state-space layers of a hybrid).

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector has no direction there, or heads cannot be told apart.
        AttributionError: nothing comes after the site, the maps are not to be had, or are not what the model uses (each
            is proved by a short pass), or there are fewer than two directions to compare with; for `toward`, the model
            caps its logits.

    Source:
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model that reads it")
    where = Site.parse(site)
    components = later_components(model, [where])
    others = _random(int(model.cfg.d_model), n_random, seed) if null is None else null.double()
    if not components or len(others) < 2:
        raise AttributionError(
            f"{len(components)} components come after {where}, and there are {len(others)} directions to compare with; "
            "give an earlier site, and at least two directions."
        )
    direction = vector.at(where)[None].double()
    if where.head is not None:
        (own,) = proved_maps(model, [where.layer])
        direction = direction @ own.outputs[where.head].double()
    rows = torch.cat([direction, others])
    rows = rows / rows.norm(dim=1, keepdim=True)
    answer = None
    if toward is not None:
        lowered = None if toward[1] is None else torch.tensor([one_token(model, toward[1])], device="cpu")
        answer = read_out(model).directions(torch.tensor([one_token(model, toward[0])], device="cpu"), lowered)[0]
    found = []
    for maps in proved_maps(model, sorted({entry.layer for entry in components})):
        for component, measure, values in _of_layer(maps, rows, answer):
            if component in components:
                require_finite(model, values, f"the {measure} reading of {component}")
                found.append(_row(component, measure, values))
    if not found:
        raise AttributionError(
            f"no layer behind {where} has heads or an MLP whose weights can be read (state-space layers, experts and "
            "blocks that TransformerLens does not look into have none)."
        )
    return Readings(vector=vector.name, site=where, frame=pd.DataFrame(found))


def _of_layer(
    maps: BlockMaps, rows: Float[Tensor, "n d_model"], answer: Tensor | None
) -> Iterator[tuple[Site, str, Float[Tensor, " n"]]]:
    """Every measure of every component of a layer, of each direction."""
    inputs, layer = maps.inputs, maps.layer
    by_head = zip(inputs.queries, inputs.keys, inputs.values, maps.outputs, strict=True)
    for head, (query, key, value, output) in enumerate(by_head):
        site, carried = Site("z", layer, head), rows @ value.double() @ output.double()
        yield site, "query", (rows @ query.double()).norm(dim=1)
        yield site, "key", (rows @ key.double()).norm(dim=1)
        yield site, "ov", carried.norm(dim=1)
        if answer is not None:
            yield site, "toward", carried @ answer / answer.norm()
    if inputs.mlp is not None:
        yield Site("mlp_out", layer), "mlp", (rows @ inputs.mlp.double()).norm(dim=1)


def _row(component: Site, measure: str, values: Float[Tensor, " n"]) -> Mapping[str, object]:
    """One row of the table: the first direction's value compared with those of the others."""
    value, others = float(values[0]), values[1:]
    size, sizes = (abs(value), others.abs()) if measure == "toward" else (value, others)
    spread = float(others.std())
    return {
        "component": str(component),
        "kind": "mlp" if component.head is None else "head",
        "layer": component.layer,
        "head": -1 if component.head is None else component.head,
        "measure": measure,
        "value": value,
        "ratio": size / float(sizes.median()),
        "z": (value - float(others.mean())) / spread if spread else float("nan"),
        "p": control_p(float(size), sizes.tolist()),
        "n_random": len(others),
    }


def _random(width: int, n: int, seed: int) -> Float[Tensor, "n d_model"]:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu")
