"""Individual steering as a study: each behaviour by a vector of its own; the other studies take its vectors and points.

On any model and data the position rules are all tokens of the prompt, and its last one, which is cheap to steer.
"""

from dataclasses import replace
from typing import Any

import pandas as pd

from lens_steer import figures
from lens_steer.experiments.individual_steering import Individual, IndividualResult, individual_steering
from lens_steer.experiments.individual_steering.verdict import QUESTION
from lens_steer.experiments.plan import Extent, Sizes, Work, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext

LAB = Setup(settings=Individual())
BETWEEN = 4
"""The most strengths, of both signs, that are swept around the best of a coarse grid."""


def run(context: StudyContext) -> IndividualResult:
    """Steers each behaviour."""
    return individual_steering(context.model, context.behaviours, context.settings, progress=context.progress)


def work(settings: Individual, extent: Extent) -> Work:
    """Extraction, screening, the sweep of all vectors at the screened places, the map, and the test: all vectors at one
    place, and at two strengths those that were chosen elsewhere.
    """
    pool, rules, blocks = 1 + settings.n_random, settings.positions, extent.blocks(settings.sites)
    grid = every_second(settings.strengths) if settings.coarse else settings.strengths
    n, fine = len(grid), min(BETWEEN, len(settings.strengths) - len(grid))
    one, places = [extent.behind(settings.sites)], settings.places
    tested = (places * (n + fine) + 2 * (places - 1)) * pool // (places * len(rules))
    total = extent.read(extent.tokens("train"))
    validation, test = extent.tokens("validation"), extent.tokens("test")
    most = max((len(rows["validation"]) for rows in extent.prompts.values()), default=1)
    few = validation * min(1.0, settings.screened / max(most, 1))
    for rule in rules:
        if settings.screening == "first_order":
            total += Work({"gradient": few * extent.n_layers})
        else:
            total += extent.asked(few, rule, blocks, 2 * pool)
        total += extent.asked(validation, rule, blocks, len(settings.strengths)) if settings.mapped else Work()
        total += extent.asked(validation, rule, one * -(-places // len(rules)), n * pool)
        total += extent.asked(validation, rule, one, fine * pool // len(rules)) if fine else Work()
        total += extent.asked(test, rule, one, tested)
    return total


def reduced(settings: Individual, sizes: Sizes) -> Individual:
    """Fewer sites and rules, and the strengths coarse first, then fine around the best."""
    return replace(
        settings,
        screening="first_order" if sizes.ranked else settings.screening,
        mapped=settings.mapped and sizes.mapped,
        coarse=settings.coarse or sizes.coarse,
        positions=(sizes.rule,) if sizes.rule in settings.positions else settings.positions,
    )


def _mapped(result: Any) -> tuple[pd.DataFrame] | None:
    """The rows of the map of layers and strengths; none where only the screened sites were swept."""
    return (result.validation,) if result.facts["mapped"] else None


def _measured(result: Any) -> tuple[pd.DataFrame, str]:
    """The curves, in rates of letters, and in nats where options have texts of their own, whose rates move little."""
    return result.curves, "matching_rate" if result.facts["scoring"] == "letter" else "logit_difference"


STUDY = Study(
    name="individual",
    title="individual steering",
    run=run,
    setup=Setup(settings=Individual(positions=("all", "last"))),
    lab=LAB,
    needs=Needs(behaviours=1),
    work=work,
    reduced=reduced,
    figures={
        "steering_curves": (figures.steering_curves, _measured),
        "layer_strength_map": (figures.layer_strength_map, _mapped),
        "cosine_map": (figures.cosine_heatmap, lambda result: (result.cosines,)),
        "logit_lens": (figures.lens_bars, lambda result: (result.lens,)),
    },
    questions=(QUESTION,),
)
