"""The vectors of broad skills, text minus skill, read as in the paper and corrected; and the paper's control.

    v[site] = mean over text of h[site]  -  mean over the skill of h[site]           so that + takes the skill away
    as published    h of the last token of each document
    corrected       h of every token but the first, massive activations left out
    permuted        mean over text, coordinates permuted  -  mean over the skill, coordinates permuted in another order

Source: van der Weij et al. 2024 (arXiv 2403.05767). Their last-token means contain documents whose last token carries
the model's massive activations, which make up most of the vectors' energy; `vector_geometry` shows it. Their permuted
control is longer than the vector; norm-matched random directions (`random_like`) stand beside it. It does not steer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.corpora import Corpus, TextContrast
from lens_steer.extraction import ExtractOptions, extract
from lens_steer.extraction.record import record
from lens_steer.hooks.sites import Site
from lens_steer.metrics.quality import energy_shares
from lens_steer.model import SteerableModel, tokenize
from lens_steer.vector import SteeringVector

ReadingRule = Literal["as_published", "corrected"]
READINGS: dict[str, tuple[str, bool]] = {"as_published": ("last", False), "corrected": ("content", True)}
"""Position rule, and whether massive activations are left out."""


def skill_vector(
    model: SteerableModel,
    text: Corpus,
    skill: Corpus,
    sites: Sequence[Site],
    reading: ReadingRule,
    max_tokens: int | None = None,
    batch_size: int = 32,
) -> SteeringVector:
    """The vector that leads from a skill to text, from the training documents of both.

    Args:
        model: a loaded model.
        text: what should stay.
        skill: what should go.
        sites: where.
        reading: which tokens are read.
        max_tokens: documents are cut to their first tokens, BOS included.
        batch_size: documents in one forward pass.

    Returns:
        Text minus skill, not normalised.
    """
    position, drop = READINGS[reading]
    source = TextContrast(
        name=f"{text.name} - {skill.name}", positive=text.train, negative=skill.train, max_tokens=max_tokens
    )
    options = ExtractOptions(drop_massive=drop, too_long="cut")
    return extract(model, source, sites=sites, position=position, batch_size=batch_size, options=options)


def mean_activations(
    model: SteerableModel,
    documents: Sequence[str],
    sites: Sequence[Site],
    reading: ReadingRule,
    max_tokens: int | None,
    batch_size: int = 32,
) -> dict[Site, Float[Tensor, " width"]]:
    """The mean activation over the tokens that a reading rule takes of documents, in float64; tokens count alike.

    Args:
        model: a loaded model.
        documents: of one skill.
        sites: where.
        reading: which tokens are read.
        max_tokens: documents are cut to their first tokens, BOS included.
        batch_size: documents in one forward pass.

    Returns:
        The mean at each site; `skill_vector` is the difference of two.
    """
    position, drop = READINGS[reading]
    rows = [row[:max_tokens] for row in tokenize(model, documents)]
    sums, counts = dict.fromkeys(sites, torch.zeros((), dtype=torch.float32, device="cpu")), dict.fromkeys(sites, 0)
    for batch in record(model, rows, list(sites), position, batch_size=batch_size, medians=drop):
        for site in sites:
            read = batch.activations[site][batch.ordinary(site)]
            sums[site] = sums[site] + read.double().sum(dim=0)
            counts[site] += len(read)
    return {site: total / counts[site] for site, total in sums.items()}


def permuted_control(
    vector: SteeringVector, text: Mapping[Site, Tensor], skill: Mapping[Site, Tensor], seed: int
) -> SteeringVector:
    """The paper's control: both means with their coordinates permuted, each in an order of its own, then subtracted.

    Args:
        vector: whose sites and provenance are taken; its norm is not matched, as it was not in the paper.
        text: mean activations of text by site.
        skill: mean activations of the skill by site.
        seed: the same seed gives the same orders.

    Returns:
        A vector whose method is `"permuted"`.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = {}
    for site in vector.sites:
        first, second = (torch.randperm(len(text[site]), generator=generator, device="cpu") for _ in range(2))
        directions[site] = (text[site][first] - skill[site][second]).float()
    return vector.replaced(f"permuted {seed}", directions, method="permuted", options={"seed": seed})


def vector_geometry(vectors: Mapping[tuple[str, ReadingRule], SteeringVector]) -> pd.DataFrame:
    """What the readings make of the vectors: length, concentration, and likeness to the first target's vector.

    Args:
        vectors: by target and reading.

    Returns:
        One row a target, reading and site: `norm`, `relative_norm` (over the median activation norm), `energy_2` (the
        share of the squared norm in its two largest coordinates) and `cosine` to the first target's vector of the same
        reading.
    """
    rows, first = [], next(iter(vectors))[0]
    for (target, reading), vector in vectors.items():
        for site in vector.sites:
            rows.append(
                {
                    "target": target,
                    "reading": reading,
                    "site": str(site),
                    "norm": vector.norm(site),
                    "relative_norm": vector.norm(site) / vector.activation_norm(site),
                    "energy_2": energy_shares(vector.at(site), (2,)).shares[2],
                    "cosine": vector.cosine(vectors[first, reading], site),
                }
            )
    return pd.DataFrame(rows)
