"""How long a model and its data are, and how fast this machine runs them: what plans are made of.

    plain         t(unsteered) / (tokens x blocks)
    asked RULE    t(steered passes at the middle block) / (tokens x blocks x configurations)      a few questions
    texts         t(passes unsteered and at the middle block, without the head) / (tokens x blocks)
    predicted     [t(side effects of one at the middle block) - t(those passes)] / (2 x tokens)
    gradient      t(forward and backward) / (tokens x blocks)        read    t(forward that records) / (tokens x blocks)
    generated     t(a dozen tokens behind each of a few prompts) / tokens

A few questions and documents are forwarded once each; the numbers that they give are not used.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.evaluation.grid import Configuration, why_not_reused
from lens_steer.evaluation.grid.passes import forward_unsteered, plain_passes, reused_passes
from lens_steer.evaluation.grid.plan import Scored, plan_grid
from lens_steer.evaluation.prompts import Prompts
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.evaluation.sweep import first_order
from lens_steer.experiments.plan import Extent
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.model import Logits, SteerableModel, dtype_of, fingerprint, tokenize
from lens_steer.vector import SteeringVector

QUESTIONS, DOCUMENTS, MOST_TOKENS, PROMPTS, NEW_TOKENS = 4, 3, 128, 12, 12
LONG = 1.0
"""Seconds of one configuration above which a full pass, which is faster for each, is not tried."""
BACKWARD = 3
"""A forward and a backward pass in forward passes, where there are no questions to measure it on."""
LEAST = 1e-9
"""Seconds that nothing is faster than, so that noise does not make work free."""


def extent_of(
    model: SteerableModel,
    behaviours: Mapping[str, Splits],
    corpora: Mapping[str, Corpus],
    neutral: str,
    asking: ScoringOptions,
) -> Extent:
    """The size of a model and the lengths of the data.

    Args:
        model: a loaded model.
        behaviours: items in three splits.
        corpora: documents in three splits.
        neutral: the corpus on which side effects are measured.
        asking: how questions are asked.
    """
    prompts = {
        name: {split: _asked_lengths(model, getattr(splits, split), asking) for split in SPLITS}
        for name, splits in behaviours.items()
    }
    documents = {
        name: {split: _lengths(model, getattr(corpus, split)) for split in SPLITS} for name, corpus in corpora.items()
    }
    return Extent(
        n_layers=int(model.cfg.n_layers),
        n_heads=int(model.cfg.n_heads),
        d_model=int(model.cfg.d_model),
        prompts=prompts,
        documents=documents,
        neutral=neutral,
    )


def measure_speed(
    model: SteerableModel,
    items: Sequence[ChoiceItem],
    documents: Sequence[str],
    rules: Sequence[str],
    asking: ScoringOptions,
) -> dict[str, float]:
    """Seconds for one unit of each kind of work, on a few questions and documents.

    Args:
        model: a loaded model.
        items: questions, of which the first few are asked; none, and nothing is asked.
        documents: of which the first few are predicted; none, and no texts are.
        rules: the position rules to be asked.
        asking: how questions are asked.

    Returns:
        Seconds by kind.
    """
    middle = f"resid_post@{int(model.cfg.n_layers) // 2}"
    speed: dict[str, float] = {}
    if documents:
        speed |= _of_documents(model, documents[:DOCUMENTS], middle)
    if items:
        speed |= _of_questions(model, items[:QUESTIONS], middle, rules, asking)
    elif documents:
        speed |= {"plain": speed["read"], "generated": _generating(model, documents[:DOCUMENTS], middle)}
    return speed


def memory_bytes(model: SteerableModel, extent: Extent, rows: int) -> int:
    """What the weights take, and the activations, keys and values of one pass of so many rows.

    Args:
        model: a loaded model.
        extent: the lengths of the data.
        rows: in one pass.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    size = getattr(torch, dtype_of(model)).itemsize
    asked = [n // 2 for splits in extent.prompts.values() for split in splits.values() for n in split]
    read = [min(MOST_TOKENS, n) for splits in extent.documents.values() for split in splits.values() for n in split]
    longest = max([*asked, *read])
    kept = longest * rows * int(model.cfg.d_model) * size
    return weights + kept * (2 * extent.n_layers + 8)


def _of_questions(
    model: SteerableModel, items: Sequence[ChoiceItem], middle: str, rules: Sequence[str], options: ScoringOptions
) -> dict[str, float]:
    """Questions asked by each rule, read, with gradients, and continued."""
    prompts = options.prepare(model, items)
    tokens, n_layers = sum(map(len, prompts.rows)), int(model.cfg.n_layers)
    behind = max(n_layers - n_layers // 2 - 1, 1)
    speed: dict[str, float] = {}
    for rule in rules:
        for n in (1, max(options.batch_size // len(prompts.rows), 1)):
            edits = [_edits(model, middle, rule, seed) for seed in range(n)]
            plain, steered = _of_prompts(model, prompts, edits, options.batch_size)
            speed["plain"] = min(plain / (tokens * n_layers), speed.get("plain", math.inf))
            speed[f"asked {rule}"] = steered / (n * tokens * behind)
            if steered > LONG:
                break
    reading = [f"resid_post@{layer}" for layer in range(n_layers)]
    sites = [Site.parse(name) for name in reading]
    rows = [list(row) for row in prompts.rows]
    speed["read"] = _timed(lambda: [*record(model, rows, sites, "last")]) / (tokens * n_layers)
    speed["gradient"] = BACKWARD * speed["read"]
    if len(prompts.letters) == 2:
        slopes = partial(first_order, model, [_random(model, middle)], items, options=options)
        speed["gradient"] = _timed(slopes) / (tokens * n_layers)
    return speed | {"generated": _generating(model, [item.stem for item in items], middle)}


def _generating(model: SteerableModel, texts: Sequence[str], middle: str) -> float:
    """Seconds a generated token, behind three words at a time of some texts."""
    words = [word for text in texts for word in text.split()]
    begun = [" ".join(words[place : place + 3]) for place in range(0, len(words), 3)][:PROMPTS]
    decoding = Decoding(max_new_tokens=NEW_TOKENS, stop_at_eos=False)
    edits = _edits(model, middle, "all")
    return _timed(lambda: generate(model, begun, edits, decoding, record=True)) / (NEW_TOKENS * len(begun))


def _of_prompts(
    model: SteerableModel, prompts: Prompts, configurations: Sequence[Configuration], batch_size: int
) -> tuple[float, float]:
    """Seconds of the unsteered passes of some questions, and of the steered ones, their logits included."""
    scored = "last" if prompts.by_letter else "continuation"
    lengths = None if prompts.by_letter else prompts.lengths
    return _passes(model, prompts.rows, configurations, batch_size, scored, lengths, Logits.whole)


def _passes(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    configurations: Sequence[Configuration],
    batch_size: int,
    scored: Scored,
    lengths: Sequence[int] | None = None,
    read: Callable[[Logits], object] = lambda _logits: None,
) -> tuple[float, float]:
    """Seconds of the unsteered passes of some sequences, and of the steered ones; `read` is what makes their logits."""
    reuse, plain, steered = not why_not_reused(model, configurations), 0.0, 0.0
    for batch in plan_grid(model, rows, configurations, batch_size, scored, lengths):
        began = time.perf_counter()
        unsteered = forward_unsteered(model, rows, batch, scored, reuse)
        read(unsteered.logits)
        between = time.perf_counter()
        for _, found in (reused_passes if reuse else plain_passes)(model, unsteered, batch, batch.passes):
            for logits in found:
                read(logits)
        plain, steered = plain + between - began, steered + time.perf_counter() - between
    return plain, steered


def _of_documents(model: SteerableModel, documents: Sequence[str], middle: str) -> dict[str, float]:
    """Documents predicted: the blocks, and the distributions over all tokens."""
    rows = [row[:MOST_TOKENS] for row in tokenize(model, list(documents))]
    tokens, n_layers, edits = sum(map(len, rows)), int(model.cfg.n_layers), [_edits(model, middle, "all")]
    behind = n_layers - n_layers // 2 - 1
    plain, steered = _passes(model, rows, edits, len(rows), "all")
    took = _timed(lambda: side_effect_grid(model, documents, edits, None, MOST_TOKENS))
    blocks = (plain + steered) / (tokens * (n_layers + behind))
    predicted = max((took - plain - steered) / (2 * tokens), LEAST)
    return {"texts": blocks, "predicted": predicted, "read": blocks, "gradient": BACKWARD * blocks}


def _edits(model: SteerableModel, site: str, rule: str, seed: int = 0) -> Configuration:
    """A small random edit."""
    return [Intervention.at(site, _direction(model, seed), 0.1, rule)]


def _direction(model: SteerableModel, seed: int = 0) -> Float[Tensor, " width"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(int(model.cfg.d_model), generator=generator, device="cpu", dtype=torch.float32)


def _random(model: SteerableModel, site: str) -> SteeringVector:
    return SteeringVector(
        name="measured",
        directions={Site.parse(site): _direction(model)},
        method="random",
        position="last",
        data_hash="",
        n_positive=1,
        n_negative=1,
        activation_norms={Site.parse(site): 1.0},
        fingerprint=fingerprint(model),
    )


def _asked_lengths(model: SteerableModel, items: Sequence[ChoiceItem], asking: ScoringOptions) -> tuple[int, ...]:
    """Tokens of all rows in which each item is asked."""
    rows = [len(row) for row in asking.prepare(model, items).rows]
    each = len(rows) // len(items)
    return tuple(sum(rows[place : place + each]) for place in range(0, len(rows), each))


def _lengths(model: SteerableModel, texts: Sequence[str]) -> tuple[int, ...]:
    return tuple(map(len, tokenize(model, list(texts)))) if texts else ()


def _timed(run: Callable[[], Any]) -> float:
    """The seconds that something takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
