"""Two lists of texts in three splits each, their activations, and vectors of true and of shuffled labels.

    v[site] = mean over positive texts of a_i - mean over negative texts of a_i,    a_i: mean over the tokens of text i

Labels are shuffled within each split, so that a shuffled vector has as many texts of each label, for training, choice
and test, as the true one. Where the labels say nothing, all of them are exchangeable.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.corpora import Corpus, TextContrast, split_documents
from lens_steer.data.duplicates import near_duplicates
from lens_steer.data.splits import SPLITS
from lens_steer.errors import DataError
from lens_steer.experiments.text_lists.settings import LEAST_TEXTS, TextLists
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.task import prepare, recordings
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, sites_of
from lens_steer.model import Fingerprint, SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector

BATCH = 32
Labels = Mapping[str, Bool[Tensor, " n"]]
"""Of each split, which of its texts count as positive."""


def split_lists(positive: Sequence[str], negative: Sequence[str], settings: TextLists) -> tuple[Corpus, Corpus]:
    """Both lists in three splits each, without empty texts, repeated texts and near duplicates.

    Args:
        positive: texts of the one list.
        negative: texts of the other one.
        settings: the shares of the splits, the most texts of a list, the seed.

    Raises:
        DataError: a text is in both lists, or a list has too few different texts.
    """
    shared = sorted({text.strip() for text in positive} & {text.strip() for text in negative} - {""})
    if shared:
        raise DataError(
            f"{len(shared)} texts are in both lists, such as {shared[0]!r}; a text is positive or negative: leave it "
            "out of one list."
        )
    return _split("positive", positive, settings), _split("negative", negative, settings)


def _split(name: str, texts: Sequence[str], settings: TextLists) -> Corpus:
    """One list in three splits."""
    different = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    near = {index for group in near_duplicates(different) for index in group[1:]}
    kept = [text for index, text in enumerate(different) if index not in near]
    if len(kept) < LEAST_TEXTS:
        raise DataError(
            f"the {name} list: {len(kept)} different texts of {len(texts)} (empty, repeated and nearly equal ones do "
            f"not count); give at least {LEAST_TEXTS}, better 20 or more."
        )
    n = min(len(kept), settings.limit)
    train, validation = (max(2, round(n * share)) for share in settings.fractions[:2])
    return split_documents(name, kept, (train, validation, n - train - validation), settings.seed, near=None)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class TextRows:
    """The mean activation of each training text at each site, the positive ones first."""

    contrast: TextContrast
    rows: Mapping[Site, Float[Tensor, "n d_model"]]
    norms: Mapping[Site, float]
    read_at: str
    fingerprint: Fingerprint

    def vector(self, name: str, positive: Bool[Tensor, " n"]) -> SteeringVector:
        """The vector of one labelling of the training texts.

        Args:
            name: of the vector.
            positive: which texts count as positive.
        """
        sides = {site: (rows[positive], rows[~positive]) for site, rows in self.rows.items()}
        return SteeringVector(
            name=name,
            directions={site: one.mean(dim=0) - other.mean(dim=0) for site, (one, other) in sides.items()},
            method="mean_difference",
            position=self.read_at,
            data_hash=self.contrast.hash,
            n_positive=int(positive.sum()),
            n_negative=int((~positive).sum()),
            activation_norms=self.norms,
            fingerprint=self.fingerprint,
            versions=versions(),
        )


def read_lists(
    model: SteerableModel, name: str, lists: tuple[Corpus, Corpus], settings: TextLists, progress: bool = False
) -> TextRows:
    """Reads the training texts, each once.

    Args:
        model: a loaded model.
        name: of the study.
        lists: the positive and the negative list.
        settings: sites, tokens that are read, and where texts are cut.
        progress: draw a progress bar.

    Raises:
        SiteError, PositionError, DataError, ActivationError: as `extract`.
    """
    positive, negative = (corpus.train for corpus in lists)
    contrast = TextContrast(name=name, positive=positive, negative=negative, max_tokens=settings.max_tokens)
    sites, rule = sites_of(model, settings.sites), Positions.parse(settings.read_at)
    task = prepare(model, contrast, sites, "mean_difference", rule, BATCH, ExtractOptions())
    sums: dict[Site, Tensor] = {}
    norms: dict[Site, list[Tensor]] = {site: [] for site in sites}
    counts = torch.zeros(contrast.n, dtype=torch.float32, device="cpu")
    for recording in recordings(model, task, None, progress):
        recording.require_finite(task.sequences.label)
        counts += torch.bincount(recording.sequences, minlength=contrast.n)
        for site, rows in recording.activations.items():
            whole = sums.setdefault(site, rows.new_zeros(contrast.n, rows.shape[1]))
            whole.index_add_(0, recording.sequences, rows)
            norms[site].append(rows.norm(dim=1))
    return TextRows(
        contrast=contrast,
        rows={site: whole / counts[:, None] for site, whole in sums.items()},
        norms={site: float(torch.cat(found).median()) for site, found in norms.items()},
        read_at=str(rule),
        fingerprint=fingerprint(model),
    )


def shuffled(lists: tuple[Corpus, Corpus], seed: int) -> Labels:
    """Labels dealt out anew within each split.

    Args:
        lists: the positive and the negative list.
        seed: the same seed gives the same labels.
    """
    rng, found = random.Random(f"labels:{seed}"), {}
    for split, labels in true_labels(lists).items():
        order = rng.sample(range(len(labels)), len(labels))
        found[split] = labels[order]
    return found


def true_labels(lists: tuple[Corpus, Corpus]) -> Labels:
    """Of the texts of each split, those of the positive list first, which are positive."""
    sizes = {split: [len(getattr(corpus, split)) for corpus in lists] for split in SPLITS}
    return {split: torch.arange(sum(n), device="cpu") < n[0] for split, n in sizes.items()}


def texts_of(lists: tuple[Corpus, Corpus], split: str) -> list[str]:
    """The texts of a split, those of the positive list first."""
    return [text for corpus in lists for text in getattr(corpus, split)]
