"""Answers to in-context prompts: the probability of an answer's first token, and each head's effect on it.

    CIE_lh = P(y | prompt, z@l.h := mean at the last token) - P(y | prompt)         y: the answer's first token

A head is replaced at the last token alone, so that all tokens before it are forwarded once for all heads. Where a pass
continued from them does not give the answers of the whole pass, every head is run on the whole prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.data.in_context import InContextPrompt
from lens_steer.errors import DataError
from lens_steer.extraction.methods.head_sums import average_indirect_effects
from lens_steer.hooks import Intervention, Interventions, as_interventions, steer
from lens_steer.hooks.operators import Replace
from lens_steer.hooks.sites import HEADS, parse_sites
from lens_steer.model import (
    Logits,
    SteerableModel,
    forked_caches,
    is_hooked,
    last_logits,
    logits_after,
    pad,
    tokenize,
    whole_cache,
    why_not_shared,
)
from lens_steer.model.batching import length_buckets, within_memory

Answering = Callable[[Interventions], Float[Tensor, " batch"]]
_SAME = 1e-3
"""The largest difference of log-probabilities between a whole and a continued pass."""


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Tokenised prompts and the first token of each answer."""

    rows: tuple[tuple[int, ...], ...]
    answers: Int[Tensor, " n"]


def ask(model: SteerableModel, prompts: Sequence[InContextPrompt]) -> Asked:
    """Tokenises prompts and finds the first token of each answer.

    Args:
        model: a loaded model with a tokenizer.
        prompts: from `in_context_prompts`.

    Returns:
        The input of `answer_probabilities`.

    Raises:
        DataError: a prompt's tokens change when its answer is appended.
    """
    rows = tokenize(model, [entry.prompt for entry in prompts])
    whole = tokenize(model, [entry.prompt + entry.answer for entry in prompts])
    for entry, row, longer in zip(prompts, rows, whole, strict=True):
        if longer[: len(row)] != row or len(longer) == len(row):
            raise DataError(
                f"answer {entry.answer!r} merges with the end of its prompt {entry.prompt[-20:]!r}, so it has no first "
                "token; end the template's part before {y} with a space or a character that does not merge."
            )
    answers = torch.tensor([longer[len(row)] for row, longer in zip(rows, whole, strict=True)], device="cpu")
    return Asked(rows=tuple(tuple(row) for row in rows), answers=answers)


def answer_probabilities(
    model: SteerableModel, asked: Asked, interventions: Interventions = (), batch_size: int = 32
) -> Float[Tensor, " n"]:
    """The probability of each answer's first token.

    Args:
        model: the model that `asked` was made for.
        asked: from `ask`.
        interventions: what steers the model meanwhile; none runs it unhooked.
        batch_size: prompts in one forward pass.

    Returns:
        One probability per prompt (softmax over the whole vocabulary).

    Raises:
        SteeringError: an intervention edited nothing.
    """
    found = torch.empty(len(asked.rows), dtype=torch.float32, device="cpu")
    lengths = [len(row) for row in asked.rows]
    with steer(model, *as_interventions(interventions), prompt_lengths=lengths[:1]) as steering:

        def answer(batch: Sequence[int]) -> None:
            steering.set_prompt_lengths([lengths[index] for index in batch])
            logits = logits_after(model, [asked.rows[index] for index in batch], of=batch)
            found[list(batch)] = _probabilities(logits, asked, batch)

        for batch in length_buckets(lengths, batch_size):
            within_memory(answer, batch)
    return found


def head_effects(
    model: SteerableModel,
    corrupted: Asked,
    means: Float[Tensor, "layer head d_head"],
    batch_size: int = 32,
    progress: bool = False,
) -> Float[Tensor, "layer head"]:
    """The average indirect effect of each head: the effect of its mean clean output on corrupted prompts.

    Args:
        model: a loaded model.
        corrupted: prompts that do not show the task, from `ask`.
        means: each head's mean output at the last token of clean prompts.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.

    Returns:
        The mean difference of the answers' probabilities, between -1 and 1.
    """
    lengths, (n_layers, n_heads) = [len(row) for row in corrupted.rows], means.shape[:2]
    base = torch.empty(len(lengths), dtype=torch.float32, device="cpu")
    patched = torch.empty(len(lengths), n_layers, n_heads, dtype=torch.float32, device="cpu")
    sites = parse_sites(f"{HEADS}@*", n_layers, n_heads)
    for batch in length_buckets(lengths, batch_size):
        answered = _answering(model, corrupted, batch)
        base[batch] = answered(())
        for site in track(sites, "patching each head", len(sites), progress):
            mean = means[site.layer, site.head]
            edit = Intervention.at(site, mean, positions="last_prompt", operator=Replace())
            patched[batch, site.layer, site.head] = answered(edit)
    return average_indirect_effects(patched, base)


def _answering(model: SteerableModel, asked: Asked, batch: Sequence[int]) -> Answering:
    """What gives the answers of a batch under interventions at the last tokens; all before them is forwarded once."""
    rows = [asked.rows[index] for index in batch]
    lengths, cache = [len(row) for row in rows], None
    tokens, mask = pad(model, rows)

    def answered(interventions: Interventions) -> Float[Tensor, " batch"]:
        with steer(model, *as_interventions(interventions), prompt_lengths=lengths):
            return _probabilities(last_logits(model, tokens, mask, cache, of=batch), asked, batch)

    if is_hooked(model) or why_not_shared(model) or min(lengths) < 2:
        return answered
    whole = (tokens, mask)
    cache = whole_cache()
    plain = answered(()).log()
    cache, past = forked_caches(cache, torch.tensor(lengths, device="cpu") - 1, 1)
    tokens = torch.tensor([row[-1:] for row in rows], device=tokens.device)
    mask = torch.cat([past.to(mask.device), torch.ones_like(tokens)], dim=1)
    if not float((answered(()).log() - plain).abs().max()) <= _SAME:
        (tokens, mask), cache = whole, None
    return answered


def _probabilities(logits: Logits, asked: Asked, batch: Sequence[int]) -> Float[Tensor, " batch"]:
    """The probability of each answer's first token, of the logits after some prompts."""
    answers = asked.answers[list(batch)]

    def probability(chunk: Tensor, part: slice) -> Tensor:
        return chunk.softmax(dim=-1).gather(1, answers[part, None].to(chunk.device))[:, 0]

    return logits.read(probability).cpu()
