"""Label imbalance: option letters and texts that match the behaviour more often than chance, and balanced subsets.

    share(value) = matching answers with this value / options with it     expected = mean of 1 / n_options of the items

If "Yes" matches in 90 % of the questions, a vector made from them contrasts Yes with No rather than the trait. A value
is the letter of an option (A, B, ...), its text where several questions have it, or its first word. Texts are compared
without case, spaces and punctuation.
Source: Tan et al. 2024 (arXiv 2407.12404) balance A/B and Yes/No in training sets; first words are our addition.
"""

import hashlib
import re
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import pandas as pd

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.data.contrast import ContrastSet, contrast_from_choices
from lens_steer.errors import DataError

Item = TypeVar("Item", ChoiceItem, MultipleChoiceItem)
Factor = Literal["order", "text"]
Value = tuple[str, str]
_WORD = re.compile(r"[^\W_]+")


def imbalance(items: Sequence[ChoiceItem | MultipleChoiceItem], least: int = 5) -> pd.DataFrame:
    """How often each letter, option text and first word of an option is the matching answer.

    Args:
        items: the questions; two-choice items have no option order, so no rows for letters.
        least: leave out texts and words that occur in fewer questions.

    Returns:
        Columns factor ("order", "text", "word"), value, offered (questions), matching (questions), share, expected
        (share without imbalance), excess (share - expected); sorted by absolute excess within each factor.

    Raises:
        DataError: no items.

    Example:
        >>> items = [ChoiceItem(id=str(i), stem=f"{i}?", matching="Yes", other="No") for i in range(8)]
        >>> imbalance(items)[["factor", "value", "share"]].values.tolist()[:2]
        [['text', 'no', 0.0], ['text', 'yes', 1.0]]
    """
    if not items:
        raise DataError("no items; give at least one.")
    offered: Counter[tuple[str, str]] = Counter()
    matching: Counter[tuple[str, str]] = Counter()
    chance: defaultdict[tuple[str, str], float] = defaultdict(float)
    for item in items:
        options, answer = _options(item)
        for place, option in enumerate(options):
            names = [("text", normal(option)), ("word", _first(option))]
            if isinstance(item, MultipleChoiceItem):
                names.append(("order", string.ascii_uppercase[place]))
            for name in names:
                offered[name] += 1
                matching[name] += place == answer
                chance[name] += 1 / len(options)
    rows = [
        {
            "factor": factor, "value": value, "offered": n, "matching": matching[factor, value],
            "share": matching[factor, value] / n, "expected": chance[factor, value] / n,
        }
        for (factor, value), n in offered.items()
        if factor == "order" or (n >= least and value)
    ]  # fmt: skip
    names = ["factor", "value", "offered", "matching", "share", "expected"]
    frame = pd.DataFrame(rows, columns=names).assign(excess=lambda table: table["share"] - table["expected"])
    keys = {"by": ["factor", "size", "value"], "ascending": [True, False, True]}
    return frame.assign(size=frame["excess"].abs()).sort_values(**keys).drop(columns="size").reset_index(drop=True)


def balanced(
    items: Sequence[Item], by: Sequence[Factor] = ("text", "order"), seed: int = 0, least: int = 10
) -> tuple[Item, ...]:
    """A subset in which neither option text nor option order predicts the answer.

    "text": each recurring option text and first word is the matching answer as often as expected by chance, within half
    a question; items are removed greedily, each time the one that lowers the sum of absolute excesses most. "order":
    options are reordered so that each letter is the answer equally often; no item is removed.

    Args:
        items: the questions.
        by: what to balance; "order" does not change two-choice items, which have no order.
        seed: breaks ties between equally good items and assigns items to letters.
        least: balance texts and words that occur in at least this many questions.

    Returns:
        The remaining items, in the given order.

    Raises:
        DataError: no item would remain, for example because "Yes" always matches.

    Example:
        >>> items = [ChoiceItem(id=str(i), stem=f"{i}?", matching="Yes", other="No") for i in range(30)]
        >>> items += [ChoiceItem(id=str(i), stem=f"{i}?", matching="No", other="Yes") for i in range(30, 40)]
        >>> len(balanced(items))
        20
    """
    chosen = list(items)
    if "text" in by:
        kept = _without_excess([_shares(item) for item in items], [_rank(item, seed) for item in items], least)
        chosen = [items[index] for index in kept]
        if not chosen:
            worst = imbalance(items).query("factor != 'order'").iloc[0]
            raise DataError(
                f"{len(items)} items: {worst['value']!r} is the matching answer in {worst['matching']} of "
                f"{worst['offered']} questions, so no balanced subset exists; add questions with another answer."
            )
    return tuple(_ordered(chosen, seed) if "order" in by else chosen)


def option_contrast(
    items: Sequence[ChoiceItem], template: ChoiceTemplate | None = None, answer: Literal["letter", "text"] = "text"
) -> ContrastSet:
    """A contrast of the two commonest option texts, such as Yes and No, whatever they say about the behaviour.

    It is made of a balanced subset, in which either text matches equally often, so that the behaviour cancels. What a
    behaviour's vector owes to the option texts is its part along the vector of this contrast:
    `vector.without(extract(model, option_contrast(items)))` is the residual.

    Args:
        items: the questions.
        template: how they are written; the default template where absent.
        answer: complete with the letter alone, or with the letter and the option's text.

    Returns:
        Pairs of the same prompt, completed by the first text and by the second, in alphabetical order.

    Raises:
        DataError: no two texts stand as the options of several questions, or one of them always matches.

    Source:
        Tan et al. 2024 (arXiv 2407.12404) name the bias; taking it out by projection is our addition.

    Example:
        >>> items = [ChoiceItem(id=str(i), stem=f"{i}?", matching="Yes", other="No") for i in range(20)]
        >>> items += [ChoiceItem(id=str(i), stem=f"{i}?", matching="No", other="Yes") for i in range(20, 40)]
        >>> pair = option_contrast(items).pairs[0]
        >>> pair.positive, pair.negative
        ('A) No', 'B) Yes')
    """
    pairs = Counter(tuple(sorted((normal(item.matching), normal(item.other)))) for item in items)
    texts, n = pairs.most_common(1)[0] if pairs else (("", ""), 0)
    if n < 2:
        raise DataError(
            f"{len(items)} items: no two option texts stand in several questions; there is nothing to part."
        )
    same = [item for item in items if {normal(item.matching), normal(item.other)} == set(texts)]
    swapped = [
        item if normal(item.matching) == texts[0] else replace(item, matching=item.other, other=item.matching)
        for item in balanced(same, by=("text",), least=1)
    ]
    return contrast_from_choices(" - ".join(texts), swapped, template, answer)


def _without_excess(shares: Sequence[dict[Value, float]], ranks: Sequence[str], least: int) -> list[int]:
    """Indices that remain once no recurring value is the answer more or less often than chance by half a question."""
    offered = Counter(value for share in shares for value in share)
    excess = {value: 0.0 for value, n in offered.items() if n >= least and value[1]}
    holders: dict[Value, set[int]] = {value: set() for value in excess}
    for index, share in enumerate(shares):
        for value in share.keys() & excess.keys():
            excess[value] += share[value]
            holders[value].add(index)
    kept = set(range(len(shares)))
    while excess and abs(excess[worst := max(excess, key=lambda value: (abs(excess[value]), value))]) > 0.5 - 1e-9:

        def after(index: int) -> tuple[float, str]:
            changed = shares[index].keys() & excess.keys()
            return sum(abs(excess[v] - shares[index][v]) - abs(excess[v]) for v in changed), ranks[index]

        drop = min((i for i in holders[worst] if shares[i][worst] * excess[worst] > 0), key=after)
        kept.discard(drop)
        for value in shares[drop].keys() & excess.keys():
            excess[value] -= shares[drop][value]
            holders[value].discard(drop)
    return sorted(kept)


def _shares(item: ChoiceItem | MultipleChoiceItem) -> dict[Value, float]:
    """Excess over chance of each text and first word in one item: 1 - 1/n for the answer, -1/n for other options."""
    options, answer = _options(item)
    found: defaultdict[Value, float] = defaultdict(float)
    for place, option in enumerate(options):
        for value in (("text", normal(option)), ("word", _first(option))):
            found[value] += (place == answer) - 1 / len(options)
    return {value: share for value, share in found.items() if abs(share) > 1e-9}


def normal(text: str) -> str:
    """A text without case and punctuation, for comparison; a text without letters or digits is only stripped."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip()


def _first(option: str) -> str:
    return normal(option).split(" ")[0]


def _options(item: ChoiceItem | MultipleChoiceItem) -> tuple[tuple[str, ...], int]:
    """The options, and the index of the matching one."""
    if isinstance(item, ChoiceItem):
        return (item.matching, item.other), 0
    return item.options, item.answer


def _ordered(items: Sequence[Item], seed: int) -> list[Item]:
    """Items reordered so that the answer has each letter equally often, per number of options and first word."""
    places: Counter[tuple[int, str, int]] = Counter()
    found: dict[int, Item] = {}
    for index in sorted(range(len(items)), key=lambda i: _rank(items[i], seed)):
        item = items[index]
        if isinstance(item, MultipleChoiceItem):
            n, word = len(item.options), _first(item.options[item.answer])
            place = min(range(n), key=lambda place: (places[n, word, place], places[n, "", place], place))
            places.update([(n, word, place), (n, "", place)])
            order = [(i + item.answer - place) % n for i in range(n)]
            item = replace(
                item,
                options=tuple(item.options[i] for i in order),
                answer=place,
                others=tuple(order.index(i) for i in item.others),
                roles=tuple(item.roles[i] for i in order) if item.roles else (),
            )
        found[index] = item
    return [found[index] for index in range(len(items))]


def _rank(item: ChoiceItem | MultipleChoiceItem, seed: int) -> str:
    """Sort key of an item in the order given by a seed."""
    return hashlib.sha256("\0".join([str(seed), *item.content]).encode()).hexdigest()
