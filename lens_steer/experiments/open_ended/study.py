"""The open-ended evaluation as a study: on the lab, statements of its speakers; else the items of each behaviour."""

from dataclasses import replace

from lens_steer.experiments.open_ended import OpenEnded, OpenEndedResult, open_ended
from lens_steer.experiments.open_ended.figures import change_bars, judged_turns, sorted_likelihoods
from lens_steer.experiments.open_ended.verdict import QUESTION
from lens_steer.experiments.plan import Extent, Sizes, Work, evenly_spaced, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext

LAB = Setup(
    settings=OpenEnded(
        prompts="lab_statements", sites=("resid_post@1", "resid_post@3"), strengths=(0.2, 0.4, 0.8), conversations=10
    ),
    items={"validation": 12, "test": 30},
)


def run(context: StudyContext) -> OpenEndedResult:
    """Evaluates a vector of each behaviour."""
    return open_ended(context.model, context.behaviours, context.settings, progress=context.progress)


def work(settings: OpenEnded, extent: Extent) -> Work:
    """Vectors, the choice among all points for all directions, their test, and the conversations."""
    pool, written = 1 + settings.n_random, 1 + 2 * (1 + settings.n_written)
    blocks = extent.blocks(settings.sites or evenly_spaced(extent.n_layers, 4))
    total = extent.read(extent.tokens("train"))
    total += extent.asked(extent.tokens("validation"), settings.positions, blocks, 2 * pool * len(settings.strengths))
    total += extent.asked(extent.tokens("test"), settings.positions, [extent.middle], 2 * pool)
    texts = len(extent.prompts) * written * settings.samples * settings.conversations * settings.turns
    return total + Work({"generated": float(texts * settings.new_tokens)})


def reduced(settings: OpenEnded, sizes: Sizes) -> OpenEnded:
    """Fewer strengths."""
    return replace(settings, strengths=every_second(settings.strengths)) if sizes.coarse else settings


STUDY = Study(
    name="open_ended",
    title="open-ended evaluation",
    run=run,
    setup=Setup(settings=OpenEnded(), items={"train": 100, "validation": 20, "test": 60}),
    lab=LAB,
    needs=Needs(behaviours=1),
    work=work,
    reduced=reduced,
    result=OpenEndedResult,
    figures={
        "open_ended_likelihoods": (sorted_likelihoods, lambda result: (result.likelihoods,)),
        "open_ended_changes": (change_bars, lambda result: (result.changes,)),
        "open_ended_judged": (judged_turns, lambda result: (result.judged,)),
    },
    questions=(QUESTION,),
)
