"""Splits."""

import random

import pytest

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.splits import Splits, split_items
from lens_steer.errors import DataError

ITEMS = [ChoiceItem(id=f"q{i}", stem=f"stem {i}", matching="m", other="o") for i in range(100)]


def contents(split: tuple[ChoiceItem, ...]) -> set[tuple[str, str, str]]:
    return {item.content for item in split}


def test_the_splits_have_the_asked_sizes_and_hold_every_item_once() -> None:
    splits = split_items(ITEMS)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [40, 10, 50]
    together = splits.train + splits.validation + splits.test
    assert sorted(item.id for item in together) == sorted(item.id for item in ITEMS)


def test_the_split_does_not_depend_on_the_order_of_the_items_but_on_the_seed() -> None:
    shuffled = ITEMS.copy()
    random.Random(0).shuffle(shuffled)
    assert contents(split_items(ITEMS).train) == contents(split_items(shuffled).train)
    assert split_items(ITEMS).hash == split_items(ITEMS).hash
    assert contents(split_items(ITEMS, seed=1).train) != contents(split_items(ITEMS).train)
    assert split_items(ITEMS, seed=1).hash != split_items(ITEMS).hash


def test_items_of_the_same_content_never_fall_in_two_splits() -> None:
    twins = [ChoiceItem(id=f"twin{i}", stem=f"stem {i}", matching="m", other="o") for i in range(100)]
    splits = split_items(ITEMS + twins)
    assert not contents(splits.train) & contents(splits.test)
    assert not contents(splits.train) & contents(splits.validation)
    assert len(splits.train) == 80


def test_splits_that_share_a_content_are_refused() -> None:
    twin = ChoiceItem(id="twin", stem="stem 0", matching="m", other="o")
    with pytest.raises(DataError, match="item 'twin' of the test split says the same as item 'q0' of the train split"):
        Splits(train=(ITEMS[0],), validation=(), test=(twin,))


def test_fractions_that_are_no_whole_and_empty_sets_are_refused() -> None:
    with pytest.raises(DataError, match="sum to 1"):
        split_items(ITEMS, (0.5, 0.5, 0.5))
    with pytest.raises(DataError, match="no items to split"):
        split_items([])
