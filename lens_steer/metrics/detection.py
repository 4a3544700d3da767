"""Signal detection: separates sensitivity to content (d') from bias towards one answer (c).

    H  = P(first option | it matches)         hit rate             z: inverse of the standard normal distribution
    F  = P(first option | it does not)        false-alarm rate
    d' = z(H) - z(F)                          sensitivity; 0: answers ignore content, below 0: they reverse it
    c  = -(z(H) + z(F)) / 2                   criterion; below 0: bias to the first option, above 0: to the second

d' and c always use the log-linear correction (Hautus 1995, Behav. Res. Methods 27, 46): 0.5 is added to hits and false
alarms and 1 to the trials of each kind, so that rates of 0 and 1 stay finite. The rates are not corrected. A matching
rate (H + 1 - F) / 2 of 0.5 can mean an unbiased model without sensitivity or a single answer to every item: d' is 0 in
both cases, c differs. From published counts, TP = (matches - N + yes) / 2 and FP = yes - TP, where P items have the
first option (yes) as matching answer and N the second. This holds only where every item got one of the two options.
"""

from dataclasses import dataclass
from math import nan
from statistics import NormalDist

from jaxtyping import Bool
from torch import Tensor

from lens_steer.errors import ScoreError

CORRECTION = 0.5


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Signal-detection statistics; `d_prime` and `criterion` use the log-linear correction, the rates do not."""

    hit_rate: float
    false_alarm_rate: float
    d_prime: float
    criterion: float
    n_signal: int
    n_noise: int


NOT_DETECTABLE = Detection(hit_rate=nan, false_alarm_rate=nan, d_prime=nan, criterion=nan, n_signal=0, n_noise=0)
"""Where answers have no common first option."""


def detection(hits: int, n_signal: int, false_alarms: int, n_noise: int) -> Detection:
    """Sensitivity and criterion from counts.

    Args:
        hits: trials with the first option chosen where it matches.
        n_signal: trials in which the first option matches.
        false_alarms: trials with the first option chosen where it does not match.
        n_noise: trials in which the first option does not match.

    Returns:
        Uncorrected rates; d' and criterion with the log-linear correction.

    Raises:
        ScoreError: no trials of one kind, or a count that is not between 0 and its number of trials.

    Source:
        Hautus 1995, "Corrections for extreme proportions", Behavior Research Methods 27, 46-51.
    """
    for count, trials, what in ((hits, n_signal, "matches"), (false_alarms, n_noise, "does not match")):
        if trials < 1 or not 0 <= count <= trials:
            raise ScoreError(
                f"{count} of {trials} trials in which the first option {what}; signal detection needs trials of both "
                "kinds (a behaviour with a single label lacks one kind), and counts between 0 and the trials."
            )
    normal = NormalDist()
    hit, alarm = (
        normal.inv_cdf((count + CORRECTION) / (trials + 2 * CORRECTION))
        for count, trials in ((hits, n_signal), (false_alarms, n_noise))
    )
    return Detection(
        hit_rate=hits / n_signal,
        false_alarm_rate=false_alarms / n_noise,
        d_prime=hit - alarm,
        criterion=-(hit + alarm) / 2 + 0.0,
        n_signal=n_signal,
        n_noise=n_noise,
    )


def detection_of_choices(chose_first: Bool[Tensor, "item order"]) -> Detection:
    """Signal detection for items in both option orders: the matching option is first in order 0, second in order 1.

    Args:
        chose_first: whether the first option was chosen, for each item and order.

    Returns:
        As `detection`; each item is one signal trial and one noise trial.

    Raises:
        ScoreError: no items, or not both option orders.
    """
    if chose_first.shape[0] == 0 or chose_first.shape[1] != 2:
        raise ScoreError(f"answers of shape {tuple(chose_first.shape)}; give (items, 2), both option orders of each.")
    n = chose_first.shape[0]
    return detection(int(chose_first[:, 0].sum()), n, int(chose_first[:, 1].sum()), n)


def detection_of_counts(matches: int, chose_first: int, n_signal: int, n_noise: int, *, faulty: int) -> Detection:
    """Signal detection from stored counts: the matching answers, and the answers with the first option.

        hits = (matches - n_noise + chose_first) / 2        false alarms = chose_first - hits

    With f faulty answers to items whose matching answer is the second option, the first formula is f / 2 too low, and
    totals do not tell f: counts with faulty answers are refused.

    Args:
        matches: answers that match the behaviour.
        chose_first: answers that are the first option ("Yes", "A").
        n_signal: items whose matching answer is the first option.
        n_noise: items whose matching answer is the second option.
        faulty: answers that are neither option.

    Returns:
        As `detection`.

    Raises:
        ScoreError: there are faulty answers, or the counts are inconsistent.
    """
    if faulty:
        raise ScoreError(
            f"{faulty} faulty answers among {n_signal + n_noise}: totals do not tell which items they answer, so hits "
            "and false alarms are unknown. Count both from the single answers, and give them to detection()."
        )
    twice = matches - n_noise + chose_first
    if twice % 2 or not 0 <= twice // 2 <= n_signal or not 0 <= chose_first - twice // 2 <= n_noise:
        raise ScoreError(
            f"{matches} matches and {chose_first} first options of {n_signal} + {n_noise} items: these counts are "
            "inconsistent. Count every item once; are there faulty answers among them?"
        )
    return detection(twice // 2, n_signal, chose_first - twice // 2, n_noise)
