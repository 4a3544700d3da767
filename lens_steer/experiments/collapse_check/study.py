"""Collapse as a study: one behaviour's vector, at its chosen site and at all tokens.

The behaviour is the one that is steered best, the prompts are the first words of documents and the questions' stems, or
with `chat` the stems as messages, unless the settings of the run say otherwise. Prompts that the unsteered model has
nothing to say to are left out: a model that is asked nothing ends at once, which is no collapse.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from lens_steer.experiments.collapse_check import CollapseCheck, CollapseResult, check_collapse
from lens_steer.experiments.collapse_check.figures import collapse_diagnostics
from lens_steer.experiments.collapse_check.verdict import QUESTION
from lens_steer.experiments.plan import Extent, Sizes, Work, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.generation import Decoding, generate

PROMPT_WORDS, PROMPTS_EACH, PROMPTS = 6, 4, 12
"""Words of a document; and prompts of each source, and in all, at least."""


@dataclass(frozen=True, kw_only=True)
class CollapseStudy(CollapseCheck):
    """The check, with whose vector is looked at and which corpora begin the prompts (all where there are none)."""

    behaviour: str = ""
    corpora: tuple[str, ...] = ()


LAB = Setup(
    settings=CollapseStudy(
        behaviour="sycophancy",
        corpora=("text", "python", "javascript"),
        strengths=(-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4),
        new_tokens=24,
    )
)
"""Unsteered, the answers of the other behaviours lean to one letter, close to the limit of the collapse rule."""


def run(context: StudyContext) -> CollapseResult:
    """Looks for collapse along the behaviour's vector."""
    found, given = context.individual, context.settings
    name = given.behaviour or context.steered
    plain = {field.name: getattr(given, field.name) for field in fields(CollapseCheck)}
    settings = replace(CollapseCheck(**plain), site=given.site or str(found.points[name].site))
    items = context.behaviours[name].test
    return check_collapse(context.model, found.vectors[name], items, _prompts(context), settings, context.progress)


def _prompts(context: StudyContext) -> list[Any]:
    """Texts, or chats, that the unsteered model goes on with; all of them where it does with fewer than two."""
    given = context.settings
    corpora = [] if given.chat else [context.corpora[corpus] for corpus in given.corpora or context.corpora]
    each = _of_each(len(corpora))
    documents = [document for corpus in corpora for document in corpus.test[:each]]
    begun = [" ".join(document.split(" ")[:PROMPT_WORDS]) for document in documents]
    stems = context.behaviours[given.behaviour or context.steered].validation
    stems = [item.stem for item in stems[: PROMPTS_EACH if corpora else PROMPTS]]
    texts = list(dict.fromkeys([*begun, *stems]))
    prompts = [[{"role": "user", "content": text}] for text in texts] if given.chat else texts
    first = generate(context.model, prompts, decoding=Decoding(max_new_tokens=1)).continuations
    alive = [prompt for prompt, entry in zip(prompts, first, strict=True) if entry.ended != "eos"]
    return alive if len(alive) > 1 else prompts


def _of_each(corpora: int) -> int:
    """Documents of each corpus, so that there are enough for an interval."""
    return max(PROMPTS_EACH, PROMPTS // max(corpora, 1))


def work(settings: CollapseStudy, extent: Extent) -> Work:
    """Questions asked and prompts continued, at every strength of the vector and of each random direction."""
    longest = max((sum(rows["test"]) for rows in extent.prompts.values()), default=0)
    n, corpora = len(settings.strengths), len(settings.corpora or extent.documents)
    n *= 1 + settings.n_random
    asked = Work()
    if settings.scoring == "letter":
        asked = extent.asked(float(longest), settings.positions, [extent.n_layers], n)
    prompts = _of_each(corpora) * corpora + PROMPTS_EACH if corpora else PROMPTS
    items = max((len(rows["test"]) for rows in extent.prompts.values()), default=1)
    begun = PROMPTS_EACH if corpora else prompts
    stems = {"plain": float(n * begun * extent.n_layers) * longest / (2 * max(items, 1))}
    return asked + Work({"generated": float(n * prompts * settings.new_tokens)} | stems)


def reduced(settings: CollapseStudy, sizes: Sizes) -> CollapseStudy:
    """Fewer strengths."""
    return replace(settings, strengths=every_second(settings.strengths)) if sizes.coarse else settings


STUDY = Study(
    name="collapse",
    title="collapse",
    run=run,
    setup=Setup(settings=CollapseStudy(strengths=(-4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4), new_tokens=24)),
    lab=LAB,
    needs=Needs(behaviours=1),
    work=work,
    reduced=reduced,
    result=CollapseResult,
    after_individual=True,
    figures={"collapse": (collapse_diagnostics, lambda result: (result.strengths, result.thresholds))},
    questions=(QUESTION,),
)
