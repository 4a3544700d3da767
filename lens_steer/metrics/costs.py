"""What steering costs beside its target, in one number each.

    McNemar         items that are right before and wrong after, against the other way round: exact two-sided binomial
    entanglement    sqrt( mean over untargeted behaviours b of (y_b - y0_b)^2 )       y: steered rate, y0: unsteered
    effectiveness   mean over targeted behaviours b of (y_b - y0_b) / (1 - y0_b)
    usable          the largest strength up to which, on both sides of 0, perplexity grows at most to 1.1 times and
                    accuracy falls by at most .01
    PNES            e: rate, r: perplexity / unsteered perplexity; log r ~ b s^2, then
                    [e(s) - e(0)] / r(s) ~ y(s) = (tanh(a s) + c) exp(-b s^2); PNES = max y - min y over the strengths

Sources: McNemar 1947; Siu et al. 2025 (SteeringControl, arXiv 2509.13450) for entanglement and effectiveness; von Rütte
et al. 2024 (arXiv 2402.14433) for the perplexity-normalised effect size.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError

PERPLEXITY, ACCURACY = 1.1, 0.01
"""How far perplexity may grow, and accuracy fall, at a usable strength."""
DRAWN = 200
"""Strengths at which the fitted curve of PNES is read."""


@shown()
@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Items that steering loses and gains, and the two-sided p of as uneven a split; 1 where no item changes."""

    lost: int
    gained: int
    n: int
    p: float


def mcnemar(before: Bool[Tensor, " item"], after: Bool[Tensor, " item"]) -> McNemar:
    """Compares right and wrong answers to the same items.

    Args:
        before: whether each item is right without steering.
        after: the same with it.

    Raises:
        ScoreError: there are no items, or not as many before as after.

    Example:
        >>> import torch
        >>> before = torch.tensor([True] * 8 + [False] * 2)
        >>> found = mcnemar(before, torch.tensor([True] * 2 + [False] * 7 + [True]))
        >>> found.lost, found.gained, round(found.p, 3)
        (6, 1, 0.125)
    """
    if len(before) != len(after) or not len(before):
        raise ScoreError(f"{len(before)} items before and {len(after)} after; give the same items, at least one.")
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    p = float(stats.binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    return McNemar(lost=lost, gained=gained, n=len(before), p=p)


def entanglement(steered: Float[Tensor, " n"], unsteered: Float[Tensor, " k"]) -> float:
    """How far untargeted behaviours move: the root mean square of the changes of their rates.

    Args:
        steered: rates of the behaviours that were not the target, between 0 and 1.
        unsteered: the same without steering.

    Raises:
        ScoreError: no rates, or not as many of each.

    Example:
        >>> import torch
        >>> round(entanglement(torch.tensor([0.5, 0.8]), torch.tensor([0.1, 0.5])), 4)
        0.3536
    """
    return float((_rates(steered, unsteered)).square().mean().sqrt())


def effectiveness(steered: Float[Tensor, " n"], unsteered: Float[Tensor, " k"]) -> float:
    """The mean share of what could be gained that is gained, over targeted behaviours; at most 1.

    Args:
        steered: rates of the targeted behaviours, between 0 and 1.
        unsteered: the same without steering, below 1.

    Raises:
        ScoreError: no rates, not as many of each, or an unsteered rate of 1.

    Example:
        >>> import torch
        >>> effectiveness(torch.tensor([0.75]), torch.tensor([0.5]))
        0.5
    """
    changes = _rates(steered, unsteered)
    if bool((unsteered >= 1).any()):
        raise ScoreError("an unsteered rate of 1 leaves nothing to gain; leave that behaviour out.")
    return float((changes / (1 - unsteered.double())).mean())


def usable_strength(
    strengths: Sequence[float | int], perplexity: Sequence[float | int], accuracy: Sequence[float | int] | None = None
) -> float:
    """The largest size of strength up to which side effects stay small, added and subtracted.

    Args:
        strengths: of both signs; 0 need not be among them.
        perplexity: steered over unsteered perplexity of neutral text at each.
        accuracy: steered minus unsteered capability accuracy at each, where it was measured.

    Returns:
        The size; 0 where already the smallest strength costs more.

    Raises:
        ScoreError: not as many numbers as strengths.
    """
    lost = [0.0] * len(strengths) if accuracy is None else list(accuracy)
    if not len(strengths) == len(perplexity) == len(lost):
        raise ScoreError(f"{len(strengths)} strengths, {len(perplexity)} perplexities and {len(lost)} accuracies.")
    usable = 0.0
    for size in sorted({abs(s) for s in strengths} - {0.0}):
        here = [k for k, s in enumerate(strengths) if abs(s) == size]
        if not all(perplexity[k] <= PERPLEXITY and lost[k] >= -ACCURACY for k in here):
            break
        usable = size
    return usable


@shown()
@dataclass(frozen=True, kw_only=True)
class EffectSize:
    """The perplexity-normalised effect size with the share of variance that its curve explains."""

    value: float
    r2: float


def effect_size(
    strengths: Sequence[float | int], rates: Sequence[float | int], perplexity: Sequence[float | int]
) -> EffectSize:
    """The perplexity-normalised effect size (PNES) of a curve of rates.

    Args:
        strengths: of both signs, with 0.
        rates: of the behaviour at each, between 0 and 1.
        perplexity: steered over unsteered perplexity at each.

    Returns:
        PNES and R^2 of the fit; both NaN where no curve can be fitted.

    Raises:
        ScoreError: fewer than five strengths, none at 0, not as many numbers as strengths, or a perplexity of 0.

    Source:
        von Rütte et al. 2024 (arXiv 2402.14433).
    """
    s, e, r = (np.asarray(values, dtype=float) for values in (strengths, rates, perplexity))
    if not len(s) == len(e) == len(r) or len(s) < 5 or 0 not in s or not (r > 0).all():
        raise ScoreError(
            f"{len(s)} strengths, {len(e)} rates, {len(r)} perplexities; give as many of each, at least five, with "
            "strength 0, and perplexities above 0."
        )
    b = float((s**2 * np.log(r)).sum() / (s**4).sum())
    y = (e - e[s == 0].mean()) / r

    def curve(x: np.ndarray, a: float, c: float) -> np.ndarray:
        return (np.tanh(a * x) + c) * np.exp(-b * x**2)

    start = (np.sign(np.polyfit(s, y, 1)[0]) / np.abs(s).max(), 0.0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            fitted, _ = optimize.curve_fit(curve, s, y, p0=start)
    except RuntimeError:
        return EffectSize(value=float("nan"), r2=float("nan"))
    drawn = curve(np.linspace(s.min(), s.max(), DRAWN), *fitted)
    spread = ((y - y.mean()) ** 2).sum()
    r2 = 1 - ((y - curve(s, *fitted)) ** 2).sum() / spread if spread else float("nan")
    return EffectSize(value=float(np.ptp(drawn)), r2=float(r2))


def _rates(steered: Tensor, unsteered: Tensor) -> Tensor:
    """The changes of rates."""
    if len(steered) != len(unsteered) or not len(steered):
        raise ScoreError(
            f"{len(steered)} steered and {len(unsteered)} unsteered rates; give one of each, at least one."
        )
    return steered.double() - unsteered.double()
