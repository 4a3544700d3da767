"""The one collapse rule, used everywhere.

    collapsed  <=>  max(share of (A), share of (B)) > 0.95 over items in both option orders,
                    or mean letter mass < 0.5,  or a score is not finite

With both option orders of every item, a model that answers by content gives each letter half of the time, however
extreme it is; a model that answers one letter whatever is asked gives it always. Such a point has a matching rate
near 0.5 that looks harmless. The thresholds are ours: 0.95 leaves room for one odd item in twenty, 0.5 says that
something else than an answer is the likelier next token. A collapsed point is shown as collapsed, never dropped. The
rule knows answers, not fluency.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.errors import ScoreError

MODAL_LETTER_LIMIT = 0.95
LETTER_MASS_LIMIT = 0.5


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Whether a set of answers has collapsed, and by what; `reason` is empty where it has not."""

    collapsed: bool
    modal_letter_share: float
    mean_letter_mass: float
    reason: str


def collapse(chose_first: Bool[Tensor, "item order"], mass: Float[Tensor, "item order"]) -> Collapse:
    """Applies the collapse rule to the answers of items in both option orders.

    Args:
        chose_first: whether the answer is the first letter, (A), for each item and option order.
        mass: p(A) + p(B) of each answer.

    Returns:
        The verdict with its two numbers and its reason.

    Raises:
        ScoreError: no items, or not both option orders.
    """
    if chose_first.shape[0] == 0 or chose_first.shape[1] != 2:
        raise ScoreError(
            f"answers of shape {tuple(chose_first.shape)}; the collapse rule needs (items, 2): at least one item, "
            "in both option orders."
        )
    first = float(chose_first.double().mean())
    share, mean = max(first, 1 - first), float(mass.double().mean())
    reason = ""
    if not bool(mass.isfinite().all()):
        reason = "scores are not finite"
    elif mean < LETTER_MASS_LIMIT:
        reason = f"mean letter mass {mean:.3f} < {LETTER_MASS_LIMIT}"
    elif share > MODAL_LETTER_LIMIT:
        reason = f"one letter in {share:.3f} of the answers > {MODAL_LETTER_LIMIT}"
    return Collapse(collapsed=bool(reason), modal_letter_share=share, mean_letter_mass=mean, reason=reason)
