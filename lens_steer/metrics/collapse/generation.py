"""The one collapse rule of generated text, and the numbers beside it; pure functions of token lists.

    collapsed  <=>  more than half of the continuations end in a loop, or cross-prompt similarity > 0.5

    distinct-n              different n-grams / n-grams, over all continuations            (Li et al. 2016)
    n-gram entropy          of the distribution of n-grams over all continuations, bits    (Zhang et al. 2018)
    repetition share        1 - different n-grams / n-grams, within each continuation      (Welleck et al. 2020)
    loop onset              first step from which a continuation repeats a period of <= 16 tokens, at least three times,
                            up to its end
    cross-prompt similarity mean over pairs of continuations of |n-grams shared| / |n-grams of either|   (Jaccard)
    step entropy            of the next-token distribution at each step: mean, and last quarter minus first quarter

A model that has lost its way either repeats itself or says one thing whatever it is asked; distinct-n and n-gram
entropy see both and cannot tell them apart. Both limits are ours. Continuations should be of one length, cut at the
end-of-text token: distinct-n falls with length. Nothing here knows what the tokens mean; a fluent wrong answer is no
collapse.
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
    """Whether a set of continuations has collapsed, and the numbers of it; `reason` is empty where it has not.

    `loop_onset` is the median step over the continuations that loop, NaN where none does.
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
        continuations: generated tokens without their prompts, one list a prompt; at least two.
        n: the length of the n-grams.

    Returns:
        The verdict with its numbers.

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
    """How far the rule's nearest limit is passed by any selection of the continuations.

    Args:
        continuations: generated tokens without their prompts, one list a prompt.
        n: the length of the n-grams.

    Returns:
        A function of indices, which may repeat: above 0 exactly where `generation_collapse` of those continuations
        says collapsed. A continuation that was drawn twice is not compared with itself.
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
    """Different n-grams over n-grams, of all continuations together.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return len(counts) / counts.total()


def ngram_entropy(continuations: Continuations, n: int = 3) -> float:
    """The entropy of the distribution of n-grams over all continuations, bits.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return entropy([count / counts.total() for count in counts.values()])


def repetition_share(continuations: Continuations, n: int = 3) -> float:
    """The share of n-grams that their own continuation has already said, averaged over continuations.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    _counted(continuations, n)
    grams = [list(_ngrams(row, n)) for row in continuations if len(row) >= n]
    return sum(1 - len(set(row)) / len(row) for row in grams) / len(grams)


def loop_onset(tokens: Sequence[int], max_period: int = MAX_PERIOD, min_repeats: int = MIN_REPEATS) -> int | None:
    """The first step from which the tokens repeat one period up to their end; None where they do not.

    Args:
        tokens: one continuation.
        max_period: the longest period looked for, tokens.
        min_repeats: how often the period must be seen at least.

    Returns:
        The earliest such step over all periods.
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
    """The mean Jaccard similarity of the n-gram sets of every two continuations.

    Raises:
        ScoreError: fewer than two continuations, or none as long as n.
    """
    _counted(continuations, n)
    if len(continuations) < 2:
        raise ScoreError(f"{len(continuations)} continuation; similarity across prompts needs at least two.")
    return float(_similarities(continuations, n)[np.triu_indices(len(continuations), 1)].mean())


def entropy_summary(entropies: Float[Tensor, "batch new"]) -> dict[str, float]:
    """The next-token entropies of every step, in a few numbers.

    Args:
        entropies: one row a continuation, one column a step; bits or nats, as the results are.

    Returns:
        `step_entropy`, the mean; `step_entropy_drift`, the mean of the last quarter of the steps minus that of the
        first; a drift below 0 is a model that grows surer as it goes on, as in a loop.
    """
    quarter = max(entropies.shape[1] // 4, 1)
    means = entropies.double().mean(dim=0)
    drift = means[-quarter:].mean() - means[:quarter].mean()
    return {"step_entropy": float(means.mean()), "step_entropy_drift": float(drift)}


def _similarities(continuations: Continuations, n: int) -> np.ndarray:
    """The Jaccard similarity of every two continuations; two without n-grams are alike."""
    sets = [set(_ngrams(row, n)) for row in continuations]
    return np.array([[len(a & b) / len(a | b) if a | b else 1.0 for b in sets] for a in sets])


def _ngrams(tokens: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _counted(continuations: Continuations, n: int) -> Counter[tuple[int, ...]]:
    """How often each n-gram occurs; refuses to count nothing."""
    counts = Counter(gram for row in continuations for gram in _ngrams(row, n))
    if n < 1 or not counts:
        longest = max(map(len, continuations), default=0)
        raise ScoreError(
            f"n-grams of {n} tokens in {len(continuations)} continuations of at most {longest}; give n >= 1 and at "
            "least one continuation as long as n."
        )
    return counts
