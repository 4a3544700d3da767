"""Choice items and the template that writes them as prompts.

    prompt(item, order) = "{stem}\\n(A) {first}\\n(B) {second}\\nAnswer: ("     answer = "A) {text of the option}"
    question(item)      = "{stem}\\nAnswer:"                                     option = " {text of the option}"

A choice item holds the stem and two option texts, without letters or order, so that it can be scored in both orders and
position bias cancels. A multiple-choice item is a question as published, with two or more ordered options;
`choice_items` contrasts its answer with another option.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from lens_steer._util.shown import shown
from lens_steer.errors import DataError

ORDERS: tuple[bool, bool] = (True, False)
"""The two option orders of every item: matching option first, then matching option second."""


@shown()
@dataclass(frozen=True, kw_only=True)
class ChoiceItem:
    """A two-choice question without letters: `matching` shows the behaviour, `other` does not.

    Raises:
        DataError: a text is empty or the two options are the same.
    """

    id: str
    stem: str
    matching: str
    other: str

    def __post_init__(self) -> None:
        for field in ("id", "stem", "matching", "other"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"choice item {self.id!r}: {field} is {value!r}; write a text that is not empty.")
        if self.matching.strip() == self.other.strip():
            raise DataError(
                f"choice item {self.id!r}: both options read {self.matching!r}; "
                "an item needs two different options, one of which matches the behaviour."
            )

    @property
    def content(self) -> tuple[str, str, str]:
        """The texts without the id; items with equal content are the same item."""
        return (self.stem, self.matching, self.other)


@shown()
@dataclass(frozen=True, kw_only=True)
class MultipleChoiceItem:
    """A question with 2 to 26 options in published order; `options[answer]` is correct or shows the behaviour.

    `others` are indices of the options to contrast with the answer; empty means all others. `roles` labels each option
    (BBQ: the social group it refers to), `group` the condition of the question, `category` its subject.

    Raises:
        DataError: a text is empty, the number of options is not 2 to 26, an index is out of range, or the answer equals
            an option it is contrasted with.
    """

    id: str
    stem: str
    options: tuple[str, ...]
    answer: int
    others: tuple[int, ...] = ()
    category: str = ""
    group: str = ""
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"choice item {self.id!r}"
        for text in (self.id, self.stem, *self.options):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"{where}: the id, the stem or an option is {text!r}; write texts that are not empty.")
        n = len(self.options)
        if not 2 <= n <= len(string.ascii_uppercase):
            raise DataError(f"{where}: {n} options; a question needs 2 to 26.")
        for index in (self.answer, *self.others):
            if not 0 <= index < n:
                raise DataError(f"{where}: option {index} of {n} does not exist; count from 0.")
        if self.answer in self.others or (self.roles and len(self.roles) != n):
            raise DataError(
                f"{where}: others {self.others} hold the answer, or {len(self.roles)} roles for {n} options."
            )
        same = [i for i in self.contrasted if self.options[i].strip() == self.options[self.answer].strip()]
        if same:
            which = "both options" if n == 2 else f"options {sorted([self.answer, *same])}"
            raise DataError(
                f"{where}: {which} read {self.options[self.answer]!r}; the answer must differ from the options that it "
                "is contrasted with."
            )

    @property
    def contrasted(self) -> tuple[int, ...]:
        """The options that the answer is contrasted with: `others`, or all but the answer."""
        return self.others or tuple(i for i in range(len(self.options)) if i != self.answer)

    @property
    def content(self) -> tuple[str, ...]:
        """The texts without the id: the stem, the answer, the other options in order."""
        return (self.stem, self.options[self.answer], *(o for i, o in enumerate(self.options) if i != self.answer))

    def choice_items(self) -> tuple[ChoiceItem, ...]:
        """One two-choice item per contrasted option; ids get the suffix `/<letter>` where there are several.

        Example:
            >>> item = MultipleChoiceItem(id="q", stem="2 + 2?", options=("3", "4", "5"), answer=1)
            >>> [(pair.id, pair.matching, pair.other) for pair in item.choice_items()]
            [('q/A', '4', '3'), ('q/C', '4', '5')]
        """
        several = len(self.contrasted) > 1
        return tuple(
            ChoiceItem(
                id=f"{self.id}/{string.ascii_uppercase[i]}" if several else self.id,
                stem=self.stem,
                matching=self.options[self.answer],
                other=self.options[i],
            )
            for i in self.contrasted
        )


@dataclass(frozen=True, kw_only=True)
class ChoiceTemplate:
    """How a choice item is written.

    `prompt` lists the options, one a `line`, and ends right before the letter, which is one token; `answer` is what
    follows it in full. `question` lists none: each `option` continues it by its text. `alone` is what a question
    leaves when it is taken away. In a chat, the last line of a prompt begins the assistant's answer. `system` stands
    before all: the system message of a chat, a first line of plain text.

    Raises:
        DataError: a field has an unknown placeholder or lacks one, or the letters are equal.
    """

    prompt: str = "{stem}\n{options}\nAnswer: ("
    line: str = "({letter}) {text}"
    letters: tuple[str, ...] = ("A", "B")
    answer: str = "{letter}) {text}"
    question: str = "{stem}\nAnswer:"
    option: str = " {text}"
    alone: str = "Answer:"
    system: str = ""

    def __post_init__(self) -> None:
        _check_placeholders("prompt", self.prompt, {"stem", "options"}, {"stem", "first", "second"})
        _check_placeholders("line", self.line, {"letter", "text"})
        _check_placeholders("answer", self.answer, {"letter", "text"})
        _check_placeholders("question", self.question, {"stem"})
        _check_placeholders("option", self.option, {"text"})
        _check_placeholders("alone", self.alone, set())
        if len(self.letters) < 2 or not all(self.letters) or len(set(self.letters)) < len(self.letters):
            raise DataError(f"template letters are {self.letters!r}; give two different letters, such as ('A', 'B').")

    def letters_of(self, n: int) -> tuple[str, ...]:
        """The letters of a question with `n` options: the template's own, or A, B, C, ... where it has fewer."""
        if not 2 <= n <= len(string.ascii_uppercase):
            raise DataError(f"{n} options; a question needs 2 to 26.")
        return self.letters[:n] if n <= len(self.letters) else tuple(string.ascii_uppercase[:n])

    def write(self, stem: str, options: Sequence[str]) -> str:
        """A prompt that lists options, ending right before the answer's letter.

        Args:
            stem: the question.
            options: their texts, in the order in which they are shown.

        Returns:
            The prompt's text.

        Raises:
            DataError: more than two options, and the prompt names the first and second.
        """
        if "{options}" not in self.prompt:
            if len(options) != 2:
                raise DataError(
                    f"template prompt {self.prompt!r} lists two options and not {len(options)}; use {{options}}."
                )
            return self.prompt.format(stem=stem, first=options[0], second=options[1])
        letters = self.letters_of(len(options))
        lines = [self.line.format(letter=letter, text=text) for letter, text in zip(letters, options, strict=True)]
        return self.prompt.format(stem=stem, options="\n".join(lines))

    @property
    def opening(self) -> str:
        """What plain text begins with: the system's words as a line, nothing where there are none."""
        return f"{self.system}\n" if self.system else ""

    def render(self, item: ChoiceItem, matching_first: bool) -> str:
        """The plain text of an item in one option order, ending right before the answer's letter.

        Args:
            item: the question.
            matching_first: whether the matching option stands first.

        Returns:
            The prompt's text.
        """
        options = (item.matching, item.other) if matching_first else (item.other, item.matching)
        return self.opening + self.write(item.stem, options)

    def letter(self, matching_first: bool, matching: bool) -> str:
        """The letter of the matching (or the other) option in one option order."""
        return self.letters[0] if matching_first == matching else self.letters[1]

    def answer_text(self, item: ChoiceItem, matching_first: bool, matching: bool) -> str:
        """The full answer, letter and option text, as a continuation of the prompt.

        Args:
            item: the question.
            matching_first: the option order the prompt was rendered in.
            matching: whether the answer is the matching option.

        Returns:
            For the default template, `"A) the option's text"`.
        """
        text = item.matching if matching else item.other
        return self.answer.format(letter=self.letter(matching_first, matching), text=text)


def _check_placeholders(field: str, text: str, *allowed: set[str]) -> None:
    """Refuses a format string whose placeholders are not exactly those of one of the allowed sets."""
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise DataError(f"template {field} {text!r} cannot be read: {error}; write a brace as {{{{ or }}}}.") from error
    if found not in allowed:
        wanted = " or ".join(", ".join(f"{{{name}}}" for name in sorted(names)) or "none" for names in allowed)
        raise DataError(f"template {field} {text!r} has the placeholders {sorted(found)}; it needs exactly {wanted}.")
