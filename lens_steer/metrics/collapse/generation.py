"""The collapse rule for generated text and related diversity metrics, as pure functions of token lists.

    collapsed  <=>  more than half of the continuations end in a loop, or cross-prompt similarity > 0.5

    distinct-n              distinct n-grams / n-grams, over all continuations             (Li et al. 2016)
    n-gram entropy          of the distribution of n-grams over all continuations, bits    (Zhang et al. 2018)
    repetition share        1 - distinct n-grams / n-grams, within each continuation       (Welleck et al. 2020)
    loop onset              first step from which a continuation repeats a period of <= 16 tokens, at least three times,
                            up to its end
    cross-prompt similarity mean over pairs of continuations of |n-grams shared| / |n-grams of either|   (Jaccard)
    step entropy            of the next-token distribution at each step: mean, and last quarter minus first quarter

A collapsed model either loops or gives the same text for every prompt; distinct-n and n-gram entropy respond to both
and do not distinguish them. Both limits are our choice. Compare continuations of equal length, cut at the end-of-text
token, because distinct-n falls with length. Meaning is not scored: a fluent wrong answer is not a collapse.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.collapse.answers import entropy

LOOPING_LIMIT = 0.5
SIMILARITY_LIMIT = 0.5
MAX_PERIOD, MIN_REPEATS = 16, 3

Continuations = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class GenerationCollapse:
    """Result of the collapse rule for continuations; `reason` is empty where they have not collapsed.

    `loop_onset` is the median step over the continuations that loop, NaN where none loops.
    """

    collapsed: bool
    reason: str
    distinct_n: float
    ngram_entropy: float
    repetition_share: float
    looping_share: float
    loop_onset: float
    cross_prompt_similarity: float


def generation_collapse(continuations: Continuations, n: int = 3) -> GenerationCollapse:
    """Applies the rule to the continuations of different prompts.

    Args:
        continuations: generated token ids without the prompts, one list per prompt; at least two.
        n: the length of the n-grams.

    Returns:
        Whether they have collapsed, with the numbers compared and the reason.

    Raises:
        ScoreError: fewer than two continuations, or none as long as n.
    """
    onsets = [loop_onset(row) for row in continuations]
    found = [onset for onset in onsets if onset is not None]
    looping, similarity = len(found) / max(len(onsets), 1), cross_prompt_similarity(continuations, n)
    reason = ""
    if looping > LOOPING_LIMIT:
        reason = f"{looping:.3f} of the continuations end in a loop > {LOOPING_LIMIT}"
    elif similarity > SIMILARITY_LIMIT:
        reason = f"cross-prompt similarity {similarity:.3f} > {SIMILARITY_LIMIT}"
    return GenerationCollapse(
        collapsed=bool(reason),
        reason=reason,
        distinct_n=distinct_n(continuations, n),
        ngram_entropy=ngram_entropy(continuations, n),
        repetition_share=repetition_share(continuations, n),
        looping_share=looping,
        loop_onset=float(np.median(found)) if found else math.nan,
        cross_prompt_similarity=similarity,
    )


def generation_margin(continuations: Continuations, n: int = 3) -> Callable[[Sequence[int]], float]:
    """The margin of the collapse rule for any selection of the continuations, for bootstrap resampling.

    Args:
        continuations: generated token ids without the prompts, one list per prompt.
        n: the length of the n-grams.

    Returns:
        A function of indices (repeats allowed) whose value is above 0 exactly where `generation_collapse` of those
        continuations returns collapsed. A continuation drawn twice is not compared with itself.
    """
    loops = np.array([loop_onset(row) is not None for row in continuations])
    similarity = _similarities(continuations, n)

    def margin(items: Sequence[int]) -> float:
        drawn = np.asarray(items)
        pairs = similarity[np.ix_(drawn, drawn)][drawn[:, None] != drawn[None]]
        alike = float(pairs.mean()) if pairs.size else 1.0
        return max(float(loops[drawn].mean()) - LOOPING_LIMIT, alike - SIMILARITY_LIMIT)

    return margin


def distinct_n(continuations: Continuations, n: int = 3) -> float:
    """Distinct n-grams divided by all n-grams, over all continuations.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return len(counts) / counts.total()


def ngram_entropy(continuations: Continuations, n: int = 3) -> float:
    """The entropy of the distribution of n-grams over all continuations, in bits.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return entropy([count / counts.total() for count in counts.values()])


def repetition_share(continuations: Continuations, n: int = 3) -> float:
    """The share of repeated n-grams within a continuation, averaged over continuations.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    _counted(continuations, n)
    grams = [list(_ngrams(row, n)) for row in continuations if len(row) >= n]
    return sum(1 - len(set(row)) / len(row) for row in grams) / len(grams)


def loop_onset(tokens: Sequence[int], max_period: int = MAX_PERIOD, min_repeats: int = MIN_REPEATS) -> int | None:
    """The first step from which the tokens repeat with one period up to their end.

    Args:
        tokens: one continuation.
        max_period: the longest period, in tokens.
        min_repeats: the least number of repeats of the period.

    Returns:
        The earliest such step over all periods; None where there is no loop.
    """
    onsets = []
    for period in range(1, min(max_period, len(tokens) // min_repeats) + 1):
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= min_repeats * period:
            onsets.append(start)
    return min(onsets, default=None)


def cross_prompt_similarity(continuations: Continuations, n: int = 3) -> float:
    """The mean Jaccard similarity of n-gram sets over all pairs of continuations.

    Raises:
        ScoreError: fewer than two continuations, or none as long as n.
    """
    _counted(continuations, n)
    if len(continuations) < 2:
        raise ScoreError(f"{len(continuations)} continuation; similarity across prompts needs at least two.")
    return float(_similarities(continuations, n)[np.triu_indices(len(continuations), 1)].mean())


def entropy_summary(entropies: Float[Tensor, "batch new"]) -> dict[str, float]:
    """Summarises the next-token entropy of each generation step.

    Args:
        entropies: one row per continuation, one column per step, in bits or nats.

    Returns:
        `step_entropy`, the mean, and `step_entropy_drift`, the mean of the last quarter of the steps minus that of the
        first quarter, both in the units of the input. In a loop the drift is negative.
    """
    quarter = max(entropies.shape[1] // 4, 1)
    means = entropies.double().mean(dim=0)
    drift = means[-quarter:].mean() - means[:quarter].mean()
    return {"step_entropy": float(means.mean()), "step_entropy_drift": float(drift)}


def _similarities(continuations: Continuations, n: int) -> np.ndarray:
    """The Jaccard similarity of every pair of continuations; 1 for a pair without n-grams."""
    sets = [set(_ngrams(row, n)) for row in continuations]
    return np.array([[len(a & b) / len(a | b) if a | b else 1.0 for b in sets] for a in sets])


def _ngrams(tokens: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _counted(continuations: Continuations, n: int) -> Counter[tuple[int, ...]]:
    """The count of each n-gram; raises where there are none."""
    counts = Counter(gram for row in continuations for gram in _ngrams(row, n))
    if n < 1 or not counts:
        longest = max(map(len, continuations), default=0)
        raise ScoreError(
            f"n-grams of {n} tokens in {len(continuations)} continuations of at most {longest}; give n >= 1 and at "
            "least one continuation as long as n."
        )
    return counts
