"""Contrasts made of a model's own answers to a labelled multiple-choice data set: nobody writes prompts.

C, W: items that the model answers right and wrong; y_i the correct option, a_i the model's answer; P the prompt that
lists all options and ends before the answer; mean over items of the last token's activation h

    pas_full         mean over C of h(P_i)           - mean over W of h(P_i)             the questions differ
    ipas_all         mean over C of h(q_i + " " y_i) - mean over W of h(q_i + " " a_i)   the questions differ
    ipas_wrong_only  mean over W of [h(q_i + " " y_i) - h(q_i + " " a_i)]                pairs
    caa              mean over all of [h(q_i + " " y_i) - h(q_i + " " o_i)]           pairs; o_i: the first other option

Source: Cui & Chen 2025 (arXiv 2509.22739), section 2: PASf, iPASa and iPASwo. `caa` is the static pair of Panickssery
et al. 2023 (arXiv 2312.06681) on the same data, which that paper lacks. The authors' code shuffles all questions of a
run in the same way (`by_run`), so that one letter is right throughout wherever a data set puts the answer first, and a
vector that says this letter is always right; here each item has an order of its own (`by_item`), drawn from its content
and a seed. Their code reads a block's input and writes its output; here both are one site.
"""

import random
from dataclasses import dataclass, field
from typing import Literal, get_args

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.errors import ContrastError

OwnAnswers = Literal["pas_full", "ipas_all", "ipas_wrong_only", "caa"]
Orders = Literal["by_item", "by_run"]
"""Whether each item has an option order of its own, or all items of a seed and number of options the same."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """How questions are listed: by which template, and in which order an item's options stand.

    The order is a permutation drawn from the item's content and a seed; with `by_run`, as in the authors' code, from
    the seed and the number of options alone.
    """

    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    seed: int = 0
    orders: Orders = "by_item"

    def order(self, item: ChoiceItem | MultipleChoiceItem) -> tuple[int, ...]:
        """Indices of an item's options, 0 the correct one, in the order of the list."""
        order = list(range(len(item.content) - 1))
        random.Random(f"{self.seed}:{item.content if self.orders == 'by_item' else len(order)}").shuffle(order)
        return tuple(order)

    def arranged(self, item: ChoiceItem | MultipleChoiceItem) -> tuple[MultipleChoiceItem, tuple[int, ...], int]:
        """The item with its options arranged so that one of its rotated orders is the order of the list.

        Returns:
            The item; the index among `item.content[1:]` of each of its options; and the place of the correct one, which
            is the number of that rotation.

        Example:
            >>> item = MultipleChoiceItem(id="q", stem="2 + 2 =", options=("3", "4", "5"), answer=1)
            >>> Listing(seed=1).order(item), Listing(seed=1).arranged(item)[1:]
            ((1, 2, 0), ((0, 1, 2), 2))
        """
        order = self.order(item)
        place = order.index(0)
        indices = tuple(order[(option + place) % len(order)] for option in range(len(order)))
        options = tuple(item.content[1 + index] for index in indices)
        return MultipleChoiceItem(id=item.id, stem=item.stem, options=options, answer=0), indices, place

    def write(self, item: ChoiceItem | MultipleChoiceItem) -> str:
        """The item's prompt, ending right before the answer's letter."""
        stem, *options = item.content
        return self.template.opening + self.template.write(stem, [options[index] for index in self.order(item)])


def own_answer_texts(
    item: ChoiceItem | MultipleChoiceItem,
    answer: int,
    variant: OwnAnswers,
    listing: Listing | None = None,
) -> tuple[str | None, str | None]:
    """The positive and the negative text of one item; None where the variant has none on that side.

    Args:
        item: a question.
        answer: the index of the model's answer among `item.content[1:]`; 0 is the correct one.
        variant: how the texts are written.
        listing: how questions are listed (`pas_full`); the default where absent.

    Returns:
        Whole texts, to be read at their last token.

    Raises:
        ContrastError: an unknown variant, or an answer out of range.

    Example:
        >>> item = MultipleChoiceItem(id="q", stem="2 + 2 =", options=("3", "4", "5"), answer=1)
        >>> own_answer_texts(item, 2, "ipas_wrong_only")
        ('2 + 2 = 4', '2 + 2 = 5')
        >>> own_answer_texts(item, 2, "ipas_all")
        (None, '2 + 2 = 5')
    """
    stem, *options = item.content
    if variant not in get_args(OwnAnswers):
        raise ContrastError(f"variant {variant!r}; give one of {', '.join(get_args(OwnAnswers))}.")
    if not 0 <= answer < len(options):
        raise ContrastError(f"item {item.id!r}: answer {answer} of {len(options)} options; count from 0.")
    if variant == "pas_full":
        listed = (listing or Listing()).write(item)
        return (None, listed) if answer else (listed, None)
    positive, negative = f"{stem} {options[0]}", f"{stem} {options[answer or 1]}"
    if variant == "caa":
        return positive, f"{stem} {options[1]}"
    if not answer:
        return (positive, None) if variant == "ipas_all" else (None, None)
    return (None, negative) if variant == "ipas_all" else (positive, negative)
