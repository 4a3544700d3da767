"""Contrast pairs: a positive and a negative completion of one prompt.

    prompt "... Answer: ("    letter:  positive "A"                         negative "B"
                              text:    positive "A) the matching option"    negative "B) the other option"
    prompt "... Answer:"      option:  positive " the matching option"      negative " the other option"

Source: Rimsky et al. 2024 (arXiv 2312.06681) for the letter pairs. Using both option orders is our addition; it cancels
the letter from the mean difference. The option pairs list no options and have no letters: they are the sequences that
scoring by the options' texts asks, with the options' own tokens where the letters' would be.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from lens_steer._util.shown import shown
from lens_steer.data.choices import ORDERS, ChoiceItem, ChoiceTemplate
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ContrastError


@shown()
@dataclass(frozen=True, kw_only=True)
class ContrastPair:
    """One prompt with a completion that shows the behaviour and one that does not.

    `group` names a nuisance difference of the completions, such as the letter of the matching option; balanced methods
    give every group the same weight. `question` is what pairs share that ask the same in several option orders; their
    labels are shuffled together, so that the letter stays balanced.
    """

    id: str
    prompt: str
    positive: str
    negative: str
    group: str = ""
    question: str = ""

    def swapped(self) -> "ContrastPair":
        """The pair with its sides exchanged."""
        return replace(self, positive=self.negative, negative=self.positive)


@shown()
@dataclass(frozen=True, kw_only=True)
class ContrastSet:
    """A named, ordered set of contrast pairs.

    Raises:
        ContrastError: there are no pairs, a completion is empty, or the two completions of a pair are equal.
    """

    name: str
    pairs: tuple[ContrastPair, ...]

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ContrastError(f"contrast set {self.name!r} has no pairs; give at least one with both sides.")
        for pair in self.pairs:
            for side in ("positive", "negative"):
                if not getattr(pair, side).strip():
                    raise ContrastError(
                        f"contrast set {self.name!r}, pair {pair.id!r}: the {side} side is empty; "
                        "a direction needs both sides of every pair."
                    )
            if pair.positive == pair.negative:
                raise ContrastError(
                    f"contrast set {self.name!r}, pair {pair.id!r}: both sides read {pair.positive!r}; "
                    "their difference would be zero. Give two different completions."
                )

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    @property
    def questions(self) -> tuple[tuple[int, ...], ...]:
        """The places of the pairs of each question; a pair without one is its own."""
        found: dict[object, list[int]] = {}
        for index, pair in enumerate(self.pairs):
            found.setdefault(pair.question or index, []).append(index)
        return tuple(map(tuple, found.values()))

    def swapped(self) -> "ContrastSet":
        """The set with the sides of every pair exchanged: what suppresses the behaviour is made of it."""
        return replace(self, pairs=tuple(pair.swapped() for pair in self.pairs))

    @property
    def hash(self) -> str:
        """sha256 of the pairs' texts in order; independent of the name, the ids and the groups."""
        rows = [[pair.prompt, pair.positive, pair.negative] for pair in self.pairs]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


Completion = Literal["letter", "text", "option"]
"""What a choice item's prompt is completed with."""
Contrast = ContrastSet | TextContrast | Sequence[str] | Sequence[tuple[str, str]] | Sequence[ContrastPair]
"""Input of `as_contrast`: a contrast, positive texts, (positive, negative) pairs of texts, or contrast pairs."""


def as_contrast(
    source: Contrast, negatives: Sequence[str] | None = None, paired: bool = False
) -> ContrastSet | TextContrast:
    """Makes a contrast from two lists of texts or from a list of pairs.

    Args:
        source: a list of positive texts (with `negatives`), of (positive, negative) pairs of texts, or of contrast
            pairs; a contrast is returned unchanged.
        negatives: negative texts; only with positive texts.
        paired: whether text i of both lists is a pair; pairs are always paired.

    Returns:
        A text contrast for unpaired lists, a contrast set for pairs; pairs of texts have an empty prompt.

    Raises:
        ContrastError: the source is of another kind; the message shows the call to write.

    Example:
        >>> as_contrast(["I love it."], ["I hate it.", "I loathe it."]).n
        3
        >>> [pair.negative for pair in as_contrast([("I love it.", "I hate it.")]).pairs]
        ['I hate it.']
    """
    if isinstance(source, ContrastSet | TextContrast):
        if negatives is not None:
            raise ContrastError(
                f"contrast {source.name!r} holds both sides, and negatives were given too; leave them out. Sites are "
                "named: extract(model, source, sites='resid_post@*')."
            )
        return source
    entries = _entries(source, "positives")
    if negatives is None:
        if all(isinstance(entry, ContrastPair) for entry in entries):
            return ContrastSet(name="contrast", pairs=tuple(entries))
        if any(isinstance(entry, str) for entry in entries):
            raise ContrastError(
                f"{len(entries)} texts without negatives; write extract(model, positives, negatives), or "
                "extract(model, [(positive, negative), ...])."
            )
        return _pairs([_pair(entry, index) for index, entry in enumerate(entries)])
    sides = _texts(entries, "positives"), _texts(_entries(negatives, "negatives"), "negatives")
    if not paired:
        return TextContrast(name="contrast", positive=sides[0], negative=sides[1])
    if len(sides[0]) != len(sides[1]):
        raise ContrastError(
            f"paired=True with {len(sides[0])} positives and {len(sides[1])} negatives; pairs need as many of both. "
            "Leave paired out to compare the means of two unpaired lists."
        )
    return _pairs(list(zip(*sides, strict=True)))


def shuffled_labels(contrast: ContrastSet | TextContrast, seed: int) -> ContrastSet | TextContrast:
    """The same texts with labels that say nothing: the control of a vector that the data, and not the labels, make.

    Args:
        contrast: pairs, of whose questions a random half is exchanged; or two lists, whose texts are dealt out anew.
        seed: the same seed gives the same labels.

    Returns:
        A contrast of the same sizes, named `shuffled labels SEED`.

    Example:
        >>> shuffled_labels(as_contrast(["a", "b"], ["c", "d"]), seed=1).negative
        ('c', 'b')
    """
    name, order = f"shuffled labels {seed}", shuffled_order(contrast, seed)
    if isinstance(contrast, TextContrast):
        texts, n = [*contrast.positive, *contrast.negative], len(contrast.positive)
        dealt = tuple(texts[index] for index in order)
        return replace(contrast, name=name, positive=dealt[:n], negative=dealt[n:])
    pairs = (pair.swapped() if order[2 * index] % 2 else pair for index, pair in enumerate(contrast.pairs))
    return ContrastSet(name=name, pairs=tuple(pairs))


def shuffled_order(contrast: ContrastSet | TextContrast, seed: int) -> list[int]:
    """Which text stands in each place once the labels are shuffled.

    Args:
        contrast: of pairs, whose texts are numbered 2i (positive) and 2i + 1; or of two lists, the positive one first.
        seed: the same seed gives the same order.

    Returns:
        A permutation of the texts' numbers.
    """
    rng = random.Random(seed)
    if isinstance(contrast, TextContrast):
        order = list(range(contrast.n))
        rng.shuffle(order)
        return order
    chosen = rng.sample(contrast.questions, len(contrast.questions) // 2)
    exchanged = {index for question in chosen for index in question}
    return [2 * index + (side ^ (index in exchanged)) for index in range(contrast.n) for side in (0, 1)]


def _pairs(pairs: Sequence[tuple[str, str]]) -> ContrastSet:
    """A contrast set of text pairs without a prompt; ids are their indices."""
    entries = (
        ContrastPair(id=str(index), prompt="", positive=positive, negative=negative)
        for index, (positive, negative) in enumerate(pairs)
    )
    return ContrastSet(name="contrast", pairs=tuple(entries))


def _entries(given: Any, side: str) -> list[Any]:
    """The entries of a list of texts or pairs; raises for anything else."""
    if isinstance(given, str | bytes | Mapping | Set) or not isinstance(given, Iterable):
        raise ContrastError(
            f"{side} are of type {type(given).__name__}; give lists of texts: extract(model, positives, negatives), or "
            "extract(model, [(positive, negative), ...]). Sites are named: sites='resid_post@*'."
        )
    entries = list(given)
    if not entries:
        raise ContrastError(f"there are no {side}; extract(model, positives, negatives) needs a text on each side.")
    return entries


def _texts(entries: Sequence[Any], side: str) -> tuple[str, ...]:
    """The texts; raises with the index of the first entry that is not a text."""
    for index, entry in enumerate(entries):
        if not isinstance(entry, str) or not entry.strip():
            raise ContrastError(
                f"{side}[{index}] is {entry!r}; every entry must be a text that is not empty. Leave others out, or "
                "write extract(model, positives, negatives) with two lists of texts."
            )
    return tuple(entries)


def _pair(entry: Any, index: int) -> tuple[str, str]:
    """A positive and a negative text; raises with the index of the entry."""
    if isinstance(entry, tuple | list) and len(entry) == 2:
        positive, negative = _texts(entry, f"pair {index}")
        return positive, negative
    raise ContrastError(
        f"entry {index} is {entry!r}; expected a pair (positive, negative) of texts: "
        "extract(model, [(positive, negative), ...]), or extract(model, positives, negatives) with two lists; "
        "of questions, extract(model, contrast_from_choices(name, questions))."
    )


def contrast_from_choices(
    name: str,
    items: Sequence[ChoiceItem],
    template: ChoiceTemplate | None = None,
    answer: Completion = "letter",
) -> ContrastSet:
    """Makes two contrast pairs of every item, one in each option order, grouped by the matching option's letter.

    Of `option`, which lists no options, one pair of every item, without a group.

    Args:
        name: the name of the set and of vectors extracted from it.
        items: the questions.
        template: the prompt format; the default template where absent.
        answer: complete with the letter alone ("letter"), with letter and option text ("text"), or a question that
            lists no options with an option's text ("option").

    Returns:
        A set of 2 * len(items) pairs, the two orders of an item adjacent; of len(items) where the answer is "option".

    Raises:
        ContrastError: there are no items, or an unknown answer.

    Source:
        Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition", arXiv 2312.06681.

    Example:
        >>> from lens_steer import ChoiceItem, contrast_from_choices
        >>> item = ChoiceItem(id="q1", stem="Which do you take?", matching="One now.", other="Ten later.")
        >>> pairs = contrast_from_choices("myopic", [item], answer="text").pairs
        >>> [pair.positive for pair in pairs]
        ['A) One now.', 'B) One now.']
    """
    if answer not in get_args(Completion):
        raise ContrastError(f"answer {answer!r}; give one of {', '.join(get_args(Completion))}.")
    template = template or ChoiceTemplate()
    if answer == "option":
        return ContrastSet(name=name, pairs=tuple(_option_pair(item, template) for item in items))
    pairs = []
    for item in items:
        for matching_first in ORDERS:
            sides = [
                template.letter(matching_first, side)
                if answer == "letter"
                else template.answer_text(item, matching_first, side)
                for side in (True, False)
            ]
            pairs.append(
                ContrastPair(
                    id=f"{item.id}/{'matching' if matching_first else 'other'}-first",
                    prompt=template.render(item, matching_first),
                    positive=sides[0],
                    negative=sides[1],
                    group=template.letter(matching_first, True),
                    question=item.id,
                )
            )
    return ContrastSet(name=name, pairs=tuple(pairs))


def _option_pair(item: ChoiceItem, template: ChoiceTemplate) -> ContrastPair:
    """The question without its options, and either option's text behind it."""
    return ContrastPair(
        id=item.id,
        prompt=template.question.format(stem=item.stem),
        positive=template.option.format(text=item.matching),
        negative=template.option.format(text=item.other),
    )
