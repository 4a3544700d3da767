"""Automatically made vectors as a study: on the lab its behaviours and what it knows, else the items of each file."""

from dataclasses import replace

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import SPLITS
from lens_steer.errors import SettingsError
from lens_steer.experiments.painless import PainlessResult, PainlessTasks, painless_tasks
from lens_steer.experiments.painless.figures import gain_bars, grid_maps, on_top_bars, size_curves, tried_curves
from lens_steer.experiments.painless.full_grid import STRENGTHS
from lens_steer.experiments.painless.settings import N_SITES
from lens_steer.experiments.painless.verdict import CHOICE, COST, GAIN, ON_TOP
from lens_steer.experiments.plan import Extent, Sizes, Work, evenly_spaced, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.extraction.finetune import Tuning
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
        tuned_seeds=5,
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
    if settings.asked and settings.asked not in tasks:
        raise SettingsError(f"asked: there is no task {settings.asked!r}; those that there are: {', '.join(tasks)}.")
    return painless_tasks(context.model, tasks, settings, tasks.get(settings.asked, facts), context.progress)


def work(settings: PainlessTasks, extent: Extent) -> Work:
    """Texts that are read, validation items at every point of every vector, test items under each best one."""
    sites = settings.sites or evenly_spaced(extent.n_layers, N_SITES)
    tasks = max(1, len(extent.prompts))
    tokens = sum(extent.tokens(split) for split in SPLITS) * (1 + bool(settings.knowledge) / tasks)
    items = sum(len(lengths[split]) for lengths in extent.prompts.values() for split in SPLITS) / tasks
    methods, rule, middle = len(settings.methods), settings.positions, [extent.middle]
    points = min(settings.places, len(sites)) * len(settings.strengths)
    ranked = min(1.0, 5 * settings.ranked / max(1.0, items))

    def chosen(vectors: int, seeds: int) -> Work:
        """Validation and test items are a fifth of all, each seed."""
        held = tokens * seeds / 5
        slopes = Work({"gradient": held * ranked * extent.n_layers})
        return slopes + extent.asked(held, rule, middle, vectors * (points + 1))

    total = extent.read(2 * tokens) + chosen(methods + settings.n_random, settings.seeds)
    for _ in settings.sizes:
        total += chosen(len(settings.sized), settings.seeds)
    held = tokens / 5
    total += extent.asked(held * settings.full_grid, rule, extent.blocks(sites), methods * len(STRENGTHS))
    total += extent.asked(held * settings.seeds * (1 + settings.shots) * bool(settings.shots), rule, middle)
    lessons = settings.tuning_steps * Tuning().batch_size * tokens / (2 * max(1.0, items))
    tuned = Work({"gradient": lessons * extent.n_layers}) + extent.read(2 * tokens)
    return total + tuned * settings.tuned_seeds + chosen(methods, settings.tuned_seeds)


def reduced(settings: PainlessTasks, sizes: Sizes) -> PainlessTasks:
    """Fewer strengths and seeds, no curve over the number of training items, no full grid, no fine-tuning."""
    if not sizes.coarse:
        return settings
    strengths = tuple(map(float, every_second(settings.strengths)))
    return replace(settings, strengths=strengths, seeds=min(settings.seeds, 3), sizes=(), full_grid=0, tuned_seeds=0)


def _several_sizes(result: PainlessResult) -> bool:
    """Whether there is a curve over the number of training items."""
    return bool(result.sizes.groupby("task")["n_train"].nunique().gt(1).any())


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
        "painless_on_top": (on_top_bars, lambda result: (result.on_top,) if len(result.on_top) else None),
        "painless_sizes": (size_curves, lambda result: (result.sizes,) if _several_sizes(result) else None),
        "painless_grid": (grid_maps, lambda result: (result.grid,) if len(result.grid) else None),
    },
    questions=(GAIN, CHOICE, ON_TOP, COST),
)
