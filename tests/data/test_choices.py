"""Choice items and their template."""

import pytest

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.errors import DataError

ITEM = ChoiceItem(id="q", stem="Now or {later}?", matching="now", other="later")


def test_the_prompt_ends_right_before_the_letter_in_both_orders() -> None:
    template = ChoiceTemplate()
    assert template.render(ITEM, matching_first=True) == "Now or {later}?\n(A) now\n(B) later\nAnswer: ("
    assert template.render(ITEM, matching_first=False) == "Now or {later}?\n(A) later\n(B) now\nAnswer: ("


def test_the_answer_names_the_letter_under_which_its_option_stands() -> None:
    template = ChoiceTemplate()
    found = [template.answer_text(ITEM, order, side) for order in (True, False) for side in (True, False)]
    assert found == ["A) now", "B) later", "B) now", "A) later"]


@pytest.mark.parametrize("field", ["id", "stem", "matching", "other"])
def test_an_empty_text_is_refused_by_name(field: str) -> None:
    texts = {"id": "q", "stem": "s", "matching": "m", "other": "o"}
    with pytest.raises(DataError, match=f"{field} is ' '; write a text that is not empty"):
        ChoiceItem(**{**texts, field: " "})


def test_two_equal_options_are_refused() -> None:
    with pytest.raises(DataError, match="both options read 'same'"):
        ChoiceItem(id="q", stem="s", matching="same", other="same ")


def test_a_template_with_wrong_placeholders_or_letters_is_refused() -> None:
    with pytest.raises(DataError, match=r"it needs exactly \{options\}, \{stem\} or \{first\}, \{second\}, \{stem\}"):
        ChoiceTemplate(prompt="{stem} {first}")
    with pytest.raises(DataError, match="cannot be read"):
        ChoiceTemplate(prompt="{stem} {first} {second} {")
    with pytest.raises(DataError, match="give two different letters"):
        ChoiceTemplate(letters=("A", "A"))
