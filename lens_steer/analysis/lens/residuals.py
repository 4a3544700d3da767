"""The logit lens of the residual stream, layer by layer, unsteered and steered.

    reading[l, t] = log softmax( logit_readout(h_l) )[t]         h_l: the stream at the last token of each context
    change[l, t]  = mean over contexts of reading steered - reading unsteered

`logit_readout` is TransformerLens'; that it reproduces the model's output at the last layer is checked on the first
context. Depth 0 is the stream before the first block, depth l + 1 the stream after block l and its edits. Source:
nostalgebraist 2020. Readings of early layers are not predictions of the model, because later layers change the stream.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.torch_state import initial_torch
from lens_steer.analysis.lens.contextual import over_contexts
from lens_steer.analysis.tokens import one_token, token_label
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.prompts import Prompts
from lens_steer.extraction.record import record, token_rows
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, require_finite, rows_at_once

UNSTEERED = "unsteered"
BATCH = 32


def residual_lens(
    model: SteerableModel,
    contexts: Sequence[str] | Sequence[Sequence[int]],
    tokens: Sequence[str | int],
    runs: Mapping[str, Sequence[Intervention]],
    batch_size: int = 32,
) -> pd.DataFrame:
    """Log-probability and rank of target tokens at every depth, unsteered and in steered runs.

    Args:
        model: a loaded model.
        contexts: whole prompts, as texts or token rows; the next token is read.
        tokens: the target tokens, as texts of one token each, or ids.
        runs: what steers, by name; names that begin with "random" are controls to the figures.
        batch_size: contexts in one forward pass.

    Returns:
        model, run ("unsteered" first), site, depth, token_id, label; over contexts: log_prob (mean, nats), low, high
        (95 %), why (there is no interval), probability (mean), rank (median, from 1 for the likeliest); change,
        change_low, change_high and change_why (log_prob minus that of the unsteered run, paired by context); n.

    Raises:
        ScoreError: a run is called "unsteered", or the model's output is not the lens of its last stream.
        DataError: no contexts or tokens, or a word that is not one token.
        SteeringError: an intervention selected no token of any context.
        ActivationError, LogitError: the stream, or what the lens reads of it, is NaN or infinite.

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    if UNSTEERED in runs:
        raise ScoreError(f"a run is called {UNSTEERED!r}, which is reserved for the run without steering; rename it.")
    if not tokens:
        raise DataError("no wanted tokens; give at least one, such as ' left'.")
    ids = [one_token(model, token) for token in tokens]
    _prove(model, next(iter(token_rows(model, contexts))))
    sites = [Site("resid_pre", 0), *(Site("resid_post", layer) for layer in range(int(model.cfg.n_layers)))]
    rows, before, label = [], None, fingerprint(model).label
    for name, interventions in {UNSTEERED: (), **runs}.items():
        found = over_contexts(model, contexts, interventions, lambda part: _read(model, part, sites, ids), batch_size)
        before = found if before is None else before
        for depth, site in enumerate(sites):
            for place, token in enumerate(ids):
                numbers = _summary(found[:, depth, place], before[:, depth, place])
                where = {"model": label, "run": name, "site": str(site), "depth": depth}
                rows.append({**where, "token_id": token, "label": token_label(model, token), **numbers})
    return pd.DataFrame(rows)


def lens_accuracy(model: SteerableModel, prompts: Prompts, sites: Sequence[Site]) -> dict[Site, float]:
    """How often the logit lens at a site already prefers the matching option.

    Args:
        model: a loaded model.
        prompts: two-choice questions; by letter each in both orders. Of texts, the first token is read in which the two
            options differ.
        sites: of the residual stream.

    Returns:
        The share of questions by site, read at the last token before the answer; 0.5 by chance.

    Raises:
        ScoreError: the model's output is not the lens of its last stream.
        ActivationError, LogitError: the stream, or what the lens reads of it, is NaN or infinite.

    Source:
        nostalgebraist 2020; as a predictor of steering, "linear accessibility profiles", arXiv 2604.15557.
    """
    contexts, matching, other = _compared(prompts)
    _prove(model, contexts[0])
    ids = sorted({*matching, *other})
    places = {token: place for place, token in enumerate(ids)}
    rows = torch.arange(len(contexts), device="cpu")
    found = torch.cat(
        [_read(model, contexts[k : k + BATCH], sites, ids)[..., 0] for k in range(0, len(contexts), BATCH)]
    )
    sides = [found[rows, :, [places[token] for token in tokens]] for tokens in (matching, other)]
    shares = (sides[0] > sides[1]).double().mean(dim=0)
    return dict(zip(sites, shares.tolist(), strict=True))


def _compared(prompts: Prompts) -> tuple[list[Sequence[int]], list[int], list[int]]:
    """Of each question what stands before its answer, and the tokens of both options there."""
    if prompts.by_letter:
        return list(prompts.rows), prompts.matching_tokens.tolist(), prompts.other_tokens.tolist()
    contexts, matching, other = [], [], []
    for one, two in zip(prompts.rows[::2], prompts.rows[1::2], strict=True):
        shared = next((k for k, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), None)
        if shared is not None:
            contexts.append(one[:shared])
            matching.append(one[shared])
            other.append(two[shared])
    if not contexts:
        raise ScoreError("no two options of these questions differ before one of them ends; the lens cannot tell them.")
    return contexts, matching, other


@initial_torch()
def _read(
    model: SteerableModel, rows: Sequence[Sequence[int]], sites: Sequence[Site], ids: Sequence[int]
) -> Float[Tensor, "n layer k 2"]:
    """Log-probability and rank of each wanted token, at every site, after each row."""
    from transformer_lens.tools.analysis import logit_readout

    (seen,) = record(model, rows, sites, "last", batch_size=len(rows))
    stream = torch.stack([seen.activations[site] for site in sites], dim=1)[torch.argsort(seen.sequences)]
    size = max(rows_at_once(model) // len(ids), 1)  # it compares every logit with those of all wanted tokens
    found = logit_readout(model, stream, targets=list(ids), return_type="log_probs", chunk_size=size)
    if found.target_ranks is None:
        raise ScoreError("TransformerLens gave no ranks of the wanted tokens.")
    for depth, site in enumerate(sites):
        require_finite(model, found.values[:, depth], f"the log-probability of a wanted token by the lens at {site}")
    return torch.stack([found.values.double().cpu(), found.target_ranks.double().cpu() + 1], dim=-1)


@initial_torch()
def _prove(model: SteerableModel, row: Sequence[int]) -> None:
    """Raises for a model whose output is not the logit lens of its final residual stream."""
    from transformer_lens.tools.analysis import logit_lens

    device = next(model.original_model.parameters()).device
    try:
        logit_lens(model, torch.tensor([list(row)[: rows_at_once(model)]], device=device), top_k=1)
    except (ValueError, NotImplementedError) as error:
        raise ScoreError(f"the logit lens does not hold on this model: {error}") from error


def _summary(found: Float[Tensor, "n 2"], before: Float[Tensor, "n 2"]) -> dict[str, float | str]:
    """Summary over contexts of one token at one depth."""
    log_probs, change = found[:, 0], found[:, 0] - before[:, 0]
    mean = mean_interval(log_probs)
    likely = {"probability": float(log_probs.exp().mean()), "rank": float(found[:, 1].quantile(0.5))}
    numbers = {"log_prob": mean.value, "low": mean.low, "high": mean.high, "why": mean.why}
    return likely | numbers | mean_interval(change).columns("change") | {"n": len(found)}
