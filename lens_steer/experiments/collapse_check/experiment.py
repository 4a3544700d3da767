"""How steering collapses: answers and generated text of one vector over strengths, each under its one rule.

    answers      modal letter share, entropy of the letters, answer probability, faulty share      items in both option
                 orders
    generation   distinct-n, n-gram entropy, repetition, loops and their onset, cross-prompt similarity, step entropy
    threshold    the strength at which each rule begins to say collapsed, adding and subtracting; bootstrap intervals

Rules, definitions and sources are in `lens_steer.metrics.collapse`. Continuations are greedy and of a fixed number of
tokens, so that strengths can be compared; what they are worth as text is not judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.tables import Tables
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import Prompts, prepare_choices
from lens_steer.evaluation.score import score_prompts
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, Scale
from lens_steer.metrics.collapse import (
    answer_margin,
    collapse_threshold,
    entropy_summary,
    generation_collapse,
    generation_margin,
)
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector

NUMBERS = ("distinct_n", "ngram_entropy", "repetition_share", "looping_share", "loop_onset", "cross_prompt_similarity")
Margin = Callable[[Sequence[int]], float]


@dataclass(frozen=True, kw_only=True)
class CollapseCheck:
    """Where and how strongly is steered, and how much is generated; `strengths` of both signs, 0 among them."""

    site: str
    strengths: tuple[float | int, ...] = (-8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8)
    positions: str = "all"
    scale: Scale = "raw"
    new_tokens: int = 40
    n: int = 3
    resamples: int = 999
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class CollapseResult(Tables):
    """`strengths`: one row a strength with every number. `thresholds`: one row a rule and sign."""

    kind = "collapse"
    strengths: pd.DataFrame
    thresholds: pd.DataFrame


def check_collapse(
    model: SteerableModel,
    vector: SteeringVector,
    items: Sequence[ChoiceItem],
    prompts: Sequence[str],
    settings: CollapseCheck,
    progress: bool = False,
) -> CollapseResult:
    """Asks and continues at every strength of a vector.

    Args:
        model: the vector's model.
        vector: what is added.
        items: questions, at least two.
        prompts: beginnings of texts, different ones, at least two; each is continued.
        settings: site, strengths, positions, lengths.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        ScoreError: the strengths lack 0, or there are fewer than two items or different prompts.
    """
    if 0 not in settings.strengths or len(items) < 2 or len(set(prompts)) < max(len(prompts), 2):
        raise ScoreError(
            f"strengths {list(settings.strengths)}, {len(items)} items and {len(set(prompts))} different prompts of "
            f"{len(prompts)}; give 0 among the strengths, and at least two of each, no prompt twice."
        )
    asked, rows, margins = prepare_choices(model, items), [], {}
    grid = sorted(float(strength) for strength in settings.strengths)
    for strength in track(grid, "looking for collapse", len(grid), progress):
        edits = [_edit(vector, settings, strength)] if strength else []
        row, answers = _answers(model, asked, edits)
        generated, continuations = _continuations(model, prompts, edits, settings)
        rows.append({"strength": strength, "scale": settings.scale, **row, **generated})
        margins["answers", strength] = answers
        margins["generation", strength] = continuations
    thresholds = [
        _threshold(margins, rule, [strength for strength in grid if sign * strength >= 0], sign, n, settings)
        for rule, n in (("answers", len(items)), ("generation", len(prompts)))
        for sign in (-1, 1)
    ]
    facts = {"settings": asdict(settings), "vector": vector.name, "items": len(items), "prompts": len(prompts)}
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    return CollapseResult(strengths=pd.DataFrame(rows), thresholds=pd.DataFrame(thresholds), facts=facts)


def _edit(vector: SteeringVector, settings: CollapseCheck, strength: float) -> Intervention:
    return Intervention.of(vector, settings.site, strength, settings.scale, settings.positions)


def _answers(model: SteerableModel, asked: Prompts, edits: Sequence[Intervention]) -> tuple[dict[str, Any], Margin]:
    """The answer side of one strength, and its margin for any selection of the items."""
    scores = score_prompts(model, asked, edits)
    first, mass, faulty = scores.chose_first, scores.answer_probability, scores.faulty
    found = scores.collapse
    row = {
        "matching_rate": float(scores.matches.double().mean()),
        "modal_letter_share": found.modal_letter_share,
        "answer_probability": found.mean_answer_probability,
        "answer_entropy": found.answer_entropy,
        "gold_entropy": found.gold_entropy,
        "faulty_share": found.faulty_share,
        "answers_collapsed": found.collapsed,
        "answers_reason": found.reason,
    }
    return row, lambda items: answer_margin(first[items], mass[items], faulty[items])


def _continuations(
    model: SteerableModel, prompts: Sequence[str], edits: Sequence[Intervention], settings: CollapseCheck
) -> tuple[dict[str, Any], Margin]:
    """The generation side of one strength, and its margin for any selection of the prompts."""
    decoding = Decoding(max_new_tokens=settings.new_tokens, stop_at_eos=False)
    written = generate(model, prompts, edits, decoding, record=True).continuations
    tokens = [entry.tokens for entry in written]
    found = generation_collapse(tokens, settings.n)
    entropies = torch.tensor([entry.record["entropy"] for entry in written], dtype=torch.float32, device="cpu")
    row = {name: getattr(found, name) for name in NUMBERS} | entropy_summary(entropies)
    row |= {"generation_collapsed": found.collapsed, "generation_reason": found.reason}
    return row, generation_margin(tokens, settings.n)


def _threshold(
    margins: Mapping[tuple[str, float], Margin],
    rule: str,
    grid: Sequence[float],
    sign: int,
    n: int,
    settings: CollapseCheck,
) -> dict[str, Any]:
    """The onset of one rule in one direction."""
    outwards = sorted(grid, key=abs)
    found = collapse_threshold(
        outwards,
        lambda items: [margins[rule, strength](items) for strength in outwards],
        n,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    low, high = sorted((sign * found.low + 0.0, sign * found.high + 0.0))
    numbers = {"strength": sign * found.value + 0.0, "low": low, "high": high}
    return {"rule": rule, "direction": "adding" if sign > 0 else "subtracting", **numbers, "censored": found.censored}
