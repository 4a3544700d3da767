"""What steering does to ordinary text: the same tokens predicted by the unsteered and by the steered model.

    kl          mean over tokens of  sum_w p(w) log p(w) / q(w),     p unsteered, q steered; nats a token
    top1        share of tokens that are the likeliest next token    relative: steered share / unsteered share
    top10       share of tokens with fewer than ten likelier ones    relative: the same
    perplexity  exp(- mean over tokens of log-likelihood)

Every token of a text but its first is predicted; texts are a fixed list, so that everything is paired. Two vectors or
methods are compared at equal KL, not at equal strength (`evaluation.equal_side_effects`).
The alignment tax of van der Weij et al. 2024 (arXiv 2403.05767) is 1 - relative top1 on neutral texts; here it is
paired by document and has an interval. Over a grid the texts are predicted unsteered once, and from the first edited
block on for each point (`side_effect_grid`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import DataError
from lens_steer.evaluation.grid import Configuration, GridOptions, GridTokens, Numbers, run_grid
from lens_steer.hooks import Interventions, as_interventions, require_unsteered
from lens_steer.metrics.statistics import RESAMPLES, Interval, ratio_interval
from lens_steer.model import SteerableModel, require_model, tokenize

TEN = 10


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class SideEffects:
    """Sums over the predicted tokens of each text, unsteered and steered; in the order of the texts."""

    tokens: Float[Tensor, " n"]
    right_unsteered: Float[Tensor, " n"]
    right_steered: Float[Tensor, " n"]
    among_ten_unsteered: Float[Tensor, " n"]
    among_ten_steered: Float[Tensor, " n"]
    log_likelihood_unsteered: Float[Tensor, " n"]
    log_likelihood_steered: Float[Tensor, " n"]
    kl_sum: Float[Tensor, " n"]

    @property
    def kl(self) -> float:
        """Mean over tokens of KL(unsteered || steered), nats."""
        return float(self.kl_sum.sum() / self.tokens.sum())

    @property
    def top1(self) -> float:
        """The share of tokens that the unsteered model predicts."""
        return float(self.right_unsteered.sum() / self.tokens.sum())

    @property
    def relative_top1(self) -> float:
        """The share of right tokens that steering keeps; NaN where the unsteered model has none right."""
        return float(self.right_steered.sum() / self.right_unsteered.sum())

    @property
    def top10(self) -> float:
        """The share of tokens that the unsteered model has among its ten likeliest."""
        return float(self.among_ten_unsteered.sum() / self.tokens.sum())

    @property
    def relative_top10(self) -> float:
        """The share of tokens among the ten likeliest that steering keeps; NaN where the unsteered model has none."""
        return float(self.among_ten_steered.sum() / self.among_ten_unsteered.sum())

    @property
    def relative_perplexity(self) -> float:
        """Steered perplexity over unsteered perplexity."""
        lost = (self.log_likelihood_unsteered - self.log_likelihood_steered).sum() / self.tokens.sum()
        return float(lost.exp())

    def intervals(self, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
        """The alignment tax in numbers: each with its interval over texts, steered and unsteered paired.

        Args:
            confidence: between 0 and 1.
            resamples: how many times the texts are resampled; 0 gives no intervals.
            seed: the same seed gives the same intervals.

        Returns:
            `relative_top1`, `relative_top10`, `relative_perplexity` and `kl`.

        Raises:
            ScoreError: the unsteered model has no token right.
        """
        lost = self.log_likelihood_unsteered - self.log_likelihood_steered
        ratios = {
            "relative_top1": (self.right_steered, self.right_unsteered),
            "relative_top10": (self.among_ten_steered, self.among_ten_unsteered),
            "relative_perplexity": (lost, self.tokens),
            "kl": (self.kl_sum, self.tokens),
        }
        found = {name: ratio_interval(*sums, confidence, resamples, seed) for name, sums in ratios.items()}
        log = found["relative_perplexity"]
        value, low, high = (math.exp(bound) for bound in (log.value, log.low, log.high))
        return found | {"relative_perplexity": replace(log, value=value, low=low, high=high)}

    def to_frame(self) -> pd.DataFrame:
        """One row a text: its number of predicted tokens, and the sums over them."""
        return pd.DataFrame({field.name: getattr(self, field.name).numpy() for field in fields(self)})


def measure_side_effects(
    model: SteerableModel, texts: str | Sequence[str], interventions: Interventions, batch_size: int = 32
) -> SideEffects:
    """Predicts texts with and without steering.

    Args:
        model: a loaded model.
        texts: whole documents; each is one sequence, whose first token is not predicted.
        interventions: what steers; a text is all prompt, so position rules that speak of an answer select nothing.
            With none, both columns are the unsteered model's.
        batch_size: texts in one forward pass.

    Returns:
        Sums a text.

    Raises:
        DataError: no texts, or a text without a token to predict.
        SteeringError: an intervention edited nothing, or a steering context is open.
    """
    require_model(model, "measure_side_effects(model, texts, interventions)", texts, interventions)
    return side_effect_grid(model, texts, [as_interventions(interventions)], GridOptions(batch_size=batch_size))[0]


def side_effect_grid(
    model: SteerableModel,
    texts: str | Sequence[str],
    configurations: Sequence[Configuration],
    options: GridOptions | None = None,
    max_tokens: int | None = None,
) -> tuple[SideEffects, ...]:
    """Predicts the same texts under each configuration of a grid: once unsteered, and from the first edited block on.

    Args:
        model: a loaded model.
        texts: as for `measure_side_effects`.
        configurations: what steers, point by point.
        options: batch size, reuse, checkpoint and progress bar; the defaults where absent.
        max_tokens: cut texts to their first tokens, BOS included; whole texts where absent.

    Returns:
        The side effects of each configuration.

    Raises:
        DataError, SteeringError: as `measure_side_effects`.
    """
    require_unsteered(model, "measuring side effects", "put its interventions first in every configuration")
    rows = [row[:max_tokens] for row in tokenize(model, texts)]
    if not rows or min(len(row) for row in rows) < 2:
        raise DataError(
            f"{len(rows)} texts; measuring side effects needs texts of at least two tokens each, BOS included."
        )

    names = [field.name for field in fields(SideEffects)]
    table = run_grid(
        model, rows, configurations, partial(_of_tokens, rows), options, scored="all", meaning=" ".join(names)
    )
    return tuple(SideEffects(**dict(zip(names, numbers.T, strict=True))) for numbers in table.configurations)


def _of_tokens(rows: Sequence[Sequence[int]], texts: list[int], tokens: GridTokens) -> Numbers:
    """What makes the numbers of some tokens."""
    return numbers_of(tokens.unsteered, tokens.following(rows, texts).to(tokens.unsteered.device)[:, None])


def numbers_of(unsteered: Float[Tensor, "k d_vocab"], following: Int[Tensor, "k 1"]) -> Numbers:
    """What makes the numbers of `SideEffects` of steered logits; what is of the unsteered model is worked out once.

    Args:
        unsteered: logits of some tokens.
        following: the token that follows each.

    Returns:
        A function of the steered logits of the same tokens.
    """

    def read(logits: Tensor) -> tuple[Tensor, list[Tensor]]:
        table = logits.log_softmax(-1)
        own = table.gather(-1, following)
        right = (table.argmax(-1, keepdim=True) == following)[:, 0].float()
        return table, [right, ((table > own).sum(-1) < TEN).float(), own[:, 0]]

    base, before = read(unsteered)
    probabilities = base.exp()

    def numbers(logits: Float[Tensor, "k d_vocab"]) -> Float[Tensor, "k number"]:
        table, after = read(logits)
        pairs = [column for pair in zip(before, after, strict=True) for column in pair]
        never = bool(table.amin() == -math.inf)
        terms = torch.sub(base, table, out=table).mul_(probabilities)
        if never:  # p log p / q is 0 where p is 0, for every q
            terms.masked_fill_(probabilities == 0, 0)
        kl = terms.sum(-1)
        return torch.stack([torch.ones_like(kl), *pairs, kl], dim=1)

    return numbers
