"""The likelihood of whole texts, unsteered and steered: what a vector says of texts that nobody turned into questions.

    L_i       mean over the tokens of text i, but its first, of  log p(token | all before)           nats a token
    slope_i   d L_i / d strength at 0, of a vector at a site                  `text_slopes`, one backward pass a batch

Texts are tokenised as documents are (BOS where the model wants it), and are all prompt to position rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer._util.torch_state import gradients_on
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.grid import Configuration, GridOptions, run_grid
from lens_steer.evaluation.prompts import following_likelihoods, log_likelihoods
from lens_steer.evaluation.sweep.first_order import strength_slopes
from lens_steer.hooks import Intervention, Scale, require_unsteered
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Sites, sites_of
from lens_steer.model import SteerableModel, fingerprint, require_model, require_same_model, tokenize
from lens_steer.model.batching import length_buckets, within_memory
from lens_steer.vector import SteeringVector


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class TextLikelihoods:
    """Mean log-likelihoods of the tokens of each text, nats a token; `tokens` counts those that are predicted.

    `steered` has a row for each configuration.
    """

    tokens: Float[Tensor, " n"]
    unsteered: Float[Tensor, " n"]
    steered: Float[Tensor, "k n"]

    @property
    def relative_perplexity(self) -> Float[Tensor, " k"]:
        """Steered perplexity over unsteered perplexity of all texts together, under each configuration."""
        lost = ((self.unsteered - self.steered) * self.tokens).sum(dim=1) / self.tokens.sum()
        return lost.exp()


def text_likelihoods(
    model: SteerableModel,
    texts: Sequence[str],
    configurations: Sequence[Configuration],
    options: GridOptions | None = None,
    max_tokens: int | None = None,
) -> TextLikelihoods:
    """Predicts the same texts unsteered and under each configuration.

    Args:
        model: a loaded model.
        texts: whole documents.
        configurations: what steers, point by point.
        options: batch size, reuse, checkpoint and progress bar; the defaults where absent.
        max_tokens: cut texts to their first tokens, BOS included; whole texts where absent.

    Returns:
        The likelihood of each text.

    Raises:
        DataError: no texts, or a text without a token to predict; it is shown.
        SteeringError: an intervention edits nothing, or a steering context is open.
        LogitError: logits are NaN or infinite.

    Example:
        >>> from lens_steer import load_model
        >>> text_likelihoods(load_model("lab"), ["The king went home.", "The cat slept."], []).unsteered.shape
        torch.Size([2])
    """
    require_model(model, "text_likelihoods(model, texts, configurations)", texts, configurations)
    require_unsteered(model, "text_likelihoods", "put its interventions first in every configuration")
    rows = text_rows(model, texts, max_tokens)
    numbers = partial(following_likelihoods, rows)
    table = run_grid(model, rows, configurations, numbers, options, scored="all", meaning="log-likelihood of texts")
    lengths = torch.tensor([len(row) - 1.0 for row in rows], dtype=torch.float64, device="cpu")
    sums = torch.stack([found[:, 0] for found in (table.unsteered, *table.configurations)])
    unsteered, steered = (sums / lengths).split([1, len(sums) - 1])
    return TextLikelihoods(tokens=lengths, unsteered=unsteered[0], steered=steered)


@gradients_on()
def text_slopes(
    model: SteerableModel,
    vectors: Sequence[SteeringVector],
    texts: Sequence[str],
    sites: Sites | None = None,
    positions: str | Positions = "all",
    scale: Scale = "relative",
    options: GridOptions | None = None,
    max_tokens: int | None = None,
) -> Float[Tensor, "vector site n"]:
    """How fast the likelihood of each text begins to change, for every vector at every site; as `first_order`.

    Args:
        model: the vectors' model.
        vectors: what would be added.
        texts: whole documents.
        sites: as `parse_sites` reads them; all sites of the first vector where absent.
        positions: which tokens would be edited.
        scale: what strength 1 means, as in `Intervention.of`.
        options: batch size and progress bar; the defaults where absent.
        max_tokens: as for `text_likelihoods`.

    Returns:
        Slopes in nats a token for one unit of strength.

    Raises:
        ScoreError: no vectors.
        SiteError, MismatchError, PositionError: as `first_order`.
        DataError, LogitError, ActivationError: as `text_likelihoods` and `first_order`.
    """
    options = options or GridOptions()
    require_unsteered(model, "text_slopes", "call it without steering")
    if not vectors:
        raise ScoreError("no vectors; give at least one.")
    known = fingerprint(model)
    for vector in vectors:
        require_same_model(vector.fingerprint, known, f"vector {vector.name!r} and the model")
    rows = text_rows(model, texts, max_tokens)
    wanted = sites_of(model, vectors[0].sites if sites is None else sites)
    edits = [Intervention.of(vector, site, 1.0, scale, positions) for vector in vectors for site in wanted]
    slopes = torch.empty(len(edits), len(rows), dtype=torch.float32, device="cpu")
    batches = length_buckets([len(row) for row in rows], options.batch_size)

    def differentiate(batch: Sequence[int]) -> None:
        own = [rows[index] for index in batch]

        def likelihood() -> Tensor:
            return log_likelihoods(model, own, [1] * len(own), range(len(own)), gradient=True)

        slopes[:, list(batch)] = strength_slopes(model, own, [len(row) for row in own], edits, likelihood)

    for batch in track(batches, "ranking sites", len(rows), options.progress, size=len):
        within_memory(differentiate, batch)
    lengths = torch.tensor([len(row) - 1 for row in rows], device="cpu")
    return (slopes / lengths).reshape(len(vectors), len(wanted), len(rows))


def text_rows(model: SteerableModel, texts: Sequence[str], max_tokens: int | None = None) -> list[list[int]]:
    """The tokens of each text.

    Raises:
        DataError: no texts, or one of fewer than two tokens; it is shown.
    """
    rows = [list(row[:max_tokens]) for row in tokenize(model, texts)] if texts else []
    short = next((text for text, row in zip(texts, rows, strict=True) if len(row) < 2), None)
    if not rows or short is not None:
        said = "no texts" if short is None else f"the text {short!r} has fewer than two tokens"
        raise DataError(f"{said}; a likelihood needs texts of at least two tokens each, BOS included.")
    return rows
