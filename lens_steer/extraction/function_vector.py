"""Function vectors: the summed output of the attention heads that carry an in-context task.

    zbar_lh  = mean over clean n-shot prompts of z@l.h, last token
    CIE_lh   = P(y | shuffled prompt, z@l.h := zbar_lh at the last token) - P(y | shuffled prompt)
    AIE_lh   = mean of CIE_lh over shuffled prompts              A = the k heads of largest AIE
    v        = sum over (l, h) in A of zbar_lh W_O[l, h]         added at the last token of resid_post@l*

Source: Todd et al. 2023 (arXiv 2310.15213). l* = ceil(L/3), blocks counted from 0; y is the answer's first token. Raw
strength 1 is the paper's. In models with a norm after attention, the heads' contribution to the stream is not v
(`preflight` refuses their heads). Whether the model can do the task is not tested: see the effects in the vector's
options.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.data.in_context import InContextPrompt, InContextTask, in_context_prompts
from lens_steer.errors import DataError
from lens_steer.extraction.methods.head_sums import average_indirect_effects, default_head_count, head_sum, top_heads
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention, Interventions, as_interventions, steer
from lens_steer.hooks.operators import Replace
from lens_steer.hooks.sites import HEADS, Site, check_site, parse_sites
from lens_steer.model import SteerableModel, fingerprint, logits_after, output_weights, tokenize, versions
from lens_steer.model.batching import length_buckets
from lens_steer.vector import SteeringVector


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Numbers of examples per prompt, of clean prompts (averaged) and of corrupted prompts (patched).

    Corrupted prompts have permuted labels, or no examples at all: where the set of labels identifies the task, permuted
    labels still show it and head effects vanish.
    """

    n_shots: int = 10
    n_prompts: int = 100
    n_corrupted: int = 25
    corrupted: Literal["shuffled", "zero_shot"] = "shuffled"
    seed: int = 0


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Tokenised prompts and the first token of each answer."""

    rows: tuple[tuple[int, ...], ...]
    answers: Int[Tensor, " n"]


Measure = Callable[[SteerableModel, Asked, Float[Tensor, "layer head d_head"]], Float[Tensor, "layer head"]]
"""From corrupted prompts and each head's mean output to the average indirect effect of each head."""


def extract_function_vector(
    model: SteerableModel,
    task: InContextTask,
    layer: int | None = None,
    n_heads: int | None = None,
    demonstrations: Demonstrations | None = None,
    batch_size: int = 32,
    progress: bool = False,
    measure: Measure | None = None,
) -> SteeringVector:
    """Makes the function vector of an in-context task.

    Args:
        model: a loaded model.
        task: the mapping; keep pairs for testing out of it.
        layer: of the vector's `resid_post` site; ceil(layers / 3) where absent.
        n_heads: number of heads to sum; the paper's number where absent.
        demonstrations: numbers of examples and prompts, and the seed; the paper's where absent.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.
        measure: how head effects are measured; `head_effects`, a pass for each head, where absent.
            `evaluation.head_effects.reused_head_effects` forwards only what a head changes.

    Returns:
        One direction, to be added at `last` of a prompt. `options` holds the heads, the effect of each, and the
        effects of all heads by layer; the counts are those of clean and corrupted prompts.

    Raises:
        DataError: the task has too few pairs, or an answer merges with its prompt.
        SiteError: the model has no such layer, or heads that cannot be told apart.
        MethodError: more heads than there are, or none.

    Source:
        Todd et al. 2023, "Function Vectors in Large Language Models", arXiv 2310.15213.
    """
    shown = demonstrations or Demonstrations()
    n_layers, width = int(model.cfg.n_layers), int(model.cfg.n_heads)
    site = Site("resid_post", math.ceil(n_layers / 3) if layer is None else layer)
    check_site(model, site)
    clean, corrupted = _prompts(task, shown)
    output = torch.stack([output_weights(model, index) for index in range(n_layers)])
    means, norm = head_means(model, clean, site, batch_size)
    asked = ask(model, corrupted)
    effects = measure(model, asked, means) if measure else head_effects(model, asked, means, batch_size, progress)
    heads = top_heads(effects, n_heads or default_head_count(n_layers, width, fingerprint(model).name))
    found = {"heads": [list(head) for head in heads], "head_effects": [float(effects[head]) for head in heads]}
    return SteeringVector(
        name=task.name,
        directions={site: head_sum(means, output, heads)},
        method="function_vector",
        position="last",
        data_hash=task.hash,
        n_positive=len(clean),
        n_negative=len(corrupted),
        activation_norms={site: norm},
        fingerprint=fingerprint(model),
        options={**found, "effects": effects.tolist(), **asdict(shown)},
        versions=versions(),
    )


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
        for batch in length_buckets(lengths, batch_size):
            steering.set_prompt_lengths([lengths[index] for index in batch])
            logits = logits_after(model, [asked.rows[index] for index in batch], of=batch)

            def probability(chunk: Tensor, part: slice, batch: list[int] = batch) -> Tensor:
                return chunk.softmax(dim=-1).gather(1, asked.answers[batch[part], None].to(chunk.device))[:, 0]

            found[batch] = logits.read(probability).cpu()
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
    n_layers, n_heads = means.shape[:2]
    base = answer_probabilities(model, corrupted, batch_size=batch_size)
    patched = torch.empty(len(base), n_layers, n_heads, dtype=torch.float32, device="cpu")
    sites = parse_sites(f"{HEADS}@*", n_layers, n_heads)
    for site in track(sites, "patching each head", len(sites), progress):
        plan = Intervention.at(site, means[site.layer, site.head], positions="last", operator=Replace())
        patched[:, site.layer, site.head] = answer_probabilities(model, corrupted, [plan], batch_size)
    return average_indirect_effects(patched, base)


def _prompts(
    task: InContextTask, shown: Demonstrations
) -> tuple[tuple[InContextPrompt, ...], tuple[InContextPrompt, ...]]:
    """Clean and corrupted prompts."""
    clean = in_context_prompts(task, shown.n_shots, shown.n_prompts, shown.seed)
    if shown.corrupted == "zero_shot":
        return clean, in_context_prompts(task, 0, shown.n_corrupted, shown.seed)
    return clean, in_context_prompts(task, shown.n_shots, shown.n_corrupted, shown.seed, shuffled=True)


def head_means(
    model: SteerableModel, prompts: Sequence[InContextPrompt], site: Site, batch_size: int
) -> tuple[Float[Tensor, "layer head d_head"], float]:
    """Each head's mean output at the last token of some prompts, and the median norm of the stream there.

    Args:
        model: a loaded model.
        prompts: from `in_context_prompts`.
        site: whose activation norm is wanted.
        batch_size: prompts in one forward pass.

    Returns:
        The mean outputs, before the output matrix; and the norm.
    """
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    heads = parse_sites(f"{HEADS}@*", n_layers, n_heads)
    total, norms = torch.zeros(n_layers, n_heads, int(model.cfg.d_head), dtype=torch.float64, device="cpu"), []
    texts = [entry.prompt for entry in prompts]
    for batch in record(model, texts, [*heads, site], "last", batch_size=batch_size):
        norms.append(batch.activations[site].norm(dim=-1))
        for head in heads:
            total[head.layer, head.head] += batch.activations[head].double().sum(dim=0)
    return (total / len(prompts)).float(), float(torch.cat(norms).median())
