"""Methods compared by steering with their vectors, each at equal side effects on ordinary text.

    s+ > 0, s- < 0     mean KL(unsteered || steered) on neutral texts = the budget, for each vector and sign
    effect             (mean logit difference at s+  minus  at s-) / 2 on test items in both option orders, nats
    rate_change        matching rate at s+  minus  at s-

At equal strength the longest vector wins; at equal KL, the vector that moves the behaviour with the least side effects.
Norm-matched random directions are calibrated and tested like any method. A vector that cannot reach the budget is
reported as such, never left out. Where questions are open, logit differences are near 0 and any vector moves the rate
to one end: the effect in nats tells methods apart, the rate does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import Prompts, prepare_choices
from lens_steer.evaluation.score import ChoiceScores, score_prompts
from lens_steer.evaluation.side_effects import strength_at_kl
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, random_like

Maker = Callable[[ContrastSet], SteeringVector]
"""Makes a vector of a contrast set, at the site that is compared."""


COLUMNS = ("behaviour", "method", "norm", "strength_added", "strength_subtracted", "unsteered", "added", "subtracted")
COLUMNS += ("effect", "effect_low", "effect_high", "effect_why", "rate_change", "answer_probability", "note")


@dataclass(frozen=True, kw_only=True)
class EqualSideEffects:
    """Where and under what side effects methods are compared; `texts` are neutral documents, the same for all."""

    site: SiteLike
    texts: tuple[str, ...]
    kl: float = 0.2
    positions: str = "all"
    n_random: int = 3
    seed: int = 0


def compare_methods(
    model: SteerableModel,
    behaviours: Mapping[str, Splits],
    makers: Mapping[str, Maker],
    settings: EqualSideEffects,
    progress: bool = False,
) -> pd.DataFrame:
    """Steers every behaviour with every method's vector at equal KL.

    Args:
        model: a loaded model.
        behaviours: the items of each behaviour; vectors are made of training items, effects measured on test items.
        makers: each method by name.
        settings: site, texts, budget, positions and controls.
        progress: draw a progress bar.

    Returns:
        One row a behaviour and method (random controls are `random 0`, ...): `strength_added`, `strength_subtracted`
        (NaN where no strength reaches the budget; the reason stands in `note`), matching rates `added`, `unsteered` and
        `subtracted`, `effect` with its interval over items, `rate_change`, `answer_probability` (the smaller of both
        ends) and the vector's `norm`.

    Raises:
        ScoreError: there are no behaviours or no methods.
    """
    if not behaviours or not makers:
        raise ScoreError(f"{len(behaviours)} behaviours and {len(makers)} methods; give at least one of each.")
    configurations = [(behaviour, method) for behaviour in behaviours for method in (*makers, *_randoms(settings))]
    rows, first = [], next(iter(makers))
    for behaviour, method in track(configurations, "comparing methods", len(configurations), progress):
        splits = behaviours[behaviour]
        contrast = contrast_from_choices(behaviour, splits.train, answer="text")
        if method in makers:
            vector = makers[method](contrast)
        else:
            vector = random_like(makers[first](contrast), settings.seed + _randoms(settings).index(method))
        rows.append({"behaviour": behaviour, "method": method, **_configuration(model, vector, splits.test, settings)})
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def effect_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Method by behaviour: the effect at equal KL in nats, random controls as one row (the largest of them in size).

    Args:
        frame: from `compare_methods`.

    Returns:
        One row a method, one column a behaviour and their mean, best mean first, the random row last.
    """
    table = frame.pivot(index="method", columns="behaviour", values="effect")[frame["behaviour"].unique()]
    random = [name for name in table.index if str(name).startswith("random ")]
    methods = table.drop(index=random).assign(mean=lambda t: t.mean(axis=1)).sort_values("mean", ascending=False)
    control = table.loc[random].abs().max().to_frame(f"random (largest of {len(random)})").T
    return pd.concat([methods, control.assign(mean=lambda t: t.mean(axis=1))]) if random else methods


def _randoms(settings: EqualSideEffects) -> list[str]:
    return [f"random {k}" for k in range(settings.n_random)]


def _configuration(
    model: SteerableModel, vector: SteeringVector, items: Sequence[ChoiceItem], settings: EqualSideEffects
) -> dict[str, float | str]:
    """One vector, calibrated and tested."""
    site, prompts = Site.parse(settings.site), prepare_choices(model, items, ChoiceTemplate())
    row: dict[str, float | str] = {"norm": vector.norm(site)}
    scores = {"unsteered": score_prompts(model, prompts)}
    try:
        for end, sign in (("added", 1), ("subtracted", -1)):
            strength = strength_at_kl(model, vector, site, settings.texts, settings.kl, settings.positions, sign=sign)
            row[f"strength_{end}"] = strength
            scores[end] = _steered(model, prompts, vector, strength, settings)
    except ScoreError as error:
        return row | {"note": str(error), "effect_why": "unreached"}
    rates = {end: float(found.matches.double().mean()) for end, found in scores.items()}
    effect = mean_interval((scores["added"].logit_differences - scores["subtracted"].logit_differences) / 2)
    mass = min(float(scores[end].answer_probability.mean()) for end in ("added", "subtracted"))
    change = rates["added"] - rates["subtracted"]
    return row | rates | effect.columns("effect") | {"rate_change": change, "answer_probability": mass}


def _steered(
    model: SteerableModel, prompts: Prompts, vector: SteeringVector, strength: float, settings: EqualSideEffects
) -> ChoiceScores:
    return score_prompts(model, prompts, [Intervention.of(vector, settings.site, strength, "raw", settings.positions)])
