"""All readings of a vector side by side, with random directions as control.

    for each site    raw, folded, ln_final;  jacobian (where a lens is given);  contextual (where contexts are given)
    control          the same readings of random directions of the same norm

The readings can disagree: a top token of the static readings alone need not become more likely under steering.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from lens_steer._util.shown import shown
from lens_steer.analysis.lens.contextual import Contexts, context_logits, contextual_reading
from lens_steer.analysis.lens.readings import LensReading, jacobian_reading, static_readings
from lens_steer.analysis.lens.tables import agreement_table, token_table
from lens_steer.errors import ScoreError
from lens_steer.hooks.sites import Site, SiteLike, Sites, sites_of
from lens_steer.model import Logits, SteerableModel, fingerprint, require_same_model, token_text
from lens_steer.vector import SteeringVector, random_like


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class VectorReadings:
    """Several readings of a vector: `tokens` from `token_table`, `agreement` from `agreement_table`."""

    vector: str
    tokens: pd.DataFrame
    agreement: pd.DataFrame


def vector_lens(model: SteerableModel, vector: SteeringVector, site: SiteLike, k: int = 10) -> pd.DataFrame:
    """The tokens that a direction promotes and suppresses most, by TransformerLens' `logit_readout` of v and of -v.

    The logit is half the difference of the two readings, in which the norm's bias and b_U cancel.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of the vector's sites.
        k: how many tokens at each end.

    Returns:
        2 k rows: vector, site, end ("top" or "bottom"), rank (from 1), token id, token text and logit
        (natural-log units, at the scale of the final norm, not of a strength).

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector has no such site, or the unembedding cannot read it.
        ScoreError: k is below 1, or above half of the vocabulary.

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".

    Example:
        >>> from lens_steer import contrast_from_choices, extract, load_model
        >>> from lens_steer.lab.items import open_items
        >>> model = load_model("lab")
        >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
        >>> vector_lens(model, extract(model, pairs, sites="resid_post@7"), "resid_post@7", k=2)["end"].tolist()
        ['top', 'top', 'bottom', 'bottom']
    """
    plus, minus = (static_readings(model, v, site)[-1].values for v in (vector, -vector))
    logits = torch.where(plus == minus, 0.0, plus - minus) / 2  # also of tokens that are never said
    if not 1 <= k <= logits.numel() // 2:
        raise ScoreError(f"k is {k}; give 1 to {logits.numel() // 2}, half of the vocabulary.")
    rows = []
    for end, largest in (("top", True), ("bottom", False)):
        found = logits.topk(k, largest=largest)
        for rank, (logit, token) in enumerate(zip(found.values.tolist(), found.indices.tolist(), strict=True), 1):
            where = {"vector": vector.name, "site": str(Site.parse(site)), "end": end, "rank": rank}
            rows.append({**where, "token_id": token, "token": token_text(model, token), "logit": logit})
    return pd.DataFrame(rows)


def read_vector(
    model: SteerableModel,
    vector: SteeringVector,
    sites: Sites | None = None,
    contexts: Contexts | None = None,
    jacobian: Any = None,
    k: int = 10,
    n_random: int = 20,
    seed: int = 0,
) -> VectorReadings:
    """Every reading of a vector at its sites, with random controls.

    Args:
        model: the vector's model.
        vector: where the directions come from.
        sites: some of the vector's sites, as `parse_sites` reads them; all of them where absent.
        contexts: where directions are tried; no contextual reading where absent. It costs two passes over the contexts
            for each site and control, and one more.
        jacobian: a fitted `JacobianLens`; no such reading where absent.
        k: tokens at each end; agreement of the ends is taken over twice as many.
        n_random: random directions of the same norm at each site.
        seed: of the random directions.

    Returns:
        The tables of tokens and of agreement.

    Raises:
        MismatchError: a vector or a lens of another model.
        SiteError: the vector has no such site, or a reading cannot be had there.
        ScoreError: k is below 1 or too large for the vocabulary.

    Example:
        >>> from lens_steer import contrast_from_choices, extract, load_model
        >>> from lens_steer.lab.items import open_items
        >>> model = load_model("lab")
        >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
        >>> found = read_vector(model, extract(model, pairs, sites="resid_post@6:8"), n_random=2)
        >>> found.tokens["reading"].unique().tolist(), len(found.agreement)
        (['raw', 'folded', 'ln_final'], 18)
    """
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model of the lens")
    wanted = vector.sites if sites is None else sites_of(model, sites)
    before = [] if contexts is None else context_logits(model, contexts)
    tokens, agreement = [], []
    for site in wanted:
        alone = vector.only(site)
        readings = _readings(model, alone, site, contexts, before, jacobian, changes=True)
        null = [
            reading
            for index in range(n_random)
            for reading in _readings(model, random_like(alone, seed + index), site, contexts, before, jacobian)
        ]
        tokens.append(token_table(model, readings, k, null))
        agreement.append(agreement_table(model, readings, 2 * k, null))
    frames = [pd.concat(parts, ignore_index=True) for parts in (tokens, agreement)]
    return VectorReadings(vector=vector.name, tokens=frames[0], agreement=frames[1])


def _readings(
    model: SteerableModel,
    direction: SteeringVector,
    site: Site,
    contexts: Contexts | None,
    unsteered: Sequence[Logits],
    jacobian: Any,
    changes: bool = False,
) -> list[LensReading]:
    """Every reading of one direction."""
    found = [*static_readings(model, direction, site)]
    if jacobian is not None:
        found.append(jacobian_reading(model, direction, site, jacobian))
    if contexts is not None:
        found.append(contextual_reading(model, direction, site, contexts, unsteered, changes))
    return found
