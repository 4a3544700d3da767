"""A judged vector elsewhere: in other prompt settings, on varied questions, and at other layers.

    shift        a vector of each prompt setting, all with the norm of the baseline's, asked in every setting:
                 s(A, B) = mean over items of [m(+s) - m(-s)] / (2 s);   s_rel(A, B) = s(A, B) / |s(B, B)|
                 gap(A, B) = | mean m_A(0) - mean m_B(0) |                 unsteered propensity
    variants     the baseline's vector on the same items asked otherwise; changes are paired by item
    layers       effects at every site, of each item at its own best one and at the best single one

Source: Tan et al. 2024 (arXiv 2407.12404).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.experiments.evaluator import scoring_options
from lens_steer.experiments.reliability.judge import interval_of
from lens_steer.experiments.reliability.measure import Asked, Place, ask, prepare
from lens_steer.experiments.reliability.prompts import BASELINE, Persona, prompt_settings, variants
from lens_steer.experiments.reliability.settings import Reliability
from lens_steer.extraction import extract
from lens_steer.hooks.sites import Site
from lens_steer.metrics.ranking import rank_correlation
from lens_steer.metrics.reliability import best_layers, relative_steerability
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector

LEAST_ITEMS = 4
"""The fewest items on which layers are compared."""


def shifted(
    model: SteerableModel, name: str, place: Place, splits: Splits, persona: Persona, settings: Reliability
) -> pd.DataFrame:
    """Steerability in and out of distribution, over the five prompt settings.

    Args:
        model: a loaded model.
        name: of the behaviour.
        place: where vectors are added.
        splits: training items, of which a vector is made in each setting, and test items.
        persona: what the settings say.
        settings: strengths and how questions are asked.

    Returns:
        One row for each setting that a vector was made in (`trained`) and setting that was asked in (`asked`).
    """
    options, s = scoring_options(settings), settings.reference
    asked_in = prompt_settings(settings.template, persona)
    vectors = _equal_norms(model, name, place.site, splits.train, asked_in, settings)
    items = splits.test[: settings.shifted]
    answers: dict[str, list[Asked]] = {}
    for asked, template in asked_in.items():
        prompts = prepare(model, items, options, template)
        pairs = [(vector, place) for vector in vectors.values()]
        answers[asked] = ask(model, prompts, pairs, (-s, s), settings.scale, options)
    slopes = torch.tensor(
        [[float(answers[asked][k].effects(s).mean()) / s for asked in asked_in] for k in range(len(vectors))],
        dtype=torch.float64,
        device="cpu",
    )
    relative = relative_steerability(slopes)
    unsteered = {asked: float(found[0].propensity.mean()) for asked, found in answers.items()}
    rows = []
    for k, trained in enumerate(vectors):
        for column, asked in enumerate(asked_in):
            effects = answers[asked][k].effects(s) / s
            rows.append(
                {
                    "trained": trained,
                    "asked": asked,
                    "n": len(items),
                    **interval_of("steerability", effects, settings, settings.seed),
                    "relative": float(relative[k, column]),
                    "propensity": unsteered[asked],
                    "propensity_gap": abs(unsteered[trained] - unsteered[asked]),
                }
            )
    return pd.DataFrame(rows)


def varied(
    model: SteerableModel,
    vector: SteeringVector,
    place: Place,
    items: Sequence[ChoiceItem],
    paraphrases: Sequence[ChoiceItem],
    settings: Reliability,
) -> pd.DataFrame:
    """Steerability of the same items asked in other words, by another template, with typing errors, in one order.

    Args:
        model: the vector's model.
        vector: what is added.
        place: where.
        items: test items.
        paraphrases: of the items, in their order; rule-made where absent.
        settings: strengths and how questions are asked.

    Returns:
        One row a variant: mean slope, its change from the questions as they are (paired), the rank correlation of
        slopes over items, and the share of items with the same sign.
    """
    options, s, kept = scoring_options(settings), settings.reference, items[: settings.varied]

    def asked(wanted: Sequence[ChoiceItem], template: Any) -> Asked:
        prompts = prepare(model, wanted, options, template)
        return ask(model, prompts, [(vector, place)], (-s, s), settings.scale, options)[0]

    plain = asked(kept, settings.template)
    base = plain.effects(s) / s
    found = {"as it is": base}
    differences = (plain.scores[s].logit_differences - plain.scores[-s].logit_differences).double() / (2 * s)
    if differences.shape[1] == 2:
        found |= {"matching option first": differences[:, 0], "matching option second": differences[:, 1]}
    written = variants(kept, settings.template, paraphrases[: len(kept)], settings.seed)
    found |= {name: asked(*variant).effects(s) / s for name, variant in written.items()}
    rows = []
    for name, slopes in found.items():
        rows.append(
            {
                "variant": name,
                "n": len(kept),
                **interval_of("steerability", slopes, settings, settings.seed),
                **interval_of("change", slopes - base, settings, settings.seed),
                "correlation": rank_correlation(base, slopes) if len(kept) > 2 else float("nan"),
                "same_sign": float((slopes.sign() == base.sign()).double().mean()),
            }
        )
    return pd.DataFrame(rows)


def over_layers(
    model: SteerableModel,
    vector: SteeringVector,
    places: Sequence[Place],
    items: Sequence[ChoiceItem],
    settings: Reliability,
) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Steerability at each site, and what an item gains at a site of its own.

    Args:
        model: the vector's model.
        vector: with all the sites.
        places: of one position rule.
        items: test items, at least four.
        settings: strengths and how questions are asked.

    Returns:
        One row a site; and the comparison of the best layers: `single`, `own`, `oracle` and `gain` (own - single, with
        its interval), slopes on data that the layers were not chosen on (but `oracle`, which no choice can exceed).
    """
    options, s = scoring_options(settings), settings.reference
    prompts = options.prepare(model, items)
    found = ask(model, prompts, [(vector, place) for place in places], (-s, s), settings.scale, options)
    rows = [
        {
            "site": str(place.site),
            "layer": place.site.layer,
            **interval_of("steerability", one.effects(s) / s, settings, settings.seed),
        }
        for place, one in zip(places, found, strict=True)
    ]
    if len(items) < LEAST_ITEMS:
        return pd.DataFrame(rows), {}
    halves = [
        torch.stack([one.propensity - _propensity(one, -s), _propensity(one, s) - one.propensity], dim=-1) / s
        for one in found
    ]
    best = best_layers(torch.stack(halves, dim=1))
    return pd.DataFrame(rows), {
        "n": len(items),
        "sites": len(places),
        **interval_of("single", best.single, settings, settings.seed),
        **interval_of("own", best.own, settings, settings.seed),
        "oracle": float(best.oracle.mean()),
        **interval_of("gain", best.own - best.single, settings, settings.seed),
    }


def _propensity(asked: Asked, strength: float) -> torch.Tensor:
    """The propensity of each item at a strength."""
    return asked.scores[strength].item_differences.double()


def _equal_norms(
    model: SteerableModel,
    name: str,
    site: Site,
    items: Sequence[ChoiceItem],
    templates: Mapping[str, Any],
    settings: Reliability,
) -> dict[str, SteeringVector]:
    """A vector of the same training items in each setting, all with the norm of the baseline's."""
    made = {
        setting: extract(
            model,
            contrast_from_choices(name, items, template, settings.answer),
            sites=str(site),
            batch_size=settings.batch_size,
            cache=settings.checkpoint,
        )
        for setting, template in templates.items()
    }
    length = made[BASELINE].norm(site)
    return {setting: vector * (length / vector.norm(site)) for setting, vector in made.items()}
