"""Sentiment in the likelihood of continuations by SmolLM2, layers x strengths: about six minutes on one thread."""

import pandas as pd
from data import RESULTS, TEMPLATE, continuations, lines, vectors

from lens_steer import Intervention, SteeringVector, load_model
from lens_steer.evaluation.select import OperatingPoint
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.experiments.individual_steering import Individual, individual_steering
from lens_steer.figures import layer_strength_map, save_figure, steering_curves
from lens_steer.model import SteerableModel

SITES = tuple(f"resid_post@{layer}" for layer in range(2, 30, 3))


def main() -> None:
    """Writes the tables of the study, its vector and its figures."""
    model = load_model("smollm2")
    vector, shuffled = vectors(model)
    settings = Individual(
        sites=SITES,
        strengths=(-0.8, -0.4, -0.2, 0.2, 0.4, 0.8),
        scale="relative",
        positions=("all",),
        places=1,
        screening="first_order",
        template=TEMPLATE,
        scoring="option_sum",
    )
    behaviours, controls = {"sentiment": continuations()}, {"sentiment": shuffled}
    found = individual_steering(model, behaviours, settings, {"sentiment": vector}, controls, progress=True)
    found.save(RESULTS)
    curves, grid = found.curves, found.validation
    save_figure(steering_curves(curves, "logit_difference"), curves, RESULTS, "steering_curves")
    save_figure(layer_strength_map(grid, "logit_difference"), grid, RESULTS, "layer_strength_map")
    price(model, vector, found.points["sentiment"]).to_csv(RESULTS / "side_effects.csv", index=False)


def price(model: SteerableModel, vector: SteeringVector, point: OperatingPoint) -> pd.DataFrame:
    """What adding and subtracting at the chosen point does to neutral texts, with intervals over texts."""
    rows = []
    for strength in (point.strength, -point.strength):
        edit = Intervention.of(vector, point.site, strength, "relative", point.positions)
        for measure, found in measure_side_effects(model, lines("neutral.txt"), edit).intervals().items():
            row = {"strength": strength, "measure": measure, "value": found.value}
            rows.append(row | {"low": found.low, "high": found.high})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
