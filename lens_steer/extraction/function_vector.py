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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.in_context import InContextPrompt, InContextTask, in_context_prompts
from lens_steer.extraction.in_context_answers import ask, head_effects
from lens_steer.extraction.methods.head_sums import default_head_count, head_sum, top_heads
from lens_steer.extraction.record import record
from lens_steer.hooks.sites import HEADS, Site, check_site, parse_sites
from lens_steer.model import SteerableModel, fingerprint, output_weights, versions
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
class TaskHeads:
    """What heads do on a task: mean outputs on clean prompts, average indirect effects on corrupted ones.

    `norms` has the median activation norm at the last token of the clean prompts, after each block.
    """

    task: InContextTask
    demonstrations: Demonstrations
    means: Float[Tensor, "layer head d_head"]
    effects: Float[Tensor, "layer head"]
    norms: tuple[float, ...]

    def random(self, k: int, seed: int, beside: Sequence[tuple[int, int]] = ()) -> tuple[tuple[int, int], ...]:
        """Heads drawn at random, each once, in order of layer; the control of the heads of largest effect.

        Args:
            k: how many; all that are left where they are fewer.
            seed: the same seed gives the same heads.
            beside: heads that are not drawn.
        """
        generator = torch.Generator().manual_seed(seed)
        every = [divmod(index, self.effects.shape[1]) for index in range(self.effects.numel())]
        left = [head for head in every if head not in set(beside)]
        drawn = torch.randperm(len(left), generator=generator, device="cpu")[:k].sort().values.tolist()
        return tuple(left[index] for index in drawn)


def extract_function_vector(
    model: SteerableModel,
    task: InContextTask,
    layer: int | None = None,
    n_heads: int | None = None,
    demonstrations: Demonstrations | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> SteeringVector:
    """Makes the function vector of an in-context task: `measure_heads`, then `sum_heads`.

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
    layers = None if layer is None else [layer]
    for index in layers or ():
        check_site(model, Site("resid_post", index))
    return sum_heads(model, measure_heads(model, task, demonstrations, batch_size, progress), n_heads, layers)


def measure_heads(
    model: SteerableModel,
    task: InContextTask,
    demonstrations: Demonstrations | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> TaskHeads:
    """Measures what every head does on a task, from which the vectors of any heads are summed.

    Args:
        model: a loaded model.
        task: the mapping; keep pairs for testing out of it.
        demonstrations: numbers of examples and prompts, and the seed; the paper's where absent.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.

    Returns:
        Mean outputs and effects of all heads.

    Raises:
        DataError, SiteError: as `extract_function_vector`.
    """
    shown = demonstrations or Demonstrations()
    clean, corrupted = _prompts(task, shown)
    means, norms = _means(model, clean, batch_size)
    effects = head_effects(model, ask(model, corrupted), means, batch_size, progress)
    return TaskHeads(task=task, demonstrations=shown, means=means, effects=effects, norms=norms)


def sum_heads(
    model: SteerableModel,
    measured: TaskHeads,
    heads: int | Sequence[tuple[int, int]] | None = None,
    layers: Sequence[int] | None = None,
) -> SteeringVector:
    """Sums the mean outputs of heads to a vector.

    Args:
        model: the model that was measured.
        measured: from `measure_heads`.
        heads: (layer, head) of each, or how many of those of largest effect; the paper's number where absent.
        layers: at whose `resid_post` the direction may be added; ceil(layers / 3) where absent.

    Returns:
        The same direction at each layer; as `extract_function_vector` otherwise.

    Raises:
        SiteError: the model has no such layer.
        MethodError: more heads than there are, or none.
    """
    n_layers, width = measured.effects.shape
    if heads is None or isinstance(heads, int):
        heads = top_heads(measured.effects, heads or default_head_count(n_layers, width, fingerprint(model).name))
    sites = [Site("resid_post", layer) for layer in ([math.ceil(n_layers / 3)] if layers is None else layers)]
    for site in sites:
        check_site(model, site)
    output = torch.stack([output_weights(model, index) for index in range(n_layers)])
    direction, shown = head_sum(measured.means, output, heads), measured.demonstrations
    found = {
        "heads": [list(head) for head in heads],
        "head_effects": [float(measured.effects[layer, head]) for layer, head in heads],
    }
    return SteeringVector(
        name=measured.task.name,
        directions=dict.fromkeys(sites, direction),
        method="function_vector",
        position="last",
        data_hash=measured.task.hash,
        n_positive=shown.n_prompts,
        n_negative=shown.n_corrupted,
        activation_norms={site: measured.norms[site.layer] for site in sites},
        fingerprint=fingerprint(model),
        options={**found, "effects": measured.effects.tolist(), **asdict(shown)},
        versions=versions(),
    )


def _prompts(
    task: InContextTask, shown: Demonstrations
) -> tuple[tuple[InContextPrompt, ...], tuple[InContextPrompt, ...]]:
    """Clean and corrupted prompts."""
    clean = in_context_prompts(task, shown.n_shots, shown.n_prompts, shown.seed)
    if shown.corrupted == "zero_shot":
        return clean, in_context_prompts(task, 0, shown.n_corrupted, shown.seed)
    return clean, in_context_prompts(task, shown.n_shots, shown.n_corrupted, shown.seed, shuffled=True)


def _means(
    model: SteerableModel, prompts: Sequence[InContextPrompt], batch_size: int
) -> tuple[Float[Tensor, "layer head d_head"], tuple[float, ...]]:
    """Each head's mean output at the last token, and the median norm of the stream after each block."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    heads, stream = parse_sites(f"{HEADS}@*", n_layers, n_heads), parse_sites("resid_post@*", n_layers)
    total, norms = torch.zeros(n_layers, n_heads, int(model.cfg.d_head), dtype=torch.float64, device="cpu"), []
    texts = [entry.prompt for entry in prompts]
    for batch in record(model, texts, [*heads, *stream], "last", batch_size=batch_size):
        norms.append(torch.stack([batch.activations[site].norm(dim=-1) for site in stream]))
        for head in heads:
            total[head.layer, head.head] += batch.activations[head].double().sum(dim=0)
    return (total / len(prompts)).float(), tuple(torch.cat(norms, dim=1).median(dim=1).values.tolist())
