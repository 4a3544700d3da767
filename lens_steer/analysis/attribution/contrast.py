"""The output measured in attribution: the difference between two tokens' logits at the end of each prompt.

    s_i = logit(raised_i) - logit(lowered_i)          or          logit(raised_i) - mean of all logits

Prompts of one item (its two option orders) share the item's name, so that intervals are over items. To measure a token
inside a text, end the prompt before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.tokens import one_token
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.errors import DataError
from lens_steer.evaluation.prompts import prepare_choices
from lens_steer.model import Logits, Prompts, SteerableModel, as_prompts, tokenize


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class TokenContrast:
    """Prompts with the two tokens that are compared after each; `lowered` is None for the mean of all logits.

    Raises:
        DataError: there are no prompts, one is empty, or items and tokens are not one a prompt.
    """

    items: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    raised: Int[Tensor, " n"]
    lowered: Int[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        counts = {len(self.items), len(self.rows), len(self.raised)}
        counts |= set() if self.lowered is None else {len(self.lowered)}
        if len(counts) > 1 or not self.rows or not all(self.rows):
            raise DataError(
                f"{len(self.rows)} prompts, {sum(not row for row in self.rows)} of them empty, with {len(self.items)} "
                f"items and {len(self.raised)} tokens; give prompts that are not empty, and one of each for each."
            )

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each prompt."""
        return [len(row) for row in self.rows]

    def read(self, logits: Logits, prompts: Sequence[int]) -> Float[Tensor, " batch"]:
        """The difference of logits after some of the prompts, float64 on the CPU.

        Args:
            logits: after those prompts.
            prompts: which ones.

        Raises:
            LogitError: logits, or a difference of them, are NaN or infinite.
        """

        def difference(chunk: Tensor, part: slice) -> Tensor:
            raised, *lowered = (
                chunk.gather(1, tokens[list(prompts[part]), None].to(chunk.device))[:, 0].double()
                for tokens in (self.raised, self.lowered)
                if tokens is not None
            )
            return raised - (lowered[0] if lowered else chunk.mean(dim=1, dtype=torch.float64))

        return logits.read(difference).cpu()


def choice_contrast(
    model: SteerableModel, items: Sequence[ChoiceItem], template: ChoiceTemplate | None = None
) -> TokenContrast:
    """Choice items in both option orders: the matching option's letter against the other's.

    Args:
        model: a loaded model.
        items: the questions.
        template: how they are written; the default template where absent.

    Returns:
        Two prompts an item.

    Raises:
        ScoreError: there are no items.
        OptionTokenError: the letters are not one token each, or the same token, after some prompt.
    """
    prompts = prepare_choices(model, items, template)
    twice = tuple(item for item in prompts.items for _ in range(2))
    return TokenContrast(items=twice, rows=prompts.rows, raised=prompts.matching_tokens, lowered=prompts.other_tokens)


def token_contrast(
    model: SteerableModel, prompts: Prompts, raised: str | int, lowered: str | int | None = None
) -> TokenContrast:
    """Texts, each followed by the same two tokens.

    Args:
        model: a loaded model with a tokenizer.
        prompts: texts (BOS is added once), chats or token rows; each is an item of its own.
        raised: a token, as its id or as text that is exactly one token (mind the space in front).
        lowered: the token to compare it with; the mean of all logits where absent.

    Returns:
        One prompt a text.

    Raises:
        DataError: there are no prompts, or a text is not one token.
    """
    texts, rows = as_prompts(model, prompts)
    rows, first = rows or tokenize(model, texts), one_token(model, raised)
    second = None if lowered is None else torch.full((len(rows),), one_token(model, lowered), device="cpu")
    return TokenContrast(
        items=tuple(f"prompt {index}" for index in range(len(rows))),
        rows=tuple(map(tuple, rows)),
        raised=torch.full((len(rows),), first, device="cpu"),
        lowered=second,
    )
