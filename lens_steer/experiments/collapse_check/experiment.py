"""How steering collapses: answers and generated text of one vector over strengths, each under its one rule.

    answers      modal letter share, entropy of the letters, answer probability, faulty share      items in both option
                 orders
    generation   share of collapsed continuations, loops and their onset, cross-prompt similarity, distinct-n, n-gram
                 entropy, compression ratio, step entropy                                          any prompts
    threshold    the strength at which each rule begins to say collapsed, adding and subtracting; bootstrap intervals

Rules, definitions and sources are in `lens_steer.metrics.collapse`. The control is random directions of the vector's
norm at the same strengths: where they collapse as early, the size of the edit is the cause and not its direction.
Continuations end at an end-of-sequence token, which is not part of them. Small models repeat themselves under greedy
decoding without steering; a temperature of 1 shows what steering adds.

Example:
    >>> import torch
    >>> from lens_steer import extract, load_model
    >>> from lens_steer.experiments.collapse_check import CollapseCheck, check_collapse
    >>> model = load_model("lab")
    >>> vector = extract(model, ["I want it now."], ["I can wait for it."], paired=True, sites="resid_post@1")
    >>> settings = CollapseCheck(site="resid_post@1", strengths=(0, 4, 16), new_tokens=12, n_random=1, resamples=99)
    >>> found = check_collapse(model, vector, [], ["Once upon a time", "def add("], settings)
    >>> found.thresholds[["vector", "rule", "direction"]].values.tolist()
    [['steering', 'generation', 'adding'], ['random 0', 'generation', 'adding']]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.tables import Tables
from lens_steer.errors import FormatError, ScoreError
from lens_steer.evaluation.prompts import Prompts as ChoicePrompts
from lens_steer.evaluation.prompts import Scoring, prepare_choices
from lens_steer.evaluation.score import score_prompts
from lens_steer.generation import Decoding, generate, prepare_rows
from lens_steer.hooks import Intervention, Scale
from lens_steer.metrics.collapse import (
    collapse_threshold,
    entropy_summary,
    generation_collapse,
    generation_margin,
)
from lens_steer.model import Prompts, SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector, random_like

NUMBERS = ("collapsed_share", "empty_share", "repetition_share", "looping_share", "loop_onset", "distinct_n")
NUMBERS += ("ngram_entropy", "cross_prompt_similarity", "compression_ratio")
STEERING = "steering"
Margin = Callable[[Sequence[int]], float]


@dataclass(frozen=True, kw_only=True)
class CollapseCheck:
    """Where and how strongly is steered, and how much is generated; 0 is among the `strengths`, of one sign or both.

    `n_random` is the number of random directions, `temperature` that of the continuations. Answers are looked at where
    `scoring` is by letter, asked by the chat template where `chat`; texts of options have no letters to collapse to.
    """

    site: str = ""
    strengths: tuple[float | int, ...] = (-8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8)
    positions: str = "all"
    scale: Scale = "raw"
    new_tokens: int = 40
    temperature: float = 0.0
    n_random: int = 3
    scoring: Scoring = "letter"
    chat: bool = False
    resamples: int = 999
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class CollapseResult(Tables):
    """`strengths`: a row for each vector and strength. `thresholds`: a row for each vector, rule and direction.

    The column `vector` is `steering`, or `random 0`, `random 1`, ... for the controls.
    """

    kind = "collapse"
    strengths: pd.DataFrame
    thresholds: pd.DataFrame

    @classmethod
    def load(cls, folder: str | Path) -> "CollapseResult":
        """Reads what `save` wrote.

        Raises:
            FormatError: a file is missing, truncated, edited or foreign; or written under the earlier rule for text.
        """
        found = super().load(folder)
        if not {"vector", "collapsed_share"} <= set(found.strengths.columns):
            raise FormatError(
                f"{folder}: its texts were judged by an earlier rule, more than half of them ending in a loop of at "
                "most 16 tokens; the rule is now at least half of them repeating more than 0.3 of their 4-grams, "
                "and random directions stand beside the vector. Run check_collapse again."
            )
        return found


def check_collapse(
    model: SteerableModel,
    vector: SteeringVector,
    items: Sequence[ChoiceItem],
    prompts: Prompts,
    settings: CollapseCheck,
    progress: bool = False,
) -> CollapseResult:
    """Looks for collapse of answers and of generated text at every strength of a vector and of its controls.

    Args:
        model: the vector's model.
        vector: what is added.
        items: questions, at least two; none to look at generated text alone, as is done where texts are scored.
        prompts: different texts, chats or token rows, at least two; each is continued.
        settings: site, strengths, positions, lengths, controls.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        ScoreError: the strengths lack 0 or hold it alone, or there is one item, or fewer than two different prompts.
    """
    beginnings = [row.given for row in prepare_rows(model, prompts, _decoding(settings))]
    _require(settings, len(items), len(beginnings), len(set(map(tuple, beginnings))))
    by_letter = items and settings.scoring == "letter"
    asked = prepare_choices(model, items, chat=settings.chat) if by_letter else None
    vectors = {STEERING: vector}
    vectors |= {f"random {i}": random_like(vector, settings.seed + i) for i in range(settings.n_random)}
    grid = sorted({float(strength) for strength in settings.strengths})
    unsteered = _measured(model, asked, beginnings, [], settings)
    found = {(name, strength): unsteered for name in vectors for strength in grid}
    steered = [key for key in found if key[1]]
    for name, strength in track(steered, "looking for collapse", len(steered), progress):
        edit = Intervention.of(vectors[name], settings.site, strength, settings.scale, settings.positions)
        found[name, strength] = _measured(model, asked, beginnings, [edit], settings)
    rows = [
        {"vector": name, "strength": strength, "scale": settings.scale, **measured.row}
        for (name, strength), measured in found.items()
    ]
    n = {"answers": len(items), "generation": len(beginnings)}
    thresholds = [
        {"vector": name} | _threshold({s: found[name, s].margins[rule] for s in grid}, rule, sign, n[rule], settings)
        for name in vectors
        for rule in unsteered.margins
        for sign in (-1, 1)
        if any(sign * strength > 0 for strength in grid)
    ]
    facts = {"settings": asdict(settings), "vector": vector.name, "items": len(items), "prompts": len(beginnings)}
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    return CollapseResult(strengths=pd.DataFrame(rows), thresholds=pd.DataFrame(thresholds), facts=facts)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One vector at one strength: its numbers, and the margin of each rule for any selection of items or prompts."""

    row: dict[str, Any]
    margins: dict[str, Margin]


def _require(settings: CollapseCheck, items: int, prompts: int, different: int) -> None:
    """Refuses what no onset can be found in."""
    if 0 not in settings.strengths or not any(settings.strengths) or items == 1 or different < max(prompts, 2):
        raise ScoreError(
            f"strengths {list(settings.strengths)}, {items} items and {different} different prompts of {prompts}; give "
            "0 and other strengths, no items or at least two, and at least two prompts, none twice."
        )


def _decoding(settings: CollapseCheck) -> Decoding:
    return Decoding(max_new_tokens=settings.new_tokens, temperature=settings.temperature, seed=settings.seed)


def _measured(
    model: SteerableModel,
    asked: ChoicePrompts | None,
    beginnings: Sequence[Sequence[int]],
    edits: Sequence[Intervention],
    settings: CollapseCheck,
) -> Measured:
    """Both sides of one vector at one strength; generated text alone where nothing is asked."""
    row, margin = _continuations(model, beginnings, edits, settings)
    if asked is None:
        return Measured(row=row, margins={"generation": margin})
    answered, answers = _answers(model, asked, edits)
    return Measured(row=answered | row, margins={"answers": answers, "generation": margin})


def _answers(
    model: SteerableModel, asked: ChoicePrompts, edits: Sequence[Intervention]
) -> tuple[dict[str, Any], Margin]:
    """The answer side of one strength, and its margin for any selection of the items."""
    scores = score_prompts(model, asked, edits)
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
    return row, lambda items: scores.collapse_of(items).margin


def _continuations(
    model: SteerableModel, beginnings: Sequence[Sequence[int]], edits: Sequence[Intervention], settings: CollapseCheck
) -> tuple[dict[str, Any], Margin]:
    """The generation side of one strength, and its margin for any selection of the prompts."""
    written = generate(model, beginnings, edits, _decoding(settings), record=True).continuations
    tokens = [entry.tokens[: len(entry.tokens) - (entry.ended == "eos")] for entry in written]
    found = generation_collapse(tokens, [entry.text for entry in written])
    row = {name: getattr(found, name) for name in NUMBERS}
    row |= entropy_summary([entry.record["entropy"] for entry in written])
    row |= {"mean_tokens": sum(map(len, tokens)) / len(tokens)}
    row |= {"generation_collapsed": found.collapsed, "generation_reason": found.reason}
    return row, generation_margin(tokens)


def _threshold(
    margins: Mapping[float, Margin], rule: str, sign: int, n: int, settings: CollapseCheck
) -> dict[str, Any]:
    """The onset of one rule in one direction."""
    outwards = sorted((strength for strength in margins if sign * strength >= 0), key=abs)
    found = collapse_threshold(
        outwards,
        lambda items: [margins[strength](items) for strength in outwards],
        n,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    low, high = sorted((sign * found.low + 0.0, sign * found.high + 0.0))
    numbers = {"strength": sign * found.value + 0.0, "low": low, "high": high, "why": found.why}
    place = {"rule": rule, "direction": "adding" if sign > 0 else "subtracting", "n": n}
    return place | numbers | {"censored": found.censored}
