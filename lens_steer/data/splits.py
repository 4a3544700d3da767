"""Train, validation and test splits that never share an item.

    rank(item) = sha256(seed, stem, matching, other);   lowest ranks: train, then validation, then test

The splits depend on the content of the items and the seed, not on their order or ids. Items of equal content, and near
duplicates (which differ in punctuation, case, option order or a few words), are always in the same split: a group has
the lowest rank of its members, and a group at a boundary is assigned to the earlier split.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.duplicates import near_duplicates
from lens_steer.errors import DataError

Item = TypeVar("Item", bound=ChoiceItem | MultipleChoiceItem)
SPLITS = ("train", "validation", "test")


@shown()
@dataclass(frozen=True, kw_only=True)
class Splits(Generic[Item]):
    """Three splits of one set of items: fit on train, choose on validation, report on test.

    `near_duplicates` counts the items that have a near duplicate; each group of them is in one split.

    Raises:
        DataError: an item's content is in two splits.
    """

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]
    near_duplicates: int = 0

    def __post_init__(self) -> None:
        seen: dict[tuple[str, ...], tuple[str, str]] = {}
        for split in SPLITS:
            for item in getattr(self, split):
                where, who = seen.setdefault(item.content, (split, item.id))
                if where != split:
                    raise DataError(
                        f"item {item.id!r} of the {split} split says the same as item {who!r} of the {where} split; "
                        "leave one of them out, or make the splits with split_items."
                    )

    @property
    def hash(self) -> str:
        """sha256 of the items of each split, in order."""
        content = {split: [item.content for item in getattr(self, split)] for split in SPLITS}
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def split_items(
    items: Sequence[Item],
    fractions: tuple[float, float, float] = (0.4, 0.1, 0.5),
    seed: int = 0,
    near: float | int | None = 0.8,
) -> Splits[Item]:
    """Splits items by a hash of their content, so that their order does not matter.

    Args:
        items: the questions.
        fractions: the shares of train, validation and test; they sum to 1.
        seed: the same items and seed give the same splits.
        near: items whose words have at least this Jaccard similarity (without words that most items have) go to the
            same split; 1 groups only items with the same words, `None` only items of equal content.

    Returns:
        The three splits, each in the order of `items`. Sizes are the rounded fractions of the distinct contents, plus
        the members of a group of near duplicates that cross a boundary.

    Raises:
        DataError: no items, or fractions that are negative or do not sum to 1.

    Source:
        40/10/50 is the split of Tan et al. 2024 (arXiv 2407.12404).

    Example:
        >>> from lens_steer.lab.items import open_items
        >>> splits = split_items(open_items("myopic", 50, split="train"))
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (20, 5, 25)
    """
    if not items:
        raise DataError("no items to split; give at least one.")
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise DataError(f"fractions are {fractions}; give three shares >= 0 that sum to 1.")
    groups = near_duplicates(items, near) if near is not None else ()
    group_of = {items[i].content: group for group in groups for i in group}
    ranked = sorted({item.content for item in items}, key=lambda content: (_rank(content, seed), content))
    first, second = round(len(ranked) * fractions[0]), round(len(ranked) * (fractions[0] + fractions[1]))
    split_of: dict[tuple[str, ...], int] = {}
    for content in ranked:
        if content not in split_of:
            place = len(split_of)
            split = 0 if place < first else 1 if place < second else 2
            split_of |= dict.fromkeys([content, *(items[i].content for i in group_of.get(content, ()))], split)
    splits = [tuple(item for item in items if split_of[item.content] == split) for split in range(3)]
    return Splits(train=splits[0], validation=splits[1], test=splits[2], near_duplicates=sum(map(len, groups)))


def _rank(content: tuple[str, ...], seed: int) -> str:
    """Sort key of an item in the order given by a seed."""
    return hashlib.sha256(json.dumps([seed, *content], ensure_ascii=False).encode()).hexdigest()
