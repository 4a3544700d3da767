"""The optimiser as a study: sites and strengths that add all behaviours, beside the published schemes.

On any model it looks at consecutive sites around the one at which most behaviours were steered best.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from lens_steer.experiments.optimiser import Optimise, OptimiseResult, optimise_assignment
from lens_steer.experiments.optimiser.figures import pareto_front
from lens_steer.experiments.optimiser.search import SLOPE_COST
from lens_steer.experiments.optimiser.verdict import QUESTION
from lens_steer.experiments.plan import Extent, Sizes, Work
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext

LAB = Setup(
    settings=Optimise(
        sites="resid_post@0:5", schemes=("simultaneous", "combined"), configurations=50, n_random=20, max_tokens=128
    ),
    items={"validation": 8, "test": 12},
    documents={"train": 1, "validation": 5, "test": 8},
)
SETUP = Setup(
    settings=replace(LAB.settings, sites=""),
    items={"validation": 12, "test": 20},
    documents={"train": 1, "validation": 5, "test": 10},
)
"""Without its sites, which individual steering chooses."""
SITES, FEWEST, TESTED = 5, 20, 10
MOVES, BEGUN = 5, 4
"""What one round of the search tries around a point, and the measurements before the first round."""


def run(context: StudyContext) -> OptimiseResult:
    """Looks for the assignment that adds all behaviours within the budget."""
    given, vectors = context.settings, context.individual.vectors
    sites = given.sites or tuple(context.consecutive(max(SITES, len(vectors))))
    settings = replace(given, sites=sites, positions=context.place[1])
    targets = dict.fromkeys(context.behaviours, 1)
    return optimise_assignment(
        context.model, vectors, context.equal, context.texts, targets, settings, context.progress
    )


def work(settings: Optimise, extent: Extent) -> Work:
    """The configurations of the search and of each scheme on validation, slopes, and what is chosen on test.

    The search measures a few configurations at a time, and each scheme twice; each time all is asked unsteered too.
    """
    n_schemes, rounds = len(settings.schemes), settings.configurations / (SLOPE_COST + MOVES)
    slopes, times = 1 + rounds, BEGUN + rounds + 2 * n_schemes
    n = round((n_schemes * settings.configurations + rounds * MOVES) / times)
    one, validation = [extent.behind(settings.sites)], extent.tokens("validation")
    rule = extent.rule or settings.positions
    texts = partial(extent.texts, corpora=(extent.neutral,), blocks=one, most=settings.max_tokens)
    total = Work({"gradient": slopes * validation * extent.n_layers})
    total += (extent.asked(validation, rule, one, n) + texts("validation", times=n)) * times
    tested = (1 + n_schemes) * TESTED + settings.n_random
    total += extent.asked(extent.tokens("test"), rule, one, tested)
    return total + texts("test", times=tested)


def reduced(settings: Optimise, sizes: Sizes) -> Optimise:
    """Half as many configurations."""
    fewer = min(settings.configurations, max(FEWEST, settings.configurations // 2))
    return replace(settings, configurations=fewer) if sizes.coarse else settings


def _arguments(result: Any) -> tuple[Any, ...]:
    facts = result.facts
    return result.configurations, result.tested, facts["budget"], facts["settings"]["side_effect"]


STUDY = Study(
    name="optimiser",
    title="optimiser",
    run=run,
    setup=SETUP,
    lab=LAB,
    needs=Needs(behaviours=2, neutral=True),
    work=work,
    reduced=reduced,
    result=OptimiseResult,
    after_individual=True,
    figures={"pareto_front": (pareto_front, _arguments)},
    questions=(QUESTION,),
)
