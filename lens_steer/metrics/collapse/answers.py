"""The collapse rule for two-choice answers, used by every score in the package.

    collapsed  <=>  max(share of (A), share of (B)) > 0.95 over items in both option orders,
                    or mean answer probability < 0.5,  or faulty share > 0.05 (where known),  or a score is not finite

    faulty      the most likely next token is neither letter
    entropy     of the marginal distribution of (A) and (B), bits; that of the gold labels is 1 bit in both orders

When each item is scored in both option orders, a model that answers by content gives each letter half of the time. A
model that always gives one letter has a matching rate near 0.5, which does not show the collapse; the modal letter
share does. The limits 0.95 and 0.05 are from van der Weij et al. 2024 (arXiv 2403.05767); the limit 0.5 is our choice:
below it, a token other than the letters is more likely. Entropy is reported but not part of the rule. Collapsed points
are marked in results, never dropped. The rule does not measure fluency.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError

MODAL_LETTER_LIMIT = 0.95
ANSWER_PROBABILITY_LIMIT = 0.5
FAULTY_LIMIT = 0.05


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Result of the collapse rule; `reason` is empty where the answers have not collapsed.

    `answer_entropy` and `gold_entropy` are in bits; `faulty_share` is NaN where the most likely tokens are unknown.
    """

    collapsed: bool
    modal_letter_share: float
    mean_answer_probability: float
    reason: str
    answer_entropy: float
    gold_entropy: float
    faulty_share: float


def collapse(
    chose_first: Bool[Tensor, "item order"],
    mass: Float[Tensor, "item order"],
    faulty: Bool[Tensor, "item order"] | None = None,
) -> Collapse:
    """Applies the collapse rule to the answers of items in both option orders.

    Args:
        chose_first: whether the answer is the first letter, (A), for each item and option order.
        mass: answer probability p(A) + p(B) of each answer.
        faulty: whether the most likely next token is neither letter; None where unknown.

    Returns:
        Whether the answers have collapsed, with the numbers compared and the reason.

    Raises:
        ScoreError: no items, or not both option orders.
    """
    if chose_first.shape[0] == 0 or chose_first.shape[1] != 2:
        raise ScoreError(
            f"answers of shape {tuple(chose_first.shape)}; the collapse rule needs (items, 2): at least one item, "
            "in both option orders."
        )
    first = float(chose_first.double().mean())
    missing = float("nan") if faulty is None else float(faulty.double().mean())
    return _judged([first, 1 - first], float(mass.double().mean()), missing, gold_entropy=1.0)


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


def answer_margin(
    chose_first: Bool[Tensor, "item order"],
    mass: Float[Tensor, "item order"],
    faulty: Bool[Tensor, "item order"] | None = None,
) -> float:
    """The margin of the collapse rule: above 0 exactly where `collapse` returns collapsed.

        margin = max(modal share - 0.95, 0.5 - mean answer probability, faulty share - 0.05)

    Infinite where a score is not finite. `collapse_threshold` interpolates it over the strength.
    """
    found = collapse(chose_first, mass, faulty)
    return _margin(found.modal_letter_share, found.mean_answer_probability, found.faulty_share)


def entropy(shares: Sequence[float]) -> float:
    """The entropy of a distribution, in bits; shares of 0 contribute 0."""
    return float(stats.entropy(shares, base=2))


def _margin(modal: float, mass: float, faulty: float) -> float:
    if not math.isfinite(mass):
        return math.inf
    passed = max(modal - MODAL_LETTER_LIMIT, ANSWER_PROBABILITY_LIMIT - mass)
    return passed if math.isnan(faulty) else max(passed, faulty - FAULTY_LIMIT)


def _judged(shares: Sequence[float], mass: float, faulty: float, gold_entropy: float) -> Collapse:
    """Compares each number with its limit."""
    modal, reason = max(shares), ""
    if not math.isfinite(mass):
        reason = "scores are not finite"
    elif mass < ANSWER_PROBABILITY_LIMIT:
        reason = f"mean answer probability {mass:.3f} < {ANSWER_PROBABILITY_LIMIT}"
    elif modal > MODAL_LETTER_LIMIT:
        reason = f"one letter in {modal:.3f} of the answers > {MODAL_LETTER_LIMIT}"
    elif faulty > FAULTY_LIMIT:
        reason = f"no letter in {faulty:.3f} of the answers > {FAULTY_LIMIT}"
    return Collapse(
        collapsed=bool(reason),
        modal_letter_share=modal,
        mean_answer_probability=mass,
        reason=reason,
        answer_entropy=entropy(shares),
        gold_entropy=gold_entropy,
        faulty_share=faulty,
    )
