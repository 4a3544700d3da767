"""One run of a model over all prompts, read at the last token of each: components, edits and the asked difference.

    edits_j = what intervention j added to the residual stream at the last token: after - before, a head's through W_O

A component's output is read after the edits at its site; what they added is subtracted, so that it is the model's own
output.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.attribution.contrast import TokenContrast
from lens_steer.errors import AttributionError
from lens_steer.hooks import Chunk, Intervention, Interventions, as_interventions, hooked, steer
from lens_steer.hooks.sites import Site, by_hook_name, check_site
from lens_steer.hooks.terms import MLP_INPUT, allowed_error, heads_miss
from lens_steer.model import SteerableModel, logits_after, output_weights
from lens_steer.model.batching import length_buckets


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionRun:
    """The last token of every prompt: activations of sites (float32, the CPU), edits, and the asked difference.

    `largest_logit` is the size of the largest logit of all, which says how finely `read` can be known.
    """

    read: Float[Tensor, " n"]
    largest_logit: float
    activations: Mapping[Site, Float[Tensor, "n ..."]]
    edits: Mapping[Site, Float[Tensor, "n ..."]]


def run(
    model: SteerableModel,
    asked: TokenContrast,
    sites: Sequence[Site],
    interventions: Interventions = (),
    batch_size: int = 32,
) -> AttributionRun:
    """Forwards every prompt once.

    Args:
        model: a loaded model.
        asked: the prompts.
        sites: what is read.
        interventions: what steers.
        batch_size: prompts in one forward pass.

    Returns:
        What was seen at each last token; `edits` sums what interventions added, by site.

    Raises:
        SiteError: the model has no such site.
        SteeringError: an intervention selected no token of any prompt.
    """
    interventions = as_interventions(interventions)
    for site in sites:
        check_site(model, site)
    lengths = asked.lengths
    batches = length_buckets(lengths, batch_size)
    read, seen, largest = torch.empty(len(lengths), dtype=torch.float64, device="cpu"), _Seen(interventions), 0.0
    functions = {name: seen.look(here) for name, here in by_hook_name(tuple(sites)).items()}
    with steer(model, *interventions, prompt_lengths=lengths[:1]) as steering, hooked(model, functions):
        steering.watcher = seen.note
        for batch in batches:
            seen.begin([lengths[index] - 1 for index in batch])
            steering.set_prompt_lengths([lengths[index] for index in batch])
            logits = logits_after(model, [asked.rows[index] for index in batch], of=batch)
            read[batch] = asked.read(logits, batch)
            sizes = logits.read(lambda rows, _part: rows.masked_fill(rows.isinf(), 0).abs().amax(dim=1))
            largest = max(largest, float(sizes.max()))
    back = torch.argsort(torch.tensor([index for batch in batches for index in batch], device="cpu"))
    activations = {site: torch.cat(parts)[back] for site, parts in seen.activations.items()}
    edits: dict[Site, Tensor] = {}
    for entry, parts in zip(interventions, seen.edits, strict=True):
        edits[entry.site] = edits.get(entry.site, 0) + torch.cat(parts)[back]
    return AttributionRun(read=read, largest_logit=largest, activations=activations, edits=edits)


class _Seen:
    """Collects activations by site and edits by intervention at the last token of each prompt, over batches."""

    def __init__(self, interventions: Sequence[Intervention]) -> None:
        self.activations: dict[Site, list[Tensor]] = {}
        self.edits: list[list[Tensor]] = [[] for _ in interventions]
        self._widths = [entry.direction.numel() for entry in interventions]
        self._ends: list[int] = []

    def begin(self, ends: list[int]) -> None:
        """Begins a batch, whose rows end there; an edit that none of its rows gets is zero."""
        self._ends = ends
        for parts, width in zip(self.edits, self._widths, strict=True):
            parts.append(torch.zeros(len(ends), width, dtype=torch.float32, device="cpu"))

    def look(self, sites: Sequence[Site]) -> Callable[[Tensor], None]:
        """A hook that keeps the last token of each row at some sites."""

        def keep(activation: Tensor) -> None:
            for site in sites:
                self.activations.setdefault(site, []).append(_last(site.read(activation.detach()), self._ends))

        return keep

    def note(self, index: int, _chunk: Chunk, mask: Tensor, before: Tensor, after: Tensor) -> None:
        """Keeps what an intervention added at the last token of each row."""
        moved = torch.where(mask.to(after.device)[..., None], after - before, 0)
        self.edits[index][-1] = _last(moved.detach(), self._ends)


def written(model: SteerableModel, site: Site, activation: Float[Tensor, "n width"]) -> Float[Tensor, "n d_model"]:
    """What an activation, or a change of one, adds to the residual stream: a head's goes through its output matrix, and
    what an MLP reads adds nothing itself.

    Args:
        model: a loaded model.
        site: where the activation is.
        activation: at that site.

    Returns:
        In the stream's units, float64.
    """
    if site.kind == MLP_INPUT:
        return torch.zeros_like(activation, dtype=torch.float64)
    if site.head is None:
        return activation.double()
    return activation.double() @ output_weights(model, site.layer)[site.head].double()


def later_components(model: SteerableModel, edited: Sequence[Site], heads: bool = True) -> tuple[Site, ...]:
    """The heads (or attentions) and MLPs that the first of some edits can reach, layer by layer.

    Args:
        model: a loaded model.
        edited: where is written.
        heads: heads one by one, or each layer's attention as a whole.

    Returns:
        Their sites, the edited ones themselves left out where nothing reaches them.
    """
    attention = min(site.layer + (site.kind != "resid_pre") for site in edited)
    parallel = bool(getattr(model.cfg, "parallel_attn_mlp", False))
    before_mlp = ("resid_pre", MLP_INPUT) if parallel else ("resid_pre", "attn_out", "resid_mid", "z", MLP_INPUT)
    mlp = min(site.layer + (site.kind not in before_mlp) for site in edited)
    found: list[Site] = []
    for layer in range(int(model.cfg.n_layers)):
        if layer >= attention:
            here = [Site("z", layer, head) for head in range(int(model.cfg.n_heads))]
            found += here if heads else [Site("attn_out", layer)]
        if layer >= mlp:
            found.append(Site("mlp_out", layer))
    return tuple(found)


def require_whole_heads(model: SteerableModel, sites: Sequence[Site]) -> None:
    """Refuses heads that do not add up to what their attention writes, by one short pass for each layer.

    Args:
        model: a loaded model.
        sites: of which the heads are looked at.

    Raises:
        AttributionError: a norm or a scale stands behind attention.
    """
    for layer in sorted({site.layer for site in sites if site.head is not None}):
        error = heads_miss(model, layer)
        if not error <= allowed_error(model):
            raise AttributionError(
                f"heads of this architecture do not add up to what attention writes: at layer {layer} they miss it by "
                f"{error:.2g} of its size (a norm or a scale behind it). Use heads=False."
            )


def allowance(model: SteerableModel, change: float, whole: float, roundings: int = 8) -> float:
    """How far a sum of parts may be from a change: a thousandth of it, and what rounding makes of the whole.

        1e-3 change + roundings epsilon whole            epsilon: of the model's precision; 2^-7 in bfloat16

    Args:
        model: a loaded model.
        change: how large the change is.
        whole: how large that is which changes, and is rounded before and after.
        roundings: how many of its last digit may be lost; sums over layers lose a few.
    """
    return 1e-3 * change + roundings * torch.finfo(next(model.original_model.parameters()).dtype).eps * whole


def _last(activation: Float[Tensor, "batch pos width"], ends: Sequence[int]) -> Float[Tensor, "batch width"]:
    """Each row's last real token, of a right-padded batch."""
    rows = torch.arange(len(ends), device=activation.device)
    return activation[rows, torch.tensor(ends, device=activation.device)].float().cpu()
