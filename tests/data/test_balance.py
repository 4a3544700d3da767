"""Balance of option letters and texts, near duplicates, and splits that see them."""

import random
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from lens_steer.data.balance import balanced, imbalance, option_contrast
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.duplicates import near_duplicates
from lens_steer.data.splits import SPLITS, Splits, split_items
from lens_steer.errors import DataError


def pair(i: int, matching: str = "Yes", other: str = "No", stem: str = "") -> ChoiceItem:
    return ChoiceItem(id=f"q{i}", stem=stem or f"Is number {i} so?", matching=matching, other=other)


def item(i: int, options: tuple[str, ...], answer: int, **more: Any) -> MultipleChoiceItem:
    return MultipleChoiceItem(id=f"q{i}", stem=f"Is number {i} so?", options=options, answer=answer, **more)


def test_the_share_of_each_letter_text_and_first_word_is_that_of_the_data() -> None:
    items = [item(i, ("Yes, I do", "No!"), 0) for i in range(9)] + [item(9, ("no", "other"), 1)]
    rows = {(row.factor, row.value): row for row in imbalance(items).itertuples()}
    one, no = rows["order", "A"], rows["text", "no"]
    assert (one.offered, one.matching, one.share) == (10, 9, 0.9)
    assert (no.offered, no.matching, no.expected) == (10, 0, 0.5)
    assert rows["word", "yes"].excess == 0.5 and ("text", "other") not in rows
    three = imbalance([item(i, ("a", "b", "c"), i % 3) for i in range(9)])
    assert three["excess"].abs().max() < 1e-12 and len(three) == 9


def test_a_balanced_set_loses_only_what_tips_it() -> None:
    items = [pair(i) for i in range(30)] + [pair(i, "No", "Yes") for i in range(30, 40)]
    items += [pair(i, f"one {i}", f"two {i}") for i in range(40, 45)]
    found = balanced(items)
    assert Counter(one.matching for one in found if one.matching in ("Yes", "No")) == {"Yes": 10, "No": 10}
    assert found == tuple(one for one in items if one in set(found)) and set(items[40:]) <= set(found)
    assert balanced(items) == found != balanced(items, seed=1)
    assert balanced(found) == found
    with pytest.raises(DataError, match=r"is the matching answer in .* of 30 questions, so no balanced subset exists"):
        balanced(items[:30])


def test_texts_of_answers_that_begin_alike_are_balanced_by_their_first_word() -> None:
    items = [pair(i, f"Yes, {i} is", f"No, not {i}") for i in range(30)]
    items += [pair(i, f"No, never {i}", f"Yes, {i}") for i in range(30, 50)]
    found = balanced(items)
    assert Counter(one.matching.split(",")[0] for one in found) == {"Yes": 20, "No": 20}


def test_options_change_places_so_that_each_letter_answers_equally_often_and_nothing_is_lost() -> None:
    items = [item(i, (f"a{i}", f"b{i}", f"c{i}"), 0, others=(2,), roles=("x", "y", "z")) for i in range(31)]
    found = balanced(items)
    assert sorted(Counter(one.answer for one in found).values()) == [10, 10, 11]
    for before, after in zip(items, found, strict=True):
        assert set(before.options) == set(after.options)
        assert before.choice_items() == after.choice_items()
        assert after.roles[after.answer] == "x" and after.roles[after.others[0]] == "z"
    assert balanced(items, by=()) == tuple(items)


SAME = [
    "I like the green tea of my aunt.",
    "i like  the GREEN tea of my aunt",
    "I like the green tea of my uncle.",
    "The road to Rome is closed on Monday.",
    "Nobody has seen a whale in this lake.",
    "Her letters came late that winter.",
]


def test_near_duplicates_differ_in_case_spaces_punctuation_order_of_options_or_a_word() -> None:
    assert near_duplicates(SAME, 1) == ((0, 1),)
    assert near_duplicates(SAME, 0.7) == ((0, 1, 2),)
    swapped = [
        pair(0, stem="Is it so?"),
        pair(1, "No.", " yes", stem="is it so"),
        pair(2, "Maybe", "No", stem="Is it so?"),
    ]
    assert near_duplicates(swapped, 1) == ((0, 1),)
    assert near_duplicates([item(0, ("a", "b", "c"), 0), MultipleChoiceItem(
        id="x", stem="Is number 0 so?", options=("C", "a", "b"), answer=1)], 1) == ((0, 1),)  # fmt: skip
    assert near_duplicates(["茶が好きです", "茶が好きだ", "道は遠い", "雨", "山の上", "海"], 0.5) == ((0, 1),)
    with pytest.raises(DataError, match="threshold 0"):
        near_duplicates(SAME, 0)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_the_index_finds_the_pairs_that_comparing_all_finds(threshold: float) -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 14))) for _ in range(300)]
    counts = Counter(word for text in texts for word in set(text.split()))
    words = [{word for word in text.split() if counts[word] <= 150} for text in texts]
    group = list(range(300))
    for i, j in combinations(range(300), 2):
        if texts[i] == texts[j] or (words[i] and len(words[i] & words[j]) >= threshold * len(words[i] | words[j])):
            group = [group[i] if one == group[j] else one for one in group]
    members = [tuple(i for i in range(300) if group[i] == one) for one in sorted(set(group))]
    assert near_duplicates(texts, threshold) == tuple(sorted(one for one in members if len(one) > 1))


def test_near_duplicates_stand_in_one_split_and_are_counted() -> None:
    rng = random.Random(1)
    stems = [" ".join(f"w{rng.randrange(900)}" for _ in range(12)) for _ in range(60)]
    items = [pair(i, f"a{i}", f"b{i}", stem) for i, stem in enumerate(stems)]
    items += [pair(100 + i, f"B{i}", f"A{i}.", stem.upper() + "?") for i, stem in enumerate(stems[:20])]
    items += [
        pair(200 + i, f"a{i}", f"b{i}", " ".join(["other", *stem.split()[1:]])) for i, stem in enumerate(stems[:20])
    ]
    splits = split_items(items)
    of = {one.id: split for split in SPLITS for one in getattr(splits, split)}
    assert all(of[f"q{i}"] == of[f"q{100 + i}"] == of[f"q{200 + i}"] for i in range(20))
    assert splits.near_duplicates == 60 and len(of) == 100
    assert abs(len(splits.train) - 40) <= 2
    alone = split_items(items, near=None)
    assert alone.near_duplicates == 0 and [len(alone.train), len(alone.validation), len(alone.test)] == [40, 10, 50]
    where = {one.id: split for split in SPLITS for one in getattr(alone, split)}
    assert any(where[f"q{i}"] != where[f"q{100 + i}"] for i in range(20))


def test_without_near_duplicates_the_splits_are_those_of_the_contents() -> None:
    items = [pair(i, f"a{i}", f"b{i}") for i in range(50)]
    assert split_items(items) == split_items(items, near=None)


def test_questions_with_several_options_are_split_too() -> None:
    splits = split_items([item(i, ("a", "b", "c"), i % 3) for i in range(20)])
    assert isinstance(splits, Splits) and len(splits.train) == 8 and len(splits.train[0].options) == 3


def test_a_contrast_of_the_option_texts_holds_as_many_of_either_answer() -> None:
    yes = [ChoiceItem(id=f"y{i}", stem=f"{i}?", matching="Yes.", other="no") for i in range(30)]
    no = [ChoiceItem(id=f"n{i}", stem=f"{i}!", matching="No", other="yes") for i in range(10)]
    odd = [ChoiceItem(id=f"o{i}", stem=f"odd {i}", matching=f"this {i}", other=f"that {i}") for i in range(15)]
    contrast = option_contrast([*yes, *no, *odd], answer="letter")
    assert contrast.name == "no - yes" and len(contrast.pairs) == 2 * 20
    assert sum(pair.id.startswith("y") for pair in contrast.pairs) == 20, "half of the items match Yes"
    for pair in contrast.pairs:
        first = "(a) no" in pair.prompt.lower()
        assert (pair.positive, pair.negative) == (("A", "B") if first else ("B", "A"))
    with pytest.raises(DataError, match="no two option texts stand in several questions"):
        option_contrast(odd)
    with pytest.raises(DataError, match="no balanced subset exists"):
        option_contrast(yes)
