"""The collapse rule for choice answers, used by every score in the package.

    collapsed  <=>  share of the modal letter > 0.95 over items in every option order,
                    or share of the modal text > 0.95, where all items have the same texts and it matches in fewer,
                    or mean answer probability < 0.5,  or faulty share > 0.05 (where known),  or a score is not finite

    faulty      the most likely next token is none of the letters
    entropy     of the marginal distribution of the letters, bits; that of the gold labels is log2 k in every order

When each item is scored in every option order, a model that answers by content gives each letter equally often. A
model that always gives one letter has a matching rate near 1 / k, which does not show the collapse; the modal letter
share does. A model that always says Yes gives each letter half of the time; the modal text share shows it. The limits
0.95 and 0.05 are from van der Weij et al. 2024 (arXiv 2403.05767); the limit 0.5 is our choice: below it, a token other
than the letters is more likely. Entropy is reported but not part of the rule. Collapsed points are marked in results,
never dropped. The rule does not measure fluency.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Shaped
from scipy import stats
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError

MODAL_LIMIT = 0.95
ANSWER_PROBABILITY_LIMIT = 0.5
FAULTY_LIMIT = 0.05


Texts = tuple[Sequence[str], Sequence[str]]
"""The text of every answer, and of every matching option, where all items have the same texts."""


@shown()
@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Result of the collapse rule; `reason` is empty where the answers have not collapsed.

    `margin` is how far the numbers are over the limits that collapse them, the largest of share - limit and limit -
    probability: above 0 exactly where the answers have collapsed, infinite where a score is not finite.
    `answer_entropy` and `gold_entropy` are in bits. What is unknown is NaN: `modal_letter_share`, `answer_entropy` and
    `mean_answer_probability` where texts were scored, `modal_text_share` where items have texts of their own,
    `faulty_share` where the most likely tokens are unknown.
    """

    collapsed: bool
    margin: float
    modal_letter_share: float
    modal_text_share: float
    mean_answer_probability: float
    reason: str
    answer_entropy: float
    gold_entropy: float
    faulty_share: float


def collapse(
    chosen: Shaped[Tensor, "item order"] | None,
    mass: Float[Tensor, "item order"] | None,
    faulty: Bool[Tensor, "item order"] | None = None,
    texts: Texts | None = None,
) -> Collapse:
    """Applies the collapse rule to the answers of items in every option order.

    Args:
        chosen: the place of the answer among the letters, for each item and option order (of two letters: whether it is
            the first); None where texts were scored, which have no places.
        mass: probability of the letters together, such as p(A) + p(B), of each answer; None where texts were scored.
        faulty: whether the most likely next token is none of the letters; None where unknown.
        texts: the text of every answer and of every matching option; None where items have texts of their own.

    Returns:
        Whether the answers have collapsed, with the numbers compared and the reason.

    Raises:
        ScoreError: no items, or letters in one option order only.
    """
    if chosen is not None and (chosen.shape[0] == 0 or chosen.shape[1] < 2):
        raise ScoreError(
            f"answers of shape {tuple(chosen.shape)}; the collapse rule needs (items, orders): at least one item, "
            "in both option orders."
        )
    shares, gold = [math.nan], math.nan
    if chosen is not None:
        shares = [count / chosen.numel() for count in chosen.unique(return_counts=True)[1].tolist()]
        gold = math.log2(chosen.shape[1])
    missing = math.nan if faulty is None else float(faulty.double().mean())
    return _judged(shares, None if mass is None else float(mass.double().mean()), missing, gold, texts)


def collapse_of_responses(responses: Sequence[str], gold: Sequence[str]) -> Collapse:
    """Applies the same rule to greedy responses in one option order, the form in which published results are stored.

    The answer probability is taken as the share of responses that are one of the options.

    Args:
        responses: one response per question.
        gold: the answer that matches the behaviour, one per question; the distinct values are the options.

    Returns:
        As `collapse`; the modal share and the entropy are over all responses, including faulty ones.

    Raises:
        ScoreError: no responses, or the number of gold answers differs.
    """
    if not responses or len(responses) != len(gold):
        raise ScoreError(
            f"{len(responses)} responses and {len(gold)} gold answers; give one gold answer per response, at least one."
        )
    n, options = len(responses), set(gold)
    shares = [count / n for count in Counter(responses).values()]
    faulty = sum(response not in options for response in responses) / n
    return _judged(shares, 1 - faulty, faulty, entropy([count / n for count in Counter(gold).values()]))


def entropy(shares: Sequence[float]) -> float:
    """The entropy of a distribution, in bits; shares of 0 contribute 0."""
    return float(stats.entropy(shares, base=2))


def _judged(
    shares: Sequence[float], given: float | None, faulty: float, gold_entropy: float, texts: Texts | None = None
) -> Collapse:
    """Compares each number with its limit."""
    known, mass = given is not None, math.nan if given is None else given
    modal, (said, matching) = max(shares), _modal_text(texts)
    over = {
        f"mean answer probability {mass:.3f} < {ANSWER_PROBABILITY_LIMIT}": ANSWER_PROBABILITY_LIMIT - mass,
        f"one letter in {modal:.3f} of the answers > {MODAL_LIMIT}": modal - MODAL_LIMIT,
        f"one text in {said:.3f} of the answers > {MODAL_LIMIT}": said - MODAL_LIMIT
        if matching <= MODAL_LIMIT
        else -1.0,
        f"no letter in {faulty:.3f} of the answers > {FAULTY_LIMIT}": faulty - FAULTY_LIMIT,
    }
    if known and not math.isfinite(mass):
        over = {"scores are not finite": math.inf}
    reason = next((reason for reason, excess in over.items() if excess > 0), "")
    return Collapse(
        collapsed=bool(reason),
        margin=max((excess for excess in over.values() if not math.isnan(excess)), default=math.nan),
        modal_letter_share=modal,
        modal_text_share=said,
        mean_answer_probability=mass,
        reason=reason,
        answer_entropy=entropy(shares),
        gold_entropy=gold_entropy,
        faulty_share=faulty,
    )


def _modal_text(texts: Texts | None) -> tuple[float, float]:
    """The share of the most frequent text among the answers, and among the matching options; NaN where unknown."""
    if texts is None or not texts[0]:
        return math.nan, math.nan
    text, count = Counter(texts[0]).most_common(1)[0]
    return count / len(texts[0]), list(texts[1]).count(text) / len(texts[1])
