"""Automatically made vectors as a study: on the lab its behaviours and what it knows, else the items of each file."""

from dataclasses import replace

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import SPLITS
from lens_steer.experiments.painless import PainlessResult, PainlessTasks, painless_tasks
from lens_steer.experiments.painless.figures import gain_bars, grid_maps, size_curves, tried_curves
from lens_steer.experiments.painless.full_grid import STRENGTHS
from lens_steer.experiments.painless.settings import N_SITES
from lens_steer.experiments.painless.verdict import CHOICE, COST, GAIN, ON_TOP
from lens_steer.experiments.plan import Extent, Sizes, Work, evenly_spaced, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.lab.items import fact_items

FACTS = "facts"
ITEMS = {"train": 90, "validation": 24, "test": 60}
LAB = Setup(
    settings=PainlessTasks(
        sites=("resid_post@0", "resid_post@1"),
        strengths=(0.4, 0.8),
        positions="all",
        places=2,
        near=None,
        sizes=(12,),
        sized=("ipas_wrong_only",),
        knowledge=40,
        shots=2,
    ),
    items={"train": 60, "validation": 20, "test": 20},
)
"""In the lab questions follow words that are read before the question: all tokens are steered. Its templates are few,
so that near duplicates are not kept together."""


def run(context: StudyContext) -> PainlessResult:
    """Makes vectors of the items of each behaviour, whatever split they are in: each seed divides them anew."""
    settings: PainlessTasks = context.settings
    tasks = {
        name: _different([item for split in SPLITS for item in getattr(splits, split)])
        for name, splits in context.behaviours.items()
    }
    facts = _facts(settings.knowledge)
    tasks |= {FACTS: facts} if facts else {}
    return painless_tasks(context.model, tasks, settings, facts, context.progress)


def work(settings: PainlessTasks, extent: Extent) -> Work:
    """Texts that are read, validation items at every point of every vector, test items with and without a prefix."""
    sites = settings.sites or evenly_spaced(extent.n_layers, N_SITES)
    tokens = sum(extent.tokens(split) for split in SPLITS) * (
        1 + bool(settings.knowledge) / max(1, len(extent.prompts))
    )
    vectors = len(settings.methods) + settings.n_random + len(settings.sizes) * len(settings.sized)
    middle, points = [extent.middle], min(settings.places, len(sites)) * len(settings.strengths)
    held = tokens * settings.seeds / 5
    total = extent.read(2 * tokens) + Work({"gradient": held * extent.n_layers * (1 + len(settings.sizes))})
    total += extent.asked(held, settings.positions, middle, vectors * points)
    searched = held * min(1.0, settings.full_grid / settings.seeds)
    total += extent.asked(searched, settings.positions, extent.blocks(sites), len(settings.methods) * len(STRENGTHS))
    return total + extent.asked(held * (2 + settings.shots), settings.positions, middle, vectors)


def reduced(settings: PainlessTasks, sizes: Sizes) -> PainlessTasks:
    """Fewer strengths and seeds, no curve over the number of training items, no full grid."""
    if not sizes.coarse:
        return settings
    strengths = tuple(map(float, every_second(settings.strengths)))
    return replace(settings, strengths=strengths, seeds=min(settings.seeds, 3), sizes=(), full_grid=0)


def _different(items: list[ChoiceItem]) -> tuple[ChoiceItem, ...]:
    """Items without those that say the same as an earlier one."""
    return tuple({item.content: item for item in reversed(items)}.values())[::-1]


def _facts(n: int) -> tuple[ChoiceItem, ...]:
    """Different questions about the lab's world."""
    return _different([item for split in SPLITS for item in fact_items(2 * n, split=split)])[:n]  # type: ignore[arg-type]


STUDY = Study(
    name="painless",
    title="painless vectors",
    run=run,
    setup=Setup(settings=PainlessTasks(), items=ITEMS),
    lab=LAB,
    needs=Needs(behaviours=1),
    work=work,
    reduced=reduced,
    result=PainlessResult,
    figures={
        "painless_gains": (gain_bars, lambda result: (result.gains,)),
        "painless_points": (tried_curves, lambda result: (result.points,)),
        "painless_sizes": (size_curves, lambda result: (result.sizes,) if len(result.sizes) else None),
        "painless_grid": (grid_maps, lambda result: (result.grid,) if len(result.grid) else None),
    },
    questions=(GAIN, CHOICE, ON_TOP, COST),
)
