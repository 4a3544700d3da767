"""Reliability as a study: every behaviour through the whole protocol; on the lab, its three planted traps too.

The lab's personas are its own: the line that names a speaker for the system, a sentence in the speaker's voice for the
user; its paraphrases are stems that no training document has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.experiments.plan import Extent, Sizes, Work, evenly_spaced
from lens_steer.experiments.reliability import Reliability, ReliabilityResult, reliability
from lens_steer.experiments.reliability.figures import explained_bars, in_and_out, steerability_violins
from lens_steer.experiments.reliability.prompts import SETTINGS, Persona
from lens_steer.experiments.reliability.settings import N_SITES
from lens_steer.experiments.reliability.verdict import PREDICTORS, SHIFT, VERDICT
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.lab.items import open_items
from lens_steer.lab.lexicon import LEXICON, NOUNS
from lens_steer.lab.truth import BEHAVIOURS, DECOY, FLIPPED, POSITION_BIASED


@dataclass(frozen=True, kw_only=True)
class ReliabilityStudy(Reliability):
    """The study, with behaviours of the lab's world that are judged beside those of the run, of as many items."""

    planted: tuple[str, ...] = ()


ITEMS = {"train": 80, "validation": 8, "test": 30}
LAB = Setup(
    settings=ReliabilityStudy(
        sites=("resid_post@0", "resid_post@1", "resid_post@2"),
        positions=("0:20", "all"),
        planted=(FLIPPED, POSITION_BIASED, DECOY),
        shifted=16,
    ),
    items=ITEMS,
)
VARIANTS = 4


def run(context: StudyContext) -> ReliabilityResult:
    """Judges each behaviour."""
    given: ReliabilityStudy = context.settings
    settings = Reliability(**{field.name: getattr(given, field.name) for field in fields(Reliability)})
    behaviours = {**context.behaviours, **{name: _planted(name, context.behaviours) for name in given.planted}}
    world = [name for name in behaviours if name in LEXICON] if given.planted else []
    personas = {name: lab_persona(name) for name in world if LEXICON[name].persona[0]}
    personas = {name: persona for name, persona in personas.items() if name not in settings.personas}
    unseen = {name: _unseen(name, behaviours[name].test) for name in world}
    return reliability(
        context.model, behaviours, settings, personas, {k: v for k, v in unseen.items() if v}, context.progress
    )


def lab_persona(name: str) -> Persona:
    """The persona of a behaviour of the lab's world, as its documents write one.

    Args:
        name: of a behaviour whose speakers have a hidden bit.
    """
    words = LEXICON[name]
    lines = [f"Speaker: {pole[0]}." for pole in words.persona]
    voices = [
        f"{adverbs[0]} I {verbs[0]} the {adjectives[0]} {NOUNS[0]}."
        for adverbs, verbs, adjectives in zip(words.adverbs, words.verbs, words.adjectives, strict=True)
    ]
    return Persona(system=(lines[0], lines[1]), user=(voices[0], voices[1]))


def work(settings: ReliabilityStudy, extent: Extent) -> Work:
    """Reading, choosing among places, curves and controls, settings, variants and layers."""
    sites = settings.sites or evenly_spaced(extent.n_layers, N_SITES)
    rules, pool, n = settings.positions, 1 + settings.n_random + settings.n_shuffled, len(settings.strengths)
    share = 1 + len(settings.planted) / len(BEHAVIOURS)
    train, held, test = (share * extent.tokens(split) for split in SPLITS)
    shifted, varied = (test * min(1.0, most / _items(extent)) for most in (settings.shifted, settings.varied))
    total = extent.read(train * (2 + bool(settings.n_shuffled) + len(SETTINGS) * bool(settings.shifted)))
    total += Work({"gradient": held * extent.n_layers})
    for rule in rules:
        total += extent.asked(held, rule, extent.blocks(sites), 2 * pool)
    rule, middle = rules[0], [extent.middle]
    total += extent.asked(test, rule, middle, n + 2 * (pool - 1) + 2 * len(sites))
    total += extent.asked(shifted, rule, middle, 2 * len(SETTINGS) ** 2) + extent.asked(
        varied, rule, middle, 2 * VARIANTS
    )
    return total


def reduced(settings: ReliabilityStudy, sizes: Sizes) -> ReliabilityStudy:
    """One position rule; fewer items in other settings."""
    return replace(
        settings,
        positions=(sizes.rule,) if sizes.rule in settings.positions else settings.positions,
        shifted=min(settings.shifted, sizes.items or settings.shifted),
        varied=min(settings.varied, sizes.items or settings.varied),
    )


def _items(extent: Extent) -> int:
    """Test items of the behaviour that has the most."""
    return max((len(rows["test"]) for rows in extent.prompts.values()), default=1)


def _planted(name: str, behaviours: Mapping[str, Splits]) -> Splits:
    """A behaviour of the lab's world, of as many items as the first behaviour has."""
    like = next(iter(behaviours.values()))
    return Splits(**{split: open_items(name, len(getattr(like, split)), split=split) for split in SPLITS})  # type: ignore[arg-type]


def _unseen(name: str, items: tuple[ChoiceItem, ...]) -> tuple[ChoiceItem, ...]:
    """The same questions by a stem that no training document has; none where the items are not the lab's own."""
    if items != open_items(name, len(items), split="test"):
        return ()
    return open_items(name, len(items), split="test", unseen_stem=True)


STUDY = Study(
    name="reliability",
    title="reliability",
    run=run,
    setup=Setup(settings=ReliabilityStudy(), items=ITEMS),
    lab=LAB,
    needs=Needs(behaviours=1),
    work=work,
    reduced=reduced,
    result=ReliabilityResult,
    figures={
        "steerability_violins": (steerability_violins, lambda result: (result.behaviours, result.items)),
        "in_and_out": (in_and_out, lambda result: (result.shift,)),
        "explained_variance": (explained_bars, lambda result: (result.behaviours,)),
    },
    questions=(VERDICT, SHIFT, PREDICTORS),
)
