"""How steering changes the likelihood of matching and of other continuations of the same prompts.

    L_i             log-likelihood of continuation i, a mean over its tokens (or a sum), unsteered and steered
    c               (max of L over other continuations + min of L over matching ones) / 2,  of each model by itself
    z_i             L_i - c     `subtract`            L_i / |c|     `divide`
    P_q, N_q        the share q of matching continuations that are least likely, and of other ones that are likeliest,
                    unsteered
    Pos_q           mean over P_q of  z_i steered - z_i unsteered           the behaviour is promoted where above 0
    Neg_q           mean over N_q of  z_i unsteered - z_i steered           its opposite is suppressed where above 0
    drift           mean over a group of  L_i steered - L_i unsteered       raw: both below 0 is text falling apart
    shift           mean over prompts of  drift of the matching - drift of the other continuation          no c in it

Source: Pres et al. 2024 (arXiv 2410.17245), which says that likelihoods are "renormalised by" c. Both readings are
here. c is negative where L is a log-likelihood, so that L / c would turn the order round; `divide` keeps it. A c made
of two extreme continuations is noisy, and any harm to the least likely matching one raises all z: read Pos and Neg
beside drift and shift, and beside random directions. Intervals are percentile bootstraps over prompts, in which c, P_q
and N_q are found anew in every resample.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lens_steer.errors import ScoreError
from lens_steer.metrics.statistics import Interval

Normalisation = Literal["subtract", "divide"]
QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True, eq=False)
class ContinuationLikelihoods:
    """Log-likelihoods of the matching and the other continuation of each prompt, unsteered and steered; nats.

    Raises:
        ScoreError: fewer than two prompts, or a likelihood that is not finite.
    """

    matching_unsteered: Float[Tensor, " item"]
    other_unsteered: Float[Tensor, " item"]
    matching_steered: Float[Tensor, " item"]
    other_steered: Float[Tensor, " item"]

    def __post_init__(self) -> None:
        if len(self.matching_unsteered) < 2 or not all(bool(values.isfinite().all()) for values in self._columns):
            raise ScoreError(
                f"likelihoods of {len(self.matching_unsteered)} prompts; give at least two prompts, all likelihoods "
                "finite."
            )

    @property
    def _columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.matching_unsteered, self.other_unsteered, self.matching_steered, self.other_steered

    def promoted(
        self, share: float, normalisation: Normalisation = "subtract", resamples: int = 1999, seed: int = 0
    ) -> Interval:
        """Pos_q: the normalised change of the matching continuations that are least likely unsteered.

        Args:
            share: q, above 0 and at most 1; at least one prompt is taken.
            normalisation: how likelihoods are related to c.
            resamples: of the bootstrap over prompts; 0 for none, with bounds of NaN.
            seed: of the bootstrap.

        Raises:
            ScoreError: no such share or normalisation.

        Source:
            Pres et al. 2024, arXiv 2410.17245.
        """
        return self._changed(share, normalisation, True, resamples, seed)

    def suppressed(
        self, share: float, normalisation: Normalisation = "subtract", resamples: int = 1999, seed: int = 0
    ) -> Interval:
        """Neg_q: the normalised fall of the other continuations that are likeliest unsteered; see `promoted`."""
        return self._changed(share, normalisation, False, resamples, seed)

    def drift(self, matching: bool, resamples: int = 1999, seed: int = 0) -> Interval:
        """The raw change of a group's likelihood, nats.

        Args:
            matching: of the matching continuations, or of the other ones.
            resamples: of the bootstrap over prompts; 0 for none, with bounds of NaN.
            seed: of the bootstrap.
        """
        return self._interval(lambda p, n, p2, n2: (p2 - p if matching else n2 - n).mean(-1), resamples, seed)

    def shift(self, resamples: int = 1999, seed: int = 0) -> Interval:
        """How much more the matching continuation gains than the other one, nats; arguments as for `drift`."""
        return self._interval(lambda p, n, p2, n2: ((p2 - p) - (n2 - n)).mean(-1), resamples, seed)

    def _changed(
        self, share: float, normalisation: Normalisation, matching: bool, resamples: int, seed: int
    ) -> Interval:
        """Pos_q or Neg_q."""
        if not 0 < share <= 1 or normalisation not in get_args(Normalisation):
            raise ScoreError(
                f"share {share} and normalisation {normalisation!r}; give a share above 0, at most 1, and "
                f"{' or '.join(map(repr, get_args(Normalisation)))}."
            )
        count = max(1, round(share * len(self.matching_unsteered)))

        def changed(p: np.ndarray, n: np.ndarray, p2: np.ndarray, n2: np.ndarray) -> Any:
            before, after = (p, p2) if matching else (n, n2)
            gain = _normalised(after, _centre(p2, n2), normalisation) - _normalised(
                before, _centre(p, n), normalisation
            )
            order = np.argsort(before if matching else -before, axis=-1, kind="stable")[..., :count]
            return (1 if matching else -1) * np.take_along_axis(gain, order, -1).mean(-1)

        return self._interval(changed, resamples, seed)

    def _interval(self, statistic: Callable[..., Any], resamples: int, seed: int) -> Interval:
        """A number of all four columns, with its percentile interval over prompts."""
        columns = [values.detach().cpu().double().numpy() for values in self._columns]
        value, low, high = float(statistic(*columns)), math.nan, math.nan
        if resamples:
            found = stats.bootstrap(
                columns,
                lambda *rows, axis: statistic(*rows),  # noqa: ARG005
                paired=True,
                n_resamples=resamples,
                method="percentile",
                rng=np.random.default_rng(seed),
            ).confidence_interval
            low, high = float(found.low), float(found.high)
        return Interval(value=value, low=low, high=high, confidence=0.95, n=len(columns[0]))


def _centre(matching: np.ndarray, other: np.ndarray) -> np.ndarray:
    """c: half-way between the likeliest other and the least likely matching continuation, of each resample."""
    return (other.max(-1, keepdims=True) + matching.min(-1, keepdims=True)) / 2


def _normalised(values: np.ndarray, centre: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    return values - centre if normalisation == "subtract" else values / np.abs(centre)
