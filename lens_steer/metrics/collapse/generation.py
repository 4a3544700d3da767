"""The collapse rule for generated text and related diversity metrics, as pure functions of tokens and texts.

    a continuation is collapsed    <=>  it is empty, or more than 0.3 of its 4-grams have occurred in it before
    continuations are collapsed    <=>  at least half of them are, or cross-prompt similarity > 0.5

    repetition share        1 - distinct n-grams / n-grams, of one continuation; n = 4     (Welleck et al. 2020)
    loop                    longest stretch in which each token equals the one a period earlier; the period is at most
                            half of the continuation, the stretch at least a period, a quarter of it and 5 tokens
    distinct-n              distinct n-grams / n-grams, over all continuations             (Li et al. 2016)
    n-gram entropy          of the distribution of n-grams over all continuations, bits    (Zhang et al. 2018)
    cross-prompt similarity mean over pairs of continuations of |n-grams shared| / |n-grams of either|   (Jaccard)
    compression ratio       bytes of the text after zlib (level 9) / bytes before, of texts of 100 bytes or more
    step entropy            of the next-token distribution at each step: mean, and last quarter minus first quarter

A collapsed model either repeats itself or gives the same text for every prompt. A loop repeats about as many 4-grams as
tokens, wherever it begins, whatever its period and whatever stands around it, so the rule needs no search for loops;
`find_loop` says where one begins. Texts of two models judged by a reader (`tests/metrics/judged_texts.json`) allow any
limit from 0.10 to 0.35; it is 0.3 because code repeats itself. The two limits of 0.5 are our choice. Few tokens in ever
new order, such as digits, may be missed.

Every number depends on length, so compare continuations of equal length. Of 200 passages of each length, tokenised by
SmolLM2 (medians; in brackets the share of passages above 0.3 or the bytes):

    tokens              60              250             500
    repetition, news    0.00 (0.00)     0.01 (0.00)     0.01 (0.00)
    repetition, Python  0.04 (0.04)     0.07 (0.04)     0.11 (0.06)
    compression, news   0.68 (293)      0.55 (1190)     0.51 (2382)

A loop that begins late is a small share of a long text. Meaning is not scored: a fluent wrong answer is not a collapse,
nor are words without sense that do not repeat; side effects show those.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lens_steer.errors import ScoreError
from lens_steer.metrics.collapse.answers import entropy

NGRAM = 3
REPEATED_NGRAM, REPETITION_LIMIT = 4, 0.3
COLLAPSED_LIMIT, SIMILARITY_LIMIT = 0.5, 0.5
LOOP_SHARE, LOOP_TOKENS = 0.25, 5
COMPRESSIBLE_BYTES = 100

Continuations = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A stretch that repeats: the step at which its first period begins, the period, and the tokens that repeat."""

    onset: int
    period: int
    repeated: int


@dataclass(frozen=True, kw_only=True)
class GenerationCollapse:
    """Result of the collapse rule for continuations; `reason` is empty where they have not collapsed.

    `collapsed_share` is the share of continuations that are collapsed each by itself, `looping_share` of those with a
    loop, `empty_share` of those without tokens. `loop_onset` is the median step over the continuations that loop. What
    cannot be measured is NaN: the onset where none loops, numbers of n-grams where no continuation has any, the
    compression ratio where no text is given or long enough.
    """

    collapsed: bool
    reason: str
    collapsed_share: float
    empty_share: float
    repetition_share: float
    looping_share: float
    loop_onset: float
    distinct_n: float
    ngram_entropy: float
    cross_prompt_similarity: float
    compression_ratio: float


def generation_collapse(continuations: Continuations, texts: Sequence[str] = ()) -> GenerationCollapse:
    """Applies the rule to the continuations of different prompts.

    Args:
        continuations: generated token ids without the prompts, one list per prompt; at least two.
        texts: of the same continuations, for the compression ratio.

    Returns:
        Whether they have collapsed, with the numbers compared and the reason.

    Raises:
        ScoreError: fewer than two continuations, or another number of texts.
    """
    if texts and len(texts) != len(continuations):
        raise ScoreError(f"{len(texts)} texts of {len(continuations)} continuations; give one of each, or no texts.")
    similarity = cross_prompt_similarity(continuations)
    share = float(np.mean([continuation_collapsed(row) for row in continuations]))
    loops = [loop for row in continuations if (loop := find_loop(row))]
    counted = any(len(row) >= NGRAM for row in continuations)
    ratios = [ratio for text in texts if not math.isnan(ratio := compression_ratio(text))]
    reason = ""
    if share >= COLLAPSED_LIMIT:
        reason = f"{share:.3f} of the continuations repeat themselves or are empty >= {COLLAPSED_LIMIT}"
    elif similarity > SIMILARITY_LIMIT:
        reason = f"cross-prompt similarity {similarity:.3f} > {SIMILARITY_LIMIT}"
    return GenerationCollapse(
        collapsed=bool(reason),
        reason=reason,
        collapsed_share=share,
        empty_share=float(np.mean([not row for row in continuations])),
        repetition_share=float(np.mean([repetition_share(row) for row in continuations])),
        looping_share=len(loops) / len(continuations),
        loop_onset=float(np.median([loop.onset for loop in loops])) if loops else math.nan,
        distinct_n=distinct_n(continuations) if counted else math.nan,
        ngram_entropy=ngram_entropy(continuations) if counted else math.nan,
        cross_prompt_similarity=similarity,
        compression_ratio=float(np.mean(ratios)) if ratios else math.nan,
    )


def generation_margin(continuations: Continuations) -> Callable[[Sequence[int]], float]:
    """The margin of the collapse rule for any selection of the continuations, for bootstrap resampling.

    Args:
        continuations: generated token ids without the prompts, one list per prompt.

    Returns:
        A function of indices (repeats allowed) whose value is above 0 exactly where `generation_collapse` of those
        continuations returns collapsed. A continuation drawn twice is not compared with itself.
    """
    alone = np.array([continuation_collapsed(row) for row in continuations])
    similarity = _similarities(continuations, NGRAM)

    def margin(items: Sequence[int]) -> float:
        drawn = np.asarray(items)
        pairs = similarity[np.ix_(drawn, drawn)][drawn[:, None] != drawn[None]]
        alike = float(pairs.mean()) if pairs.size else 1.0
        share = (int(alone[drawn].sum()) + 0.5) / len(drawn)  # + 0.5: a share at the limit counts
        return max(share - COLLAPSED_LIMIT, alike - SIMILARITY_LIMIT)

    return margin


def continuation_collapsed(tokens: Sequence[int]) -> bool:
    """Whether one continuation is collapsed: empty, or repeating itself.

    Args:
        tokens: one continuation, without the prompt and without end-of-sequence tokens.
    """
    return not tokens or repetition_share(tokens) > REPETITION_LIMIT


def repetition_share(tokens: Sequence[int], n: int = REPEATED_NGRAM) -> float:
    """The share of a continuation's n-grams that have occurred in it before; 0 where it has none."""
    grams = list(_ngrams(tokens, n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def find_loop(tokens: Sequence[int]) -> Loop | None:
    """The longest repeating stretch of a continuation, wherever it begins and ends.

    Args:
        tokens: one continuation.

    Returns:
        The loop, of the shortest period where several periods fit; None where no stretch is long enough.

    Example:
        >>> find_loop([9, 8, 1, 2, 3, 1, 2, 3, 1, 2, 7])
        Loop(onset=2, period=3, repeated=5)
    """
    row, best = np.asarray(tokens), None
    for period in range(1, len(row) // 2 + 1):
        ends = np.flatnonzero(np.concatenate([[True], row[period:] != row[:-period], [True]]))
        longest = int(np.diff(ends).argmax())
        repeated = int(np.diff(ends)[longest]) - 1
        enough = repeated >= max(period, LOOP_SHARE * len(row), LOOP_TOKENS)
        if enough and (best is None or repeated > best.repeated):
            best = Loop(onset=int(ends[longest]), period=period, repeated=repeated)
    return best


def compression_ratio(text: str) -> float:
    """Bytes of the text after zlib, divided by bytes before; NaN below 100 bytes, where the format itself weighs."""
    raw = text.encode()
    return len(zlib.compress(raw, 9)) / len(raw) if len(raw) >= COMPRESSIBLE_BYTES else math.nan


def distinct_n(continuations: Continuations, n: int = NGRAM) -> float:
    """Distinct n-grams divided by all n-grams, over all continuations.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return len(counts) / counts.total()


def ngram_entropy(continuations: Continuations, n: int = NGRAM) -> float:
    """The entropy of the distribution of n-grams over all continuations, in bits.

    Raises:
        ScoreError: no continuation is as long as n.
    """
    counts = _counted(continuations, n)
    return entropy([count / counts.total() for count in counts.values()])


def cross_prompt_similarity(continuations: Continuations, n: int = NGRAM) -> float:
    """The mean Jaccard similarity of n-gram sets over all pairs; of two continuations without n-grams, 1 if equal.

    Raises:
        ScoreError: fewer than two continuations.
    """
    if len(continuations) < 2:
        raise ScoreError(f"{len(continuations)} continuation; similarity across prompts needs at least two.")
    return float(_similarities(continuations, n)[np.triu_indices(len(continuations), 1)].mean())


def entropy_summary(entropies: Sequence[Sequence[float]]) -> dict[str, float]:
    """Summarises the next-token entropy of each generation step.

    Args:
        entropies: the entropies of each continuation's steps, in bits or nats; at least one step each.

    Returns:
        `step_entropy`, the mean over steps, and `step_entropy_drift`, the mean of the last quarter of a continuation's
        steps minus that of its first quarter, both averaged over continuations. In a loop the drift is negative.
    """
    means = [float(np.mean(row)) for row in entropies]
    quarters = [(max(len(row) // 4, 1), row) for row in entropies]
    drifts = [float(np.mean(row[-n:]) - np.mean(row[:n])) for n, row in quarters]
    return {"step_entropy": float(np.mean(means)), "step_entropy_drift": float(np.mean(drifts))}


def _similarities(continuations: Continuations, n: int) -> np.ndarray:
    """The Jaccard similarity of every pair of continuations; one too short for n-grams counts as one long n-gram."""
    sets = [set(_ngrams(row, n)) or {tuple(row)} for row in continuations]
    return np.array([[len(a & b) / len(a | b) for b in sets] for a in sets])


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
