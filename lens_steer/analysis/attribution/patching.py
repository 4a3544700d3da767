"""Patch-back: the effect of replacing one component's output in the steered run by its unsteered output.

    E   = s(steered) - s(unsteered)                                              the steering effect
    c_i = s(steered) - s(steered, component i as in the unsteered run)           the part that depends on component i

If c_i has the sign of E, component i carries the effect; with the opposite sign it counteracts the edit. The c_i are
measured and so valid for any architecture, including logit softcaps. They need not sum to E, because components can be
redundant or act jointly. Source: activation patching, as in Vig et al. 2020 (arXiv 2004.12265) and Meng et al. 2022
(arXiv 2202.05262). TransformerLens' `attribution_patch` is a gradient approximation for two different prompts; here the
prompts are the same and each component is patched in its own forward pass.

A component that is itself edited gets its unsteered output first and is then edited.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.analysis.attribution.contrast import TokenContrast
from lens_steer.analysis.attribution.contributions import Component, Contributions
from lens_steer.analysis.attribution.runs import later_components
from lens_steer.errors import AttributionError, SteeringError
from lens_steer.hooks import Intervention, Interventions, as_interventions, hooked, steer
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, by_hook_name, check_site, site_fault
from lens_steer.model import SteerableModel, held, logits_after
from lens_steer.model.batching import length_buckets

QUANTITY = "effect that needs the component (nats)"


def patch_back(
    model: SteerableModel,
    asked: TokenContrast,
    interventions: Interventions,
    components: Sequence[Site] = (),
    positions: str = "all",
    batch_size: int = 32,
    progress: bool = False,
) -> Contributions:
    """Measures which components carry a steering effect and which counteract it, one forward pass each.

    Args:
        model: a loaded model.
        asked: prompts and the tokens that are compared.
        interventions: what steers.
        components: heads, attentions or MLPs; where there are none, every later head and MLP that is a site of the
            model, and the attention as a whole where its heads are none.
        positions: at which tokens the component is given back its unsteered output.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.

    Returns:
        c_i of each prompt and component; not additive. `measured` is E.

    Raises:
        AttributionError: a component is not a head, an attention or an MLP; or none was given, and none comes later.
        SteeringError: there are no interventions, or one selected no token of any prompt.

    Source:
        Vig et al. 2020, arXiv 2004.12265; Meng et al. 2022, arXiv 2202.05262.
    """
    interventions = as_interventions(interventions)
    if not interventions:
        raise SteeringError("there are no interventions to patch back; give at least one intervention.")
    sites = tuple(components) or _later(model, [entry.site for entry in interventions])
    for site in sites:
        if site.kind not in ("z", "attn_out", "mlp_out"):
            raise AttributionError(f"{site} is not one component's output; give heads, attn_out or mlp_out.")
        check_site(model, site)
    rule, lengths = Positions.parse(positions), asked.lengths
    values = torch.empty(len(lengths), len(sites), dtype=torch.float64, device="cpu")
    measured = torch.empty(len(lengths), dtype=torch.float64, device="cpu")
    batches = length_buckets(lengths, batch_size)
    with held(model):
        for batch in track(batches, "patching back", len(batches), progress):
            unsteered, kept = _unsteered(model, asked, batch, sites)
            steered = _steered(model, asked, batch, interventions)
            measured[batch] = steered - unsteered
            mask = _mask(rule, [lengths[index] for index in batch])
            for place, site in enumerate(sites):
                restored = {site.hook_name: _restore(site, kept[site.hook_name], mask)}
                values[batch, place] = steered - _steered(model, asked, batch, interventions, restored)
    names = tuple(Component.at(site) for site in sites)
    return Contributions(
        quantity=QUANTITY, items=asked.items, components=names, values=values, measured=measured, additive=False
    )


def _later(model: SteerableModel, edited: Sequence[Site]) -> tuple[Site, ...]:
    """The later components that are sites of the model."""
    found: list[Site] = []
    for site in later_components(model, edited):
        whole = Site("attn_out", site.layer)
        if not site_fault(model, site):
            found.append(site)
        elif site.head == 0 and not site_fault(model, whole):
            found.append(whole)
    if not found:
        raise AttributionError(
            f"no head, attention or MLP that is a site of this model comes after {', '.join(map(str, edited))}, so "
            "that nothing can be patched back. Edit an earlier site, or look at preflight."
        )
    return tuple(found)


def _unsteered(
    model: SteerableModel, asked: TokenContrast, batch: Sequence[int], sites: Sequence[Site]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The unsteered answers of a batch, and every component's output at every token."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        def run(activation: Tensor) -> None:
            kept[name] = activation.detach()

        return run

    with hooked(model, {name: keep(name) for name in by_hook_name(tuple(sites))}):
        logits = logits_after(model, [asked.rows[index] for index in batch], of=batch)
    return asked.read(logits, batch), kept


def _steered(
    model: SteerableModel,
    asked: TokenContrast,
    batch: Sequence[int],
    interventions: Sequence[Intervention],
    restored: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> Float[Tensor, " n"]:
    """The steered answers of a batch; a patched component is restored before it is edited."""
    lengths = asked.lengths
    with (
        hooked(model, restored) if restored else nullcontext(),
        steer(model, *interventions, prompt_lengths=[lengths[index] for index in batch]),
    ):
        return asked.read(logits_after(model, [asked.rows[index] for index in batch], of=batch), batch)


def _restore(site: Site, whole: Tensor, mask: Bool[Tensor, "batch pos"]) -> Callable[[Tensor], Tensor]:
    """A hook that puts a component's unsteered output back at some tokens."""

    def run(activation: Tensor) -> Tensor:
        chosen = mask.to(activation.device)[..., None]
        return site.put(activation, torch.where(chosen, site.read(whole), site.read(activation)))

    return run


def _mask(rule: Positions, lengths: Sequence[int]) -> Bool[Tensor, "batch pos"]:
    """The tokens of a right-padded batch of prompts that a rule selects."""
    ends = torch.tensor(lengths, device="cpu")
    absolute = torch.arange(int(ends.max()), device="cpu").expand(len(lengths), -1)
    return rule.resolve(absolute, absolute < ends[:, None], ends, ends)
