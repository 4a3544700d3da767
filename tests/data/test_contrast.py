"""Contrast pairs and sets."""

import pytest

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastPair, ContrastSet, as_contrast, contrast_from_choices, shuffled_labels
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ContrastError

ITEM = ChoiceItem(id="q", stem="When?", matching="now", other="later")


def pair(positive: str = "yes", negative: str = "no") -> ContrastPair:
    return ContrastPair(id="p", prompt="Q: ", positive=positive, negative=negative)


def test_every_item_gives_two_pairs_so_that_each_letter_stands_on_each_side() -> None:
    letters = contrast_from_choices("x", [ITEM])
    assert [(p.positive, p.negative) for p in letters.pairs] == [("A", "B"), ("B", "A")]
    texts = contrast_from_choices("x", [ITEM], answer="text")
    assert [(p.positive, p.negative) for p in texts.pairs] == [("A) now", "B) later"), ("B) now", "A) later")]
    assert letters.n == texts.n == 2
    with pytest.raises(ContrastError, match="answer 'letters'; give one of letter, text, option"):
        contrast_from_choices("x", [ITEM], answer="letters")  # pyright: ignore[reportArgumentType]
    assert letters.pairs[0].prompt == "When?\n(A) now\n(B) later\nAnswer: ("


def test_an_options_pair_is_the_sequence_that_scoring_by_texts_asks_and_lists_no_options() -> None:
    (found,) = contrast_from_choices("x", [ITEM], answer="option").pairs
    assert (found.prompt, found.positive, found.negative) == ("When?\nAnswer:", " now", " later")


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ContrastError, match="'x' has no pairs"):
        contrast_from_choices("x", [])


def test_a_one_sided_pair_is_refused_by_name() -> None:
    with pytest.raises(ContrastError, match="pair 'p': the negative side is empty"):
        ContrastSet(name="x", pairs=(pair(negative=""),))
    with pytest.raises(ContrastError, match="pair 'p': the positive side is empty"):
        ContrastSet(name="x", pairs=(pair(positive=" "),))


def test_a_pair_whose_sides_are_the_same_is_refused() -> None:
    with pytest.raises(ContrastError, match="both sides read 'no'"):
        ContrastSet(name="x", pairs=(pair(positive="no"),))


def test_the_hash_follows_the_texts_and_not_the_names() -> None:
    first = ContrastSet(name="x", pairs=(pair(),))
    renamed = ContrastSet(name="y", pairs=(ContrastPair(id="other", prompt="Q: ", positive="yes", negative="no"),))
    changed = ContrastSet(name="x", pairs=(pair(negative="never"),))
    assert first.hash == renamed.hash != changed.hash


def test_shuffled_labels_keep_the_texts_and_the_sizes_and_exchange_half_of_the_pairs() -> None:
    lists = as_contrast(["a", "b", "c"], ["d", "e"])
    found = shuffled_labels(lists, seed=4)
    assert isinstance(found, TextContrast) and (len(found.positive), len(found.negative)) == (3, 2)
    assert sorted([*found.positive, *found.negative]) == list("abcde") and found.name == "shuffled labels 4"
    pairs = as_contrast([(f"+{i}", f"-{i}") for i in range(10)])
    mixed = shuffled_labels(pairs, seed=4)
    assert isinstance(mixed, ContrastSet) and isinstance(pairs, ContrastSet)
    assert sum(pair.positive.startswith("-") for pair in mixed.pairs) == 5
    assert [{p.positive, p.negative} for p in mixed.pairs] == [{p.positive, p.negative} for p in pairs.pairs]
    assert shuffled_labels(pairs, seed=4) == mixed != shuffled_labels(pairs, seed=5)


def test_labels_of_both_orders_of_a_question_are_shuffled_together_so_that_letters_stay_balanced() -> None:
    items = [ChoiceItem(id=f"q{i}", stem="When?", matching=f"now {i}", other=f"later {i}") for i in range(10)]
    contrast = contrast_from_choices("x", items, answer="text")
    assert contrast.questions == tuple((2 * i, 2 * i + 1) for i in range(10))
    for seed in range(5):
        mixed = shuffled_labels(contrast, seed)
        assert isinstance(mixed, ContrastSet)
        exchanged = ["later" in pair.positive for pair in mixed.pairs]
        assert exchanged[::2] == exchanged[1::2] and sum(exchanged) == 10
        assert sum(pair.positive.startswith("A") for pair in mixed.pairs) == 10
