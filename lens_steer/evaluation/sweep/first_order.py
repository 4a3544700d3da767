"""The first-order sweep: how fast each item's answer begins to move, at every site, for every vector, from one pass.

    d m / d strength at 0  =  sum over edited tokens t of  grad_h[t] m . v          m = score(matching) - score(other)

One forward and one backward a batch of prompts give the gradient at all sites at once; it is averaged over the two
option orders. It is the slope of addition at strength 0, of the unsteered model or of one that is steered already
(`around`), and says nothing about larger strengths: use it to rank candidates before `sweep`, and `rank_agreement` to
see how far the ranks hold. Source of the idea: attribution patching (Nanda 2023; Syed et al. 2023, arXiv 2310.10348),
with the direction in the place of the patch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from lens_steer._util.torch_state import gradients_on
from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ActivationError, ScoreError
from lens_steer.evaluation.grid import of_prompt
from lens_steer.evaluation.prompts import Prompts, log_likelihoods
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.sweep.result import SweepResult
from lens_steer.hooks import (
    Intervention,
    Interventions,
    Scale,
    as_interventions,
    hooked,
    read_chunk,
    require_unsteered,
    steer,
)
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Sites, check_site, sites_of
from lens_steer.metrics.steerability import dataset_steerability, steerability
from lens_steer.model import SteerableModel, dtype_of, fingerprint, frozen, last_logits, pad, require_same_model
from lens_steer.model.batching import length_buckets, within_memory
from lens_steer.vector import SteeringVector


@gradients_on()
def first_order(
    model: SteerableModel,
    vectors: Sequence[SteeringVector],
    items: Sequence[ChoiceItem],
    sites: Sites | None = None,
    positions: str | int | Sequence[int] | Positions = "all",
    scale: Scale = "raw",
    options: ScoringOptions | None = None,
    around: Interventions = (),
) -> pd.DataFrame:
    """The slope of each item's logit difference over the strength, at strength 0, for every vector and site.

    Args:
        model: the vectors' model.
        vectors: what would be added.
        items: two-choice questions, by letter each in both option orders.
        sites: as `parse_sites` reads them; every vector must have them. All sites of the first vector where absent.
        positions: which tokens of the prompt would be edited.
        scale: what strength 1 means, as in `Intervention.of`.
        options: template, batch size and progress bar; the defaults where absent.
        around: what steers the model meanwhile; the slopes are those of adding to it. None: the unsteered model.

    Returns:
        One row for each vector, site and item: `vector, site, kind, layer, item, slope`, in natural-log units for one
        unit of strength.

    Raises:
        SiteError: a vector or the model has no such site.
        ScoreError: no vectors or no items.
        MismatchError: a vector of another model.
        PositionError: the rule cannot be resolved on the prompts.
        SteeringError: an intervention of `around` edited nothing, or a steering context is open.
        LogitError, ActivationError: logits or gradients are NaN or infinite.

    Source:
        Nanda 2023, attribution patching.
    """
    options = options or ScoringOptions()
    require_unsteered(model, "first_order", "pass its interventions as `around`")
    if not vectors:
        raise ScoreError("no vectors; give at least one.")
    wanted = sites_of(model, vectors[0].sites if sites is None else sites)
    edits = [of_prompt(Intervention.of(vector, site, 1.0, scale, positions)) for vector in vectors for site in wanted]
    for vector in vectors:
        require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model")
    for site in wanted:
        check_site(model, site)
    prompts = options.prepare(model, items)
    slopes = torch.empty(len(edits), len(prompts.rows), dtype=torch.float32, device="cpu")
    if len(prompts.letters) != 2:
        raise ScoreError(f"items with {len(prompts.letters)} options; the first-order sweep takes two-choice items.")
    with steer(model, *map(of_prompt, as_interventions(around)), prompt_lengths=prompts.lengths[:1]) as steering:

        def differentiate(batch: Sequence[int]) -> None:
            steering.set_prompt_lengths([prompts.lengths[index] for index in batch])
            slopes[:, list(batch)] = _slopes(model, prompts, batch, edits)

        for batch in length_buckets([len(row) for row in prompts.rows], options.batch_size):
            within_memory(differentiate, batch)
    if prompts.by_letter:
        means = reduce(slopes, "edit (item order) -> edit item", "mean", order=2)
    else:
        matching, other = rearrange(slopes / prompts.units, "edit (item option) -> option edit item", option=2)
        means = matching - other
    rows = []
    for edit, values in zip(edits, means.tolist(), strict=True):
        place = {"vector": edit.name, "site": str(edit.site), "kind": edit.site.kind, "layer": edit.site.layer}
        rows += [{**place, "item": item, "slope": slope} for item, slope in zip(prompts.items, values, strict=True)]
    return pd.DataFrame(rows)


def rank_agreement(slopes: pd.DataFrame, result: SweepResult, most: float | None = None) -> float:
    """How far the first-order ranks of a vector's sites are those of an exact sweep.

    Args:
        slopes: from `first_order`, with the sweep's vector and sites, positions, scale and items.
        result: the sweep; at least three sites.
        most: the largest absolute strength whose answers count; all where absent. Leave collapsed strengths out.

    Returns:
        Spearman's rank correlation, over sites, of the mean first-order slope and the mean least-squares slope.

    Raises:
        ScoreError: fewer than three sites in common, or fewer than two strengths.
    """
    here = pd.DataFrame(slopes[slopes["vector"] == result.vector])
    ours = {str(site): float(rows["slope"].to_numpy(dtype=float).mean()) for site, rows in here.groupby("site")}
    sites = [site for site in result.sites if str(site) in ours]
    if len(sites) < 3:
        raise ScoreError(f"{len(sites)} sites of vector {result.vector!r} are in both; a rank correlation needs three.")
    grid = torch.tensor(result.strengths, dtype=torch.float32, device="cpu")
    kept = grid.abs() <= (float("inf") if most is None else most)
    exact = [dataset_steerability(steerability(result.differences(site)[:, kept], grid[kept])) for site in sites]
    found: Any = spearmanr([ours[str(site)] for site in sites], exact)
    return float(found.statistic)


def strength_slopes(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    lengths: Sequence[int],
    edits: Sequence[Intervention],
    read: Callable[[], Float[Tensor, " batch"]],
) -> Float[Tensor, "k batch"]:
    """The slope over the strength, at 0, of what is read of each row, for every edit, from one backward pass.

    Args:
        model: a loaded model.
        rows: token ids of each sequence of one batch.
        lengths: of their prompts.
        edits: what would be added, at strength 1.
        read: forwards these rows once, padded on the right, and gives one number a row.

    Returns:
        Of each edit and row: the sum over edited tokens of gradient and direction.

    Raises:
        ActivationError: a gradient is NaN or infinite.
    """
    tokens, mask = pad(model, rows)
    chunk, prompts = (
        read_chunk((tokens,), {"attention_mask": mask}, model.tokenizer),
        torch.tensor(lengths, device="cpu"),
    )
    leaves: dict[str, Tensor] = {}
    hooks = {name: _leaf(name, leaves) for name in {edit.site.write_name for edit in edits}}
    with frozen(model), hooked(model, hooks):
        gradients = torch.autograd.grad(read().sum(), list(leaves.values()))
    by_name, found, dtype = dict(zip(leaves, gradients, strict=True)), [], dtype_of(model)
    for edit in edits:
        chosen = chunk.mask(edit.positions, prompts)
        gradient = edit.site.read(by_name[edit.site.write_name]).float().cpu()
        found.append(torch.where(chosen, gradient @ edit.direction.float().cpu(), 0.0).sum(dim=1))
        if not bool(found[-1].isfinite().all()):
            raise ActivationError(f"the gradient of what is read at {edit.site} is NaN or infinite", dtype)
    return torch.stack(found)


def _slopes(
    model: SteerableModel, prompts: Prompts, batch: Sequence[int], edits: Sequence[Intervention]
) -> Float[Tensor, "k batch"]:
    """The slope of each edit and row of a batch, of what is read of the row."""
    rows = [prompts.rows[index] for index in batch]

    def read() -> Tensor:
        if not prompts.by_letter:
            return log_likelihoods(model, prompts.rows, prompts.lengths, batch, gradient=True)
        tokens, mask = pad(model, rows)
        logits, letters = last_logits(model, tokens, mask, gradient=True, of=batch), prompts.tokens[batch]
        matching, other = logits.read(lambda chunk, part: chunk.gather(1, letters.to(chunk.device)[part])).T
        return matching - other

    return strength_slopes(model, rows, [prompts.lengths[index] for index in batch], edits, read)


def _leaf(name: str, leaves: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """A hook that adds nothing, in a way that gradients can be taken of."""

    def run(activation: Tensor) -> Tensor:
        leaves[name] = torch.zeros_like(activation, requires_grad=True)
        return activation + leaves[name]

    return run
