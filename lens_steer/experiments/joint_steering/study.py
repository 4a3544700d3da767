"""Joint steering as a study: all behaviours at once, at the sites that individual steering chose.

Combined steering is at the site at which most behaviours were steered best. Simultaneous steering is at consecutive
layers from there on, in the order of the behaviours, which is arbitrary here as it was in the paper.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from lens_steer.experiments.joint_steering import JointResult, JointSteering, joint_steering
from lens_steer.experiments.joint_steering.figures import (
    combined_bars,
    detection_points,
    individual_bars,
    interference_matrices,
    scheme_intervals,
    simultaneous_curve,
    trade_off,
)
from lens_steer.experiments.joint_steering.points import WHOLE
from lens_steer.experiments.joint_steering.verdict import INTERFERENCE, LAYERS, SCHEMES
from lens_steer.experiments.plan import Extent, Sizes, Work, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext

LAB = Setup(
    settings=JointSteering(strengths=(0, 0.125, 0.25, 0.5, 1, 2), n_random=6, max_tokens=128),
    items={"validation": 8, "test": 12},
    documents={"train": 1, "validation": 5, "test": 8},
)
"""Every configuration is measured on all behaviours and on neutral text, so there are few items and texts."""
SETUP = replace(LAB, items={"validation": 12, "test": 20}, documents={"train": 1, "validation": 5, "test": 10})
ROOTS, CHOSEN = 5, 3


def run(context: StudyContext) -> JointResult:
    """Steers all behaviours at once, in every scheme.

    Raises:
        SiteError: the vectors have fewer sites than there are behaviours.
    """
    (site, positions), vectors, given = context.place, context.individual.vectors, context.settings
    places = given.places or dict(zip(vectors, context.consecutive(len(vectors)), strict=True))
    settings = replace(given, site=given.site or site, places=places, positions=positions)
    return joint_steering(context.model, vectors, context.equal, context.texts, settings)


def work(settings: JointSteering, extent: Extent) -> Work:
    """Each behaviour alone and every scheme, both ways, over the grid; points at equal KL, for each of which the texts
    are predicted anew, unsteered too; the test; interference.
    """
    n, names, total = len(settings.strengths) - 1, list(extent.prompts), Work()
    n_schemes, one = len(settings.schemes), [extent.behind(settings.site)]
    rule = extent.rule or settings.positions
    texts = partial(extent.texts, corpora=(extent.neutral,), blocks=one, most=settings.max_tokens)
    for name in names:
        total += extent.asked(extent.tokens("validation", (name,)), rule, one, 2 * n)
        total += texts("validation", times=2 * n)
    total += extent.asked(extent.tokens("validation"), rule, one, 2 * n_schemes * n)
    total += texts("validation", times=2 * n_schemes * n)
    total += texts("validation") * (2 * ROOTS * (len(names) + n_schemes))
    points = 2 * (2 * len(names) + CHOSEN * n_schemes + len(WHOLE) * n)
    total += texts("test", times=points)
    tested = points + 2 * (2 * len(names) + settings.n_random)
    return total + extent.asked(extent.tokens("test"), rule, one, tested)


def reduced(settings: JointSteering, sizes: Sizes) -> JointSteering:
    """Fewer strengths."""
    return replace(settings, strengths=every_second(settings.strengths)) if sizes.coarse else settings


def _of_detection(result: Any) -> tuple[pd.DataFrame] | None:
    """The rows of signal detection; none where options have texts of their own, which are no signal and noise."""
    return (result.configurations,) if result.configurations["hit_rate"].notna().all() else None


STUDY = Study(
    name="joint",
    title="joint steering",
    run=run,
    setup=SETUP,
    lab=LAB,
    needs=Needs(behaviours=2, neutral=True),
    work=work,
    reduced=reduced,
    result=JointResult,
    after_individual=True,
    figures={
        "individual_bars": (individual_bars, lambda result: (result.configurations,)),
        "combined_bars": (combined_bars, lambda result: (result.configurations,)),
        "simultaneous": (simultaneous_curve, lambda result: (result.configurations, result.points)),
        "trade_off": (trade_off, lambda result: (result.points,)),
        "schemes": (scheme_intervals, lambda result: (result.points,)),
        "interference": (interference_matrices, lambda result: (result.interference, result.agreement)),
        "detection": (detection_points, _of_detection),
    },
    questions=(SCHEMES, LAYERS, INTERFERENCE),
)
