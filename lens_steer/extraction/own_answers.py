"""Vectors of a model's own answers: every text of a labelled data set is read once, for all variants and splits.

    v[site] = mean of h[site] over the positive texts - mean over the negative texts       (`data.own_answers`)

h is the last token's activation. Nothing is normalised, as in Cui & Chen 2025 (arXiv 2509.22739). Fifteen seeds of a
split share their texts, which are forwarded once; the vector of a split is a mean over its rows.

Example:
    >>> from lens_steer import load_model
    >>> from lens_steer.lab.items import fact_items
    >>> items = fact_items(8, split="train")
    >>> rows = read_own_answers(load_model("lab"), items, [0, 1] * 4, ("ipas_wrong_only",), sites="resid_post@0:2")
    >>> vector = rows.vector("ipas_wrong_only", range(8))
    >>> vector.method, vector.n_positive, vector.n_negative
    ('ipas_wrong_only', 4, 4)
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.corpora import TextContrast
from lens_steer.data.own_answers import Listing, OwnAnswers, own_answer_texts
from lens_steer.errors import ContrastError
from lens_steer.extraction.activations import contrast_activations
from lens_steer.extraction.options import ExtractOptions
from lens_steer.hooks.sites import Site, Sites
from lens_steer.model import Fingerprint, SteerableModel, fingerprint, require_model, versions
from lens_steer.vector import SteeringVector

Texts = Mapping[OwnAnswers, Sequence[tuple[str | None, str | None]]]
"""The positive and negative text of each item, by variant."""


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class OwnAnswerRows:
    """The activations of every text that any variant needs, each once; `texts` are the texts of each item."""

    name: str
    texts: Texts
    places: tuple[Mapping[str, int], Mapping[str, int]]
    rows: Mapping[Site, tuple[Float[Tensor, "n_pos d_model"], Float[Tensor, "n_neg d_model"]]]
    fingerprint: Fingerprint

    def vector(self, variant: OwnAnswers, items: Iterable[int]) -> SteeringVector:
        """The vector of a variant, of some of the items.

        Args:
            variant: one of those that were read.
            items: their indices, such as those of a training split.

        Returns:
            The difference of the means, at every site that was read.

        Raises:
            ContrastError: a variant that was not read, or a side without texts: the model answers all these items
                right, or all wrong.
        """
        if variant not in self.texts:
            raise ContrastError(f"variant {variant!r} was not read; there are {', '.join(self.texts)}.")
        chosen = [self.texts[variant][item] for item in items]
        sides = [[texts[side] for texts in chosen if texts[side] is not None] for side in (0, 1)]
        if not all(sides):
            which = "right" if sides[0] or not any(any(texts) for texts in chosen) else "wrong"
            raise ContrastError(
                f"{self.name}: the model answers all {len(chosen)} items {which}, so that {variant} has a side without "
                "texts; ipas_wrong_only needs wrong answers alone, caa neither, and pas_full and ipas_all need both."
            )
        index = [[self.places[side][str(text)] for text in sides[side]] for side in (0, 1)]
        directions, norms = {}, {}
        for site, both in self.rows.items():
            positive, negative = (rows[own] for rows, own in zip(both, index, strict=True))
            directions[site] = positive.mean(dim=0) - negative.mean(dim=0)
            norms[site] = float(torch.cat([positive, negative]).norm(dim=1).median())
        content = json.dumps([variant, *sides], ensure_ascii=False)
        return SteeringVector(
            name=f"{self.name} {variant}",
            directions=directions,
            method=variant,
            position="last",
            data_hash=hashlib.sha256(content.encode()).hexdigest(),
            n_positive=len(sides[0]),
            n_negative=len(sides[1]),
            activation_norms=norms,
            fingerprint=self.fingerprint,
            versions=versions(),
        )


def read_own_answers(
    model: SteerableModel,
    items: Sequence[ChoiceItem | MultipleChoiceItem],
    answers: Sequence[int],
    variants: Sequence[OwnAnswers],
    name: str = "own answers",
    sites: Sites = "resid_post@*",
    listing: Listing | None = None,
    batch_size: int = 32,
    cache: str | Path | None = None,
    progress: bool = False,
) -> OwnAnswerRows:
    """Reads the last token of every text that the variants need.

    Args:
        model: a loaded model.
        items: the questions.
        answers: the index of the model's answer to each among `item.content[1:]`; 0 is the correct one.
        variants: of `data.own_answers`.
        name: of the data set.
        sites: where to read.
        listing: how questions are listed; the default where absent.
        batch_size: texts in one forward pass.
        cache: a folder for activations, so that a run that was ended goes on.
        progress: draw a progress bar.

    Returns:
        What vectors are made of.

    Raises:
        ContrastError: no items, another number of answers, or no variant has texts on both sides.
        SiteError, DataError, MethodError, ActivationError: as `extract`.
    """
    require_model(model, "read_own_answers(model, items, answers, variants)", items, answers)
    if not items or len(items) != len(answers):
        raise ContrastError(f"{len(items)} items and {len(answers)} answers; give one answer for each item.")
    texts: dict[OwnAnswers, list[tuple[str | None, str | None]]] = {
        variant: [own_answer_texts(item, answer, variant, listing) for item, answer in zip(items, answers, strict=True)]
        for variant in variants
    }
    both = [
        dict.fromkeys(pair[side] for own in texts.values() for pair in own if pair[side] is not None) for side in (0, 1)
    ]
    sides = [[str(text) for text in side] for side in both]
    if not all(sides):
        which = "wrong" if all(answers) else "right"
        raise ContrastError(
            f"{name}: the model answers all {len(items)} items {which}; add 'caa', which needs neither."
        )
    contrast = TextContrast(name=name, positive=tuple(sides[0]), negative=tuple(sides[1]))
    options = ExtractOptions(progress=progress)
    rows = contrast_activations(model, contrast, sites=sites, batch_size=batch_size, cache=cache, options=options)
    places = [{text: number for number, text in enumerate(side)} for side in sides]
    return OwnAnswerRows(
        name=name, texts=texts, places=(places[0], places[1]), rows=rows, fingerprint=fingerprint(model)
    )
