"""Contrasts made of a model's own answers to a labelled multiple-choice data set: nobody writes prompts.

C, W: items that the model answers right and wrong; y_i the correct option, a_i the model's answer; P the prompt that
lists all options and ends before the answer; mean over items of the last token's activation h

    pas_full         mean over C of h(P_i)           - mean over W of h(P_i)             the questions differ
    ipas_all         mean over C of h(q_i + " " y_i) - mean over W of h(q_i + " " a_i)   the questions differ
    ipas_wrong_only  mean over W of [h(q_i + " " y_i) - h(q_i + " " a_i)]                pairs
    caa              mean over all of [h(q_i + " " y_i) - h(q_i + " " o_i)]           pairs; o_i: the first other option

Source: Cui & Chen 2025 (arXiv 2509.22739), section 2: PASf, iPASa and iPASwo. `caa` is the static pair of Panickssery
et al. 2023 (arXiv 2312.06681) on the same data, which that paper lacks. The authors' code shuffles all questions of a
run in the same way, so that one letter is right throughout wherever a data set puts the answer first; here each item is
shown in an order of its own, drawn from its content and a seed.
"""

import random
from typing import Literal, get_args

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.errors import ContrastError

OwnAnswers = Literal["pas_full", "ipas_all", "ipas_wrong_only", "caa"]


def shown_order(item: ChoiceItem | MultipleChoiceItem, seed: int = 0) -> tuple[int, ...]:
    """The order in which an item's options are listed: a permutation drawn from the item's content and a seed.

    Args:
        item: a question.
        seed: another seed draws other orders.

    Returns:
        Indices of options, 0 the correct one, in the order of the list.
    """
    order = list(range(len(item.content) - 1))
    random.Random(f"{seed}:{item.content}").shuffle(order)
    return tuple(order)


def own_answer_texts(
    item: ChoiceItem | MultipleChoiceItem,
    answer: int,
    variant: OwnAnswers,
    template: ChoiceTemplate | None = None,
    seed: int = 0,
) -> tuple[str | None, str | None]:
    """The positive and the negative text of one item; None where the variant has none on that side.

    Args:
        item: a question.
        answer: the index of the model's answer among `item.content[1:]`; 0 is the correct one.
        variant: how the texts are written.
        template: how questions are listed (`pas_full`); the default template where absent.
        seed: of the order in which options are listed.

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
        listed = (template or ChoiceTemplate()).write(stem, [options[i] for i in shown_order(item, seed)])
        return (None, listed) if answer else (listed, None)
    positive, negative = f"{stem} {options[0]}", f"{stem} {options[answer or 1]}"
    if variant == "caa":
        return positive, f"{stem} {options[1]}"
    if not answer:
        return (positive, None) if variant == "ipas_all" else (None, None)
    return (None, negative) if variant == "ipas_all" else (positive, negative)
