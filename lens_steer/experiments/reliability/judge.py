"""One vector through the whole protocol: a place chosen on validation, curves on test, controls, and the verdict.

    pool        the vector, random directions and vectors of shuffled labels, all of its norms; each is asked at the
                place that is best for it on validation items, so that what choosing gains, it gains for all
    effect      mean over test items of [m(+s) - m(-s)] / 2 at the reference strength
    spread      root mean square of the same over items: how far they are moved, whichever way
    p           (1 + controls at least as far) / (1 + controls) of either kind, and the larger of the two; of the spread
                random directions alone, as a vector whose sign a context flips is one of shuffled labels

Slopes are fitted on the strengths that are valid. Any vector of the model can be judged, a random one too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.experiments.evaluator import scoring_options
from lens_steer.experiments.finding import LEVEL, too_few
from lens_steer.experiments.reliability.measure import Asked, Place, ask, choose_places, rounding_of
from lens_steer.experiments.reliability.prompts import says_yes
from lens_steer.experiments.reliability.rules import RANDOM, SHUFFLED, verdict_of
from lens_steer.experiments.reliability.settings import Reliability, places_of
from lens_steer.metrics.reliability import explained_variance, order_debiased, text_debiased
from lens_steer.metrics.significance import control_p
from lens_steer.metrics.statistics import mean_interval
from lens_steer.metrics.steerability import (
    CurveFits,
    anti_steerable_interval,
    bimodality_coefficient,
    fit_curves,
    steerability,
)
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

STEERING = "steering"
"""The vector in question, in the columns `vector` and `kind` of the tables; the others are `random k`, `shuffled k`."""
LEAST_OF_A_TEXT = 4
"""The fewest items that say Yes, and that say No, for which the two are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What was found of one vector: its place, its verdict with the numbers behind it (`row`), and tidy frames.

    `items`: one row a test item. `curves`: one row a strength. `controls`: one row a vector. `slopes`: of the items.
    """

    place: Place
    row: Mapping[str, Any]
    items: pd.DataFrame
    curves: pd.DataFrame
    controls: pd.DataFrame
    slopes: Float[Tensor, " item"]

    @property
    def verdict(self) -> str:
        """The verdict alone."""
        return str(self.row["verdict"])


def judge_vector(
    model: SteerableModel,
    vector: SteeringVector,
    splits: Splits,
    settings: Reliability | None = None,
    shuffled: Sequence[SteeringVector] = (),
    progress: bool = False,
) -> Judged:
    """Judges one vector on the items of a behaviour.

    Args:
        model: the vector's model.
        vector: with all sites of the settings.
        splits: validation items, on which the place is chosen, and test items.
        settings: sites, positions, strengths, controls; the defaults where absent.
        shuffled: vectors of shuffled labels (`extraction.shuffled_vectors`), without which the verdict is beside random
            directions alone, and says so.
        progress: draw progress bars.

    Returns:
        The verdict and everything it was made of.

    Raises:
        ScoreError: fewer than two validation or test items, a reference strength that is not in the grid, or too few
            controls of a kind for a verdict.
        SiteError, OptionTokenError, MismatchError: as `sweep`.
    """
    settings = settings or Reliability()
    options, s = replace(scoring_options(settings), progress=progress), settings.reference
    if min(len(splits.validation), len(splits.test)) < 2 or not {-s, s} <= set(settings.strengths):
        raise ScoreError(
            f"{len(splits.validation)} validation and {len(splits.test)} test items, reference strength {s:g} of "
            f"{list(settings.strengths)}; give at least two items each, and a grid that holds it with both signs."
        )
    random = [random_like(vector, settings.seed + k) for k in range(settings.n_random)]
    for kind, n in ((RANDOM, len(random)), (SHUFFLED, len(shuffled) or len(random))):
        if too_few(n):
            raise ScoreError(
                f"{n} {kind}; p cannot reach {LEVEL}, and nothing could be called steerable. "
                f"Give at least {round(1 / LEVEL) - 1}."
            )
    pool, kinds = [vector, *random, *shuffled], [STEERING, *[RANDOM] * len(random), *[SHUFFLED] * len(shuffled)]
    places, held = places_of(model, settings), options.prepare(model, splits.validation)
    chosen = choose_places(model, pool, places, held, s, settings.scale, options)
    prompts = options.prepare(model, splits.test)
    (asked,) = ask(model, prompts, [(vector, chosen[0])], settings.strengths, settings.scale, options)
    pairs = list(zip(pool[1:], chosen[1:], strict=True))
    others = ask(model, prompts, pairs, (-s, s), settings.scale, options)
    controls = pd.DataFrame(
        [
            {
                "vector": STEERING if k == 0 else pool[k].name,
                "kind": kinds[k],
                "site": str(chosen[k].site),
                "positions": chosen[k].positions,
                "effect": float(found.effects(s).mean()),
                "spread": float(found.effects(s).square().mean().sqrt()),
                "valid": not found.reason(s),
            }
            for k, found in enumerate([asked, *others])
        ]
    )
    reason = asked.reason(s)
    kept = asked.only(asked.valid()) if not reason else asked
    return _judged(chosen[0], kept, asked, splits.test, controls, reason, settings, rounding_of(model))


def _judged(
    place: Place,
    kept: Asked,
    asked: Asked,
    items: Sequence[ChoiceItem],
    controls: pd.DataFrame,
    reason: str,
    settings: Reliability,
    tolerance: float,
) -> Judged:
    """The numbers and the verdict, of the answers at all strengths and at those that are valid."""
    grid, curves = kept.grid, kept.curves
    fits = fit_curves(order_debiased_curves(curves), grid, tolerance)
    by_order = torch.stack([steerability(curves[:, r], grid, tolerance) for r in range(curves.shape[1])], dim=1)
    yes, seed = [says_yes(item) for item in items], settings.seed
    row: dict[str, Any] = {
        "site": str(place.site),
        "positions": place.positions,
        "scale": settings.scale,
        "reference": settings.reference,
        "largest_valid": float(max(asked.valid())),
        "n": len(items),
        **interval_of("propensity", asked.propensity, settings, seed),
        **interval_of("steerability", fits.slope, settings, seed),
        **_spread_of(fits),
        **_against(controls, asked.effects(settings.reference), settings),
        **_halves(by_order, yes, settings),
        **_biases(asked, yes),
        "valid": not reason,
        "reason": reason,
    }
    row["verdict"], row["why"] = verdict_of(row)
    frame = fits.to_frame()
    frame.insert(0, "item", [item.id for item in items])
    frame["propensity"], frame["says_yes"] = asked.propensity.numpy(), [_word(said) for said in yes]
    frame["slope_first"], frame["slope_second"] = (by_order[:, r].numpy() for r in (0, -1))
    means = [
        {
            "strength": s,
            **interval_of("propensity", scores.item_differences, settings, seed),
            "rate": float(scores.matches.double().mean()),
        }
        | {"valid": s in kept.scores and not reason, "reason": asked.reason(s)}
        for s, scores in asked.scores.items()
    ]
    return Judged(
        place=place,
        row=row,
        items=frame,
        curves=pd.DataFrame(means),
        controls=controls,
        slopes=fits.slope,
    )


def order_debiased_curves(curves: Float[Tensor, "item order strength"]) -> Float[Tensor, "item strength"]:
    """The mean curve of each item over its option orders."""
    return torch.stack([order_debiased(at) for at in curves.unbind(dim=2)], dim=1)


def _spread_of(fits: CurveFits) -> dict[str, float]:
    """How the slopes of items are distributed, and how well lines describe the curves."""
    slopes, anti = fits.slope, anti_steerable_interval(fits.slope)
    low, middle, high = (float(slopes.quantile(q)) for q in (0.25, 0.5, 0.75))
    return {
        "median": middle,
        "sd": float(slopes.std(correction=0)),
        "quartile_low": low,
        "quartile_high": high,
        "bimodality": bimodality_coefficient(slopes),
        "anti_share": anti.value,
        "anti_low": anti.low,
        "anti_high": anti.high,
        "flat_share": float(fits.flat.double().mean()),
        "r2": float(fits.r2.nanmedian()),
        "mse": float(fits.mse.mean()),
        "rank_correlation": float(fits.spearman.nanmedian()),
        "monotone_share": float(fits.monotone.double().mean()),
    }


def interval_of(name: str, values: Float[Tensor, " item"], settings: Reliability, seed: int) -> dict[str, Any]:
    """The cells of a mean over items with its interval."""
    return mean_interval(values, resamples=settings.resamples, seed=seed).columns(name)


def _against(controls: pd.DataFrame, effects: Float[Tensor, " item"], settings: Reliability) -> dict[str, Any]:
    """Effect and spread, and how many controls of each kind go as far; those that are not valid do not count."""
    found: dict[str, Any] = interval_of("effect", effects, settings, settings.seed)
    found["spread"] = float(effects.square().mean().sqrt())
    for name, column, kind in (
        ("p_random", "effect", RANDOM),
        ("p_shuffled", "effect", SHUFFLED),
        ("spread_p", "spread", RANDOM),
    ):
        own = controls[controls["kind"] == kind]
        reached = own[column].where(own["valid"], -math.inf)
        found[name] = control_p(found[column], reached)
    return found | {"p": float(np.nanmax([found["p_random"], found["p_shuffled"]]))}


def _halves(by_order: Float[Tensor, "item order"], yes: Sequence[bool | None], settings: Reliability) -> dict[str, Any]:
    """Steerability in each half of the questions, and the variance of slopes that the halves explain."""
    slopes, orders = order_debiased(by_order), by_order.shape[1]
    said = torch.tensor([word is not None for word in yes], device="cpu")
    says = torch.tensor([word is True for word in yes], device="cpu")
    told = min(int((said & says).sum()), int((said & ~says).sum())) >= LEAST_OF_A_TEXT
    groups: dict[str, Tensor] = {}
    if orders == 2:
        groups |= {"first": by_order[:, 0], "second": by_order[:, 1]}
    if told:
        groups |= {"yes": slopes[said & says], "no": slopes[said & ~says]}
    found: dict[str, Any] = {}
    for name in ("first", "second", "yes", "no"):
        found |= (
            interval_of(f"steerability_{name}", groups[name], settings, settings.seed)
            if (name in groups)
            else {f"steerability_{name}{end}": math.nan for end in ("", "_low", "_high")}
        )
    kept = said if told else torch.ones_like(said)
    rows, first = by_order[kept].reshape(-1), torch.arange(orders, device="cpu").repeat(int(kept.sum())) == 0
    named = says[kept] if told else torch.zeros_like(says)
    explained = explained_variance(rows, first, named.repeat_interleave(orders))
    found["explained_letter"] = explained.letter if orders == 2 else math.nan
    found["explained_yes"] = explained.yes if told else math.nan
    found["unexplained"] = explained.unexplained
    found["steerability_text_debiased"] = _debiased(slopes[said], says[said]) if told else math.nan
    return found


def _debiased(slopes: Tensor, yes: Bool[Tensor, " item"]) -> float:
    """The mean of both groups, weighed equally."""
    moved = text_debiased(slopes, yes)
    return float(moved[yes].mean())


def _biases(asked: Asked, yes: Sequence[bool | None]) -> dict[str, float]:
    """How far the unsteered answers prefer one place, and Yes or No whichever matches; nats."""
    said = torch.tensor([word is True for word in yes], device="cpu")
    denied = torch.tensor([word is False for word in yes], device="cpu")
    bias = math.nan
    if min(int(said.sum()), int(denied.sum())) >= LEAST_OF_A_TEXT:
        bias = float(asked.propensity[said].mean() - asked.propensity[denied].mean()) / 2
    return {"position_bias": asked.scores[0.0].position_bias, "yes_bias": bias}


def _word(said: bool | None) -> str:
    """What the matching option says, in a table."""
    return {True: "yes", False: "no", None: ""}[said]
