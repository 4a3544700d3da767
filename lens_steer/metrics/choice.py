"""Two-choice answers, scored from the next-token logits at the last prompt token.

    logit difference  m = logit(matching letter) - logit(other letter)   natural-log units; = log-prob difference
    answer probability         = p(A) + p(B)                                    of the whole vocabulary
    matching rate       = share of m > 0                                 m = 0 counts as not matching

Source: Tan et al. 2024 (arXiv 2407.12404) for m, computed on the letter token alone. m is not informative where the
answer probability is small, because the model is about to write something else. Position bias is not visible in these
metrics; see `collapse`.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import ScoreError


def logit_difference(
    logits: Float[Tensor, "item d_vocab"], matching: Int[Tensor, " item"], other: Int[Tensor, " item"]
) -> Float[Tensor, " item"]:
    """The logit difference between the matching and the other option's letter.

    Args:
        logits: logits at the last token of each prompt.
        matching: token id of the matching option's letter, for each row.
        other: token id of the other option's letter, for each row.

    Returns:
        logit(matching letter) - logit(other letter), in natural-log units.

    Source:
        Tan et al. 2024, arXiv 2407.12404.
    """
    return _pick(logits, matching) - _pick(logits, other)


def answer_probability(
    logits: Float[Tensor, "item d_vocab"], matching: Int[Tensor, " item"], other: Int[Tensor, " item"]
) -> Float[Tensor, " item"]:
    """The probability that the next token is one of the two letters.

    Args:
        logits: logits at the last token of each prompt.
        matching: token id of the matching option's letter, for each row.
        other: token id of the other option's letter, for each row.

    Returns:
        p(matching letter) + p(other letter), between 0 and 1.
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    return _pick(log_probs, matching).exp() + _pick(log_probs, other).exp()


def matching_rate(differences: Float[Tensor, " item"]) -> float:
    """The share of answers that match the behaviour.

    Args:
        differences: one logit difference per answer.

    Returns:
        The share of differences above 0; a difference of exactly 0 does not match.

    Raises:
        ScoreError: there are no answers, or a difference is not finite.
    """
    if differences.numel() == 0 or not bool(differences.isfinite().all()):
        broken = int((~differences.isfinite()).sum())
        raise ScoreError(
            f"{differences.numel()} logit differences, {broken} of them NaN or infinite; a rate needs at least one "
            "answer, and finite ones."
        )
    return float((differences > 0).double().mean())


def ab_split(differences: Float[Tensor, "item order"]) -> tuple[Float[Tensor, " item"], Float[Tensor, " item"]]:
    """Splits each item's logit difference into a content and a position component.

        content = (m_A + m_B) / 2      position = (m_A - m_B) / 2      m_A: matching option at (A), m_B: at (B)

    Args:
        differences: logit difference of each item with the matching option first (column 0) and second (column 1).

    Returns:
        The content and the position component, in natural-log units; a positive position component prefers (A).

    Source:
        The A/B split of Tan et al. 2024, arXiv 2407.12404.
    """
    first, second = rearrange(differences, "item order -> order item")
    return (first + second) / 2, (first - second) / 2


def _pick(rows: Float[Tensor, "item d_vocab"], token: Int[Tensor, " item"]) -> Float[Tensor, " item"]:
    """One column of each row, in float32."""
    return rows.float().gather(-1, token[:, None].to(rows.device)).squeeze(-1)
