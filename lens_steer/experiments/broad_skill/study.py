"""Broad skills as a study: every corpus but the neutral one is steered away from, and what neutral text retains.

On any model the vectors are added at four layers, evenly spaced, unless `sites` says where. Documents are cut to
`max_tokens`.
"""

from dataclasses import replace

import pandas as pd

from lens_steer.experiments.broad_skill import BroadSkill, BroadSkillResult, broad_skill
from lens_steer.experiments.broad_skill.figures import retained_bars, selectivity_curves
from lens_steer.experiments.broad_skill.verdict import COMPARISON, SELECTIVITY
from lens_steer.experiments.plan import Extent, Sizes, Work, evenly_spaced, every_second
from lens_steer.experiments.study import Needs, Setup, Study, StudyContext

LAB = Setup(
    settings=BroadSkill(
        sites=("resid_post@1", "resid_post@3", "resid_post@5", "resid_post@7"),
        joint_sites=(("resid_post@5", "resid_post@7"),),
        strengths=(-1, 0, 1, 2, 3, 3.5, 3.75, 4, 5, 6, 8),
        n_random=8,
        n_permuted=2,
    ),
    documents={"train": 60, "validation": 10, "test": 20},
)
SETUP = Setup(
    settings=BroadSkill(
        targets=(), sites="", strengths=(-1, 0, 0.5, 1, 1.5, 2, 3, 4), n_random=8, n_permuted=2, max_tokens=128
    ),
    documents={"train": 60, "validation": 10, "test": 20},
)
"""Without targets, which are all corpora but the neutral one."""
SITES = 4


def resolved(settings: BroadSkill, n_layers: int, neutral: str, corpora: tuple[str, ...]) -> BroadSkill:
    """The settings with the targets, the neutral corpus and the sites that they leave open."""
    return replace(
        settings,
        neutral=neutral,
        targets=settings.targets or tuple(name for name in corpora if name != neutral),
        sites=settings.sites or evenly_spaced(n_layers, SITES),
    )


def run(context: StudyContext) -> BroadSkillResult:
    """Steers each skill away."""
    n_layers = int(context.model.cfg.n_layers)
    settings = resolved(context.settings, n_layers, context.neutral, tuple(context.corpora))
    return broad_skill(context.model, context.corpora, settings, progress=context.progress)


def work(given: BroadSkill, extent: Extent) -> Work:
    """Extraction, all places and strengths on validation and test documents, and the controls at the chosen place."""
    settings = resolved(given, extent.n_layers, extent.neutral, tuple(extent.documents))
    blocks = [*extent.blocks(settings.sites), *(max(extent.blocks(group)) for group in settings.joint_sites)]
    n, up = len(settings.strengths), len([s for s in settings.strengths if s >= 0])
    controls = settings.n_random * (up + 1) * len(settings.readings) + settings.n_permuted * up
    total = Work()
    for target in settings.targets:
        both, cut = (target, settings.neutral), settings.max_tokens
        for split in ("train", *(("train",) if settings.n_permuted else ())):
            tokens = sum(min(n, cut or n) for name in both for n in extent.documents[name][split])
            total += extent.read(len(settings.readings) * float(tokens))
        for split in ("validation", "test"):
            total += extent.texts(split, both, blocks, n * len(settings.readings), cut)
        total += extent.texts("test", both, [extent.middle], controls, cut)
        total += extent.texts("test", extent.documents, [extent.middle], len(settings.readings), cut)
    return total


def reduced(settings: BroadSkill, sizes: Sizes) -> BroadSkill:
    """Fewer strengths."""
    return replace(settings, strengths=every_second(settings.strengths)) if sizes.coarse else settings


def _test(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(frame[frame["split"] == "test"])


STUDY = Study(
    name="broad",
    title="broad skills",
    run=run,
    setup=SETUP,
    lab=LAB,
    needs=Needs(neutral=True, skills=1),
    work=work,
    reduced=reduced,
    result=BroadSkillResult,
    figures={
        "selectivity": (selectivity_curves, lambda result: (_test(result.curves),)),
        "text_retained": (retained_bars, lambda result: (_test(result.retained), result.points)),
    },
    questions=(SELECTIVITY, COMPARISON),
)
