"""Vector analysis as a study: one behaviour's vector, at the point at which it steers.

The behaviour is the one that is steered best, and it is read at four layers, evenly spaced, and at its chosen site,
unless the settings of the run say otherwise.
"""

from dataclasses import dataclass, fields, replace

from lens_steer import figures
from lens_steer.experiments.plan import Extent, Work
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext
from lens_steer.experiments.vector_analysis import VectorAnalysis, VectorAnalysisResult, analyse_vector
from lens_steer.experiments.vector_analysis.experiment import CONTEXT_TOKENS
from lens_steer.experiments.vector_analysis.verdict import QUESTION
from lens_steer.figures.style import DOUBLE_COLUMN, evenly
from lens_steer.hooks.sites import Site
from lens_steer.vector import SteeringVector

SITES = 4
LENS_TOKENS, TOKENS_A_WORD, BACKWARD = 128, 1.5, 0.5
"""What the Jacobian lens reads of its text, tokens of a word of a context, and the share of a backward pass."""


@dataclass(frozen=True, kw_only=True)
class AnalysisStudy(VectorAnalysis):
    """The analysis, with whose vector is analysed."""

    behaviour: str = ""


LAB = Setup(
    settings=AnalysisStudy(behaviour="myopic", sites=("resid_post@0", "resid_post@3", "resid_post@6", "resid_post@7")),
    documents={"train": 1, "validation": 1, "test": 8},
)
SETUP = Setup(settings=AnalysisStudy(), items={"test": 20}, documents={"train": 1, "validation": 1, "test": 8})


def run(context: StudyContext) -> VectorAnalysisResult:
    """Analyses the behaviour's vector at the point that individual steering chose."""
    given, vectors = context.settings, context.individual.vectors
    name = given.behaviour or context.steered
    point = context.individual.points[name]
    plain = {field.name: getattr(given, field.name) for field in fields(VectorAnalysis)}
    settings = replace(
        VectorAnalysis(**plain),
        site=given.site or str(point.site),
        strength=given.strength or point.strength,
        positions=given.positions or str(point.positions),
        sites=given.sites or _read_at(point.site, vectors[name]),
    )
    items, texts = context.behaviours[name].test, context.texts.test
    return analyse_vector(context.model, name, vectors, items, texts, settings)


def work(settings: VectorAnalysis, extent: Extent) -> Work:
    """Answers patched component by component and without heads, lenses in contexts and one fitted, texts followed.

    The Jacobian lens takes a backward pass for each entry of the stream: d_model passes over one text.
    """
    longest = max((sum(rows["test"]) for rows in extent.prompts.values()), default=0)
    components, controls = (extent.n_heads + 1) * extent.middle, 2 * (2 + settings.n_random)
    texts = extent.documents[extent.neutral]["test"]
    half = len(texts) // 2
    contexts = sum(min(length, round(CONTEXT_TOKENS * TOKENS_A_WORD)) for length in texts[:half])
    read = contexts * (len(settings.sites) or SITES + 1) * 2 * (1 + settings.n_random)
    followed = (2 + settings.n_random) * sum(texts[:half]) + sum(texts[half:])
    fitted = sum(min(length, LENS_TOKENS) for length in texts[half : half + 1]) * extent.d_model * BACKWARD
    tokens = longest * (components + controls) + read
    return (
        Work({"plain": tokens * extent.n_layers}) + extent.read(followed) + Work({"gradient": fitted * extent.n_layers})
    )


def _read_at(site: Site, vector: SteeringVector) -> tuple[str, ...]:
    """The chosen site among evenly spaced ones of its kind, in order."""
    alike = [one for one in vector.sites if one.kind == site.kind]
    return tuple(str(one) for one in sorted({site, *evenly(alike, SITES)}))


STUDY = Study(
    name="vector_analysis",
    title="vector analysis",
    run=run,
    setup=SETUP,
    lab=LAB,
    needs=Needs(behaviours=1, neutral=True),
    work=work,
    result=VectorAnalysisResult,
    after_individual=True,
    figures={
        "lens_panel": (figures.lens_panel, lambda result: (result.tokens,)),
        "lens_agreement": (figures.agreement_curves, lambda result: (result.agreement,)),
        "cosine_atlas": (figures.cosine_atlas_map, lambda result: (result.atlas, DOUBLE_COLUMN)),
        "attribution": (figures.attribution_bars, lambda result: (result.direct,)),
        "patching": (figures.attribution_bars, lambda result: (result.patched,)),
        "readers": (figures.component_map, lambda result: (result.readers, "z")),
        "persistence": (figures.persistence_curves, lambda result: (result.persistence,)),
        "projections": (figures.projection_strip, lambda result: (result.projections,)),
    },
    questions=(QUESTION,),
)
