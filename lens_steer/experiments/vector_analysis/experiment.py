"""One vector analysed: its tokens, the heads that read it, the components that carry its effect, how long it lasts.

    tokens, agreement    every lens of the vector at its sites, beside random directions        `analysis.lens`
    atlas                cosines between vectors and sites, beside their null                   `analysis.geometry`
    direct, patched      the effect on answers by component; each restored to its unsteered value
                                                                                                `analysis.attribution`
    readers, ablation    heads that read it according to the weights, and the effect left without them
    persistence          the edit over later layers                                             `analysis.persistence`
    projections          the vector along a text, unsteered and steered                         `analysis.projections`

The heads that read the vector are chosen by the weights alone; as many random heads are ablated as their control.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from lens_steer.analysis.attribution import (
    TokenContrast,
    ablate_heads,
    attribute_directly,
    attribute_reading,
    choice_contrast,
    patch_back,
)
from lens_steer.analysis.geometry import cosine_atlas
from lens_steer.analysis.lens import Contexts, fit_jacobian_lens, read_vector
from lens_steer.analysis.persistence import persistence, random_edits
from lens_steer.analysis.projections import projection_map
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError
from lens_steer.hooks import Intervention, Scale
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector

CONTEXT_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class VectorAnalysis:
    """How a vector is analysed; `site`, `strength` and `positions` are the operating point at which it steers answers.

    `sites` are those at which lenses and cosines read it. Texts are steered at all tokens with `text_strength`.
    """

    site: str = ""
    strength: float = 0.0
    positions: str = ""
    sites: tuple[str, ...] = ()
    scale: Scale = "raw"
    text_strength: float = 0.5
    k: int = 8
    n_heads: int = 4
    n_random: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorAnalysisResult(Tables):
    """The analyses as tidy frames; the module says what each holds."""

    kind = "vector_analysis"
    tokens: pd.DataFrame
    agreement: pd.DataFrame
    atlas: pd.DataFrame
    direct: pd.DataFrame
    patched: pd.DataFrame
    readers: pd.DataFrame
    ablation: pd.DataFrame
    persistence: pd.DataFrame
    projections: pd.DataFrame


def analyse_vector(
    model: SteerableModel,
    name: str,
    vectors: Mapping[str, SteeringVector],
    items: Sequence[ChoiceItem] | TokenContrast,
    texts: Sequence[str],
    settings: VectorAnalysis,
) -> VectorAnalysisResult:
    """Analyses one vector in every way.

    Args:
        model: the vectors' model.
        name: which of the vectors is analysed; the others stand beside it in the atlas.
        vectors: of several behaviours, all with the settings' sites.
        items: questions of that behaviour, asked by letter; or prompts with two tokens to compare after each
            (`token_contrast`), which small models answer better than letters.
        texts: neutral documents, at least four: the first half are contexts, the other half the unsteered reference.
        settings: the operating point, sites, and numbers of tokens, heads and controls.

    Returns:
        Tidy frames.

    Raises:
        DataError: no such vector, no items, or fewer than four texts.
        SiteError, MismatchError, AttributionError: as the analyses say.
    """
    asked = items if isinstance(items, TokenContrast) else choice_contrast(model, items) if items else None
    if name not in vectors or asked is None or len(texts) < 4:
        raise DataError(
            f"vector {name!r} of {', '.join(vectors) or 'none'}, {0 if asked is None else len(asked.rows)} prompts, "
            f"{len(texts)} texts; give one of "
            "the vectors, items of its behaviour, and at least four texts."
        )
    vector, half = vectors[name], len(texts) // 2
    edit = Intervention.of(vector, settings.site, settings.strength, settings.scale, settings.positions)
    push = Intervention.of(vector, settings.site, settings.text_strength, settings.scale)
    begun = [" ".join(text.split(" ")[:CONTEXT_TOKENS]) for text in texts[:half]]
    contexts = Contexts(texts=begun, strength=settings.text_strength, scale=settings.scale)
    lens = fit_jacobian_lens(model, texts[half : half + 1], "neutral text")
    said = read_vector(model, vector.only(*settings.sites), None, contexts, lens, settings.k, settings.n_random)
    readers = attribute_reading(model, vector, settings.site, seed=settings.seed)
    left = ablate_heads(model, asked, [edit], readers.top(settings.n_heads), settings.n_random, settings.seed)
    controls = random_edits([push], settings.n_random, settings.seed)
    followed = persistence(model, texts[:half], [push], controls, reference=texts[half:])
    spoken = projection_map(model, texts[:1], vector, settings.sites[-1], [push], neutral=texts[half:])
    frames = {
        "tokens": said.tokens,
        "agreement": said.agreement,
        "atlas": cosine_atlas({key: entry.only(*settings.sites) for key, entry in vectors.items()}, model),
        "direct": attribute_directly(model, asked, [edit]).summary(),
        "patched": patch_back(model, asked, [edit]).summary(),
        "readers": readers.to_frame(),
        "ablation": left.summary(),
        "persistence": followed.summary(),
        "projections": spoken.to_frame(),
    }
    facts = {"settings": asdict(settings), "vector": name, "items": len(set(asked.items)), "texts": len(texts)}
    facts |= {"model": fingerprint(model).to_dict(), "versions": versions()}
    return VectorAnalysisResult(**frames, facts=facts)
