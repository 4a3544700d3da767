"""Strengths of equal side effects, so that anything that has a strength can be compared with anything else.

    family       strength -> interventions;  strength 0 is no steering
    calibrated   the strength at which mean KL(unsteered || steered) on fixed texts is a budget, nats a token

A strength means something else for every vector and operator; a KL does not. The smallest such strength is looked for:
by doubling from 1/64, then by Brent's method on the square root of KL, which is nearly straight where KL is small. A
family need not be monotone (a rotation comes round again) nor unbounded (a turn ends): where KL falls again among the
strengths tried, the result says so, and a budget that is out of reach is refused with the largest KL that there is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.optimize import root_scalar

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.hooks import Interventions
from lens_steer.model import SteerableModel, require_model

SMALLEST, LARGEST = 1 / 64, 4096.0
TOLERANCE = 1e-2
"""Of the strength, relative."""
FALL = 1e-3
"""By which share of the largest KL before it a KL must be lower to count as falling, and not as rounding."""

Family = Callable[[float], Interventions]
"""From a strength to what steers."""


@shown()
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A strength of given side effects.

    `kl` is the KL there, to 1 % of the strength the wanted one; `monotone` whether KL never fell among the strengths
    that were tried, which are in `tried` with their KL, in order.
    """

    strength: float
    kl: float
    monotone: bool
    tried: tuple[tuple[float, float], ...]


def strength_at_kl(
    model: SteerableModel,
    family: Family,
    texts: str | Sequence[str],
    kl: float,
    *,
    sign: float | int = 1,
    largest: float = LARGEST,
    max_tokens: int | None = None,
) -> Calibration:
    """The strength at which any family of interventions has given side effects on texts.

    Args:
        model: a loaded model.
        family: from a strength to interventions, such as a vector's `lambda s: Intervention.of(vector, 12, s)`.
        texts: fixed, neutral documents.
        kl: the wanted mean KL(unsteered || steered), nats a token.
        sign: of the strength; adding and subtracting have different side effects.
        largest: the largest strength to try, without its sign; 1 where a family ends there.
        max_tokens: cut texts to their first tokens; whole texts where absent.

    Returns:
        The smallest strength found, with that sign.

    Raises:
        ScoreError: the KL is not above 0, no strength reaches it, or the smallest one exceeds it.
        DataError, SteeringError: as `measure_side_effects`.

    Example:
        >>> from lens_steer import Intervention, load_model
        >>> import torch
        >>> model, direction = load_model("lab"), torch.eye(128)[0]
        >>> texts = ["The cat sat on the mat.", "The dog ran after the ball."]
        >>> found = strength_at_kl(model, lambda s: Intervention.at("resid_post@3", direction, s), texts, 0.1)
        >>> 0.09 < found.kl < 0.11, found.monotone
        (True, True)
    """
    require_model(model, "strength_at_kl(model, family, texts, kl)", family, texts)
    predicted = PredictedTexts.of(model, texts, max_tokens)
    return calibrate(lambda strength: predicted.under(family(strength)).kl, kl, sign=sign, largest=largest)


def calibrate(
    kl_of: Callable[[float], float],
    kl: float,
    *,
    sign: float | int = 1,
    largest: float = LARGEST,
    name: str = "this family of edits",
) -> Calibration:
    """The strength at which a KL is the wanted one, whatever the strength is of: interventions, or an adapter.

    Args:
        kl_of: from a strength, with its sign, to a KL; 0 at strength 0.
        kl: the wanted one.
        sign: of the strength.
        largest: the largest strength to try, without its sign.
        name: what messages call it.

    Returns:
        The smallest strength found.

    Raises:
        ScoreError: the KL is not above 0, no strength reaches it, or the smallest one exceeds it.

    Example:
        >>> found = calibrate(lambda strength: 0.5 * strength**2, 0.5)
        >>> round(found.strength, 2), found.monotone
        (1.0, True)
    """
    if not kl > 0:
        raise ScoreError(f"a KL of {kl} nats was asked for; give a number above 0, such as 0.1.")
    tried: dict[float, float] = {}

    def excess(strength: float) -> float:
        if strength not in tried:
            tried[strength] = max(kl_of(sign * strength), 0.0)  # rounding may leave it a little below
        return tried[strength] ** 0.5 - kl**0.5

    low, high = 0.0, min(SMALLEST, largest)
    while excess(high) < 0:
        if high == largest:
            raise ScoreError(_out_of_reach(tried, kl, largest, name))
        low, high = high, min(2 * high, largest)
    if low == 0:
        raise ScoreError(f"{name}: strength {high:g} already exceeds a KL of {kl:g} nats; scale it down.")
    root = float(root_scalar(excess, bracket=(low, high), method="brentq", rtol=TOLERANCE).root)
    excess(root)
    ordered = tuple((float(sign) * strength, tried[strength]) for strength in sorted(tried))
    return Calibration(
        strength=float(sign) * root, kl=tried[root], monotone=_monotone([found for _, found in ordered]), tried=ordered
    )


def _out_of_reach(tried: dict[float, float], kl: float, largest: float, name: str) -> str:
    """What to say of a budget that no strength reaches."""
    best = max(tried, key=lambda strength: tried[strength])
    found = [tried[strength] for strength in sorted(tried)]
    shape = "KL still grows there" if best == largest and _monotone(found) else "KL does not grow beyond it"
    return (
        f"{name}: no strength up to {largest:g} reaches a KL of {kl:g} nats; the largest is {tried[best]:.3g}, at "
        f"strength {best:g}, and {shape}."
    )


def _monotone(found: Sequence[float]) -> bool:
    """Whether numbers never fall by more than rounding does."""
    return all(after >= before * (1 - FALL) for before, after in pairwise(found))
