"""In-context vectors as a study: on the lab its mappings and voices, else the tasks of the package."""

from dataclasses import replace

from lens_steer.data.in_context import TASKS
from lens_steer.experiments.in_context import InContext, InContextResult, in_context
from lens_steer.experiments.in_context.figures import effect_strip, side_effect_curves
from lens_steer.experiments.in_context.tasks import LAB_VOICES, PAIRS, SHARES, chosen_tasks
from lens_steer.experiments.in_context.verdict import QUESTION
from lens_steer.experiments.plan import Extent, Sizes, Work, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.lab.skills import MAPPINGS

LAB = Setup(
    settings=InContext(source="lab", layer=3, n_heads=10, corrupted="zero_shot"),
    documents={"test": 6},
)
"""In the lab permuted labels give the task away, so head effects are measured on prompts without examples."""
PROMPT, ANSWER, EACH = 16, 4, 2
"""For the plan: tokens of a prompt without examples, and those steered where its answer alone is; vectors of a kind."""


def run(context: StudyContext) -> InContextResult:
    """Compares the vectors of every task."""
    tasks = chosen_tasks(context.settings)
    return in_context(context.model, tasks, context.texts.test, context.settings, context.progress)


def work(settings: InContext, extent: Extent) -> Work:
    """Vectors, head by head; the choice of strengths, with all controls; the test; side effects; answers."""
    n = len(settings.tasks) or (len(MAPPINGS) + len(LAB_VOICES) if settings.source == "lab" else len(TASKS))
    train, validation, test = (share * PAIRS for share in SHARES)
    validation, test = min(validation, settings.most_validation), min(test, settings.most_test)
    icv, raw, controls = len(settings.in_context_strengths), len(settings.raw_strengths), settings.n_random
    everywhere, late = EACH + controls, EACH * (1 + controls)  # edit all tokens (in-context vectors); edit the answer
    tokens = PROMPT * (1 + settings.demonstrations) * (2 * train + settings.prompts)
    heads = extent.n_layers * extent.n_heads * settings.corrupted_prompts
    chosen = 2 * validation * (PROMPT * everywhere * icv + ANSWER * late * raw)
    shown = EACH * (1 + settings.n_shots)
    tested = 2 * test * (PROMPT * (everywhere + shown) + ANSWER * (late + EACH))
    strengths = EACH * (icv + raw)
    each = extent.read(tokens) + Work({"plain": (heads + chosen + tested) * extent.n_layers})
    each += extent.texts("test", [extent.neutral], [extent.n_layers], strengths, settings.max_tokens)
    each += Work({"generated": 2 * (1 + 2 * EACH) * test * settings.new_tokens})
    return sum([each] * (n - 1), each)


def reduced(settings: InContext, sizes: Sizes) -> InContext:
    """Fewer strengths."""
    if not sizes.coarse:
        return settings
    return replace(
        settings,
        in_context_strengths=every_second(settings.in_context_strengths),
        raw_strengths=every_second(settings.raw_strengths),
    )


STUDY = Study(
    name="in_context",
    title="in-context vectors",
    run=run,
    setup=Setup(settings=InContext(), documents={"train": 1, "validation": 1, "test": 8}),
    lab=LAB,
    needs=Needs(neutral=True),
    work=work,
    reduced=reduced,
    result=InContextResult,
    figures={
        "in_context_effects": (effect_strip, lambda result: (result.effects,)),
        "in_context_side_effects": (side_effect_curves, lambda result: (result.strengths,)),
    },
    questions=(QUESTION,),
)
