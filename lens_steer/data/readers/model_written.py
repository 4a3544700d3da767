"""Reader of model-written evals and of the A/B questions of CAA, which have the same fields.

    question, answer_matching_behavior, answer_not_matching_behavior     also: prompt, corrects, incorrects

Answers are letters (" (A)", "A") of options in the question, " Yes" / " No", or texts; the not-matching answer may be a
list of letters (sycophancy). A file has one question per line, or one JSON list.
Source: Perez et al. 2022, "Discovering Language Model Behaviors with Model-Written Evaluations", arXiv 2212.09251;
Rimsky et al. 2024, arXiv 2312.06681.

More than two options: 247 of the 953 published survival-instinct questions offer three to eight, with one matching
and one not-matching letter named. The two-choice item has only these two options, so that it is easier than the
published question, and a stem that refers to its options ("options 2-3 above") may not fit; `options=2` leaves such
questions out instead. The leading "Question:" and trailing "Answer:" of some files are removed, because the template
adds its own.
"""

import re
from pathlib import Path
from typing import Any

from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.contrast import ContrastPair
from lens_steer.data.files import decode, json_rows, read_bytes, stem
from lens_steer.data.readers.core import Format, Row, Unusable, checked, convert, options_in
from lens_steer.errors import DataError

QUESTION = ("question", "prompt", "input", "text")
MATCHING = ("answer_matching_behavior", "matching", "corrects", "correct", "sycophantic_answer")
OTHER = ("answer_not_matching_behavior", "not_matching", "incorrects", "incorrect", "truthful_answer")
_KEYS = (QUESTION[0], MATCHING[0], OTHER[0])
_BEFORE = re.compile(r"\A\s*(?:Question|Human|User):\s*")
_LETTER = re.compile(r"\(?([A-Z])\)?")


def read_model_written(path: str | Path, options: int | None = None) -> tuple[ChoiceItem, ...]:
    """Reads a file of model-written evals or of CAA's A/B questions; every question must be usable.

    `read` also reads such files, skips unusable questions and keeps all options.

    Args:
        path: a file as published: JSON lines, or one JSON list.
        options: keep only questions with this many options; `None` keeps all (see the module docstring).

    Returns:
        One item per question, in the file's order, with ids `"<file name>:<line number>"` (entry number in a list).

    Raises:
        DataError: the file is missing or empty, or a line is not a question of either style (file and line are named).

    Source:
        Perez et al. 2022, arXiv 2212.09251.
    """
    path = Path(path)
    rows = json_rows(decode(read_bytes(path), str(path)), str(path))
    entries, skipped = convert(rows, STRICT, stem(path)) if rows else ((), ())
    if skipped:
        raise DataError(f"{path}, line {skipped[0].line}: {skipped[0].detail}")
    items = tuple(
        item.choice_items()[0]
        for item in entries
        if isinstance(item, MultipleChoiceItem) and options in (None, len(item.options))
    )
    if not items:
        raise DataError(f"{path}: holds no question{'' if options is None else f' with {options} options'}.")
    return items


def question_item(row: Row, texts: bool = True) -> MultipleChoiceItem:
    """A row as an item.

    Args:
        row: with a question, a matching answer and one or more that do not match.
        texts: accept answers that are texts other than yes and no.

    Raises:
        Unusable: a field is missing, or an answer is not an option.
    """
    missing = [names[0] for names in (QUESTION, MATCHING, OTHER) if not row.has(*names)]
    if missing:
        lacks = f"lacks the text {', '.join(missing)}"
        raise Unusable(lacks, f"{lacks}; a line needs {', '.join(_KEYS)}.")
    question = row.text(*QUESTION)
    matching, others = _answers(row.get(*MATCHING), MATCHING[0])[:1], _answers(row.get(*OTHER), OTHER[0])
    letters = [_LETTER.fullmatch(answer) for answer in matching + others]
    group, stem = row.label("category", "subdomain", "domain"), _BEFORE.sub("", question).strip()
    if all(letters):
        found = options_in(question)
        if found is None:
            raise Unusable("no 'Choices:' line in the question, and no options, though the answers are letters")
        named = [letter[1] for letter in letters if letter is not None]
        for letter in named:
            if letter not in found[1]:
                raise Unusable(
                    "an answer that is no option", f"the answer ({letter}) is not among the options {sorted(found[1])}"
                )
        index = [list(found[1]).index(letter) for letter in named]
        every = len(index) == len(found[1])
        return MultipleChoiceItem(
            id=row.id, stem=_BEFORE.sub("", found[0]).strip(), options=tuple(found[1].values()), answer=index[0],
            others=() if every else tuple(index[1:]), category=group,
        )  # fmt: skip
    if not texts and {*matching, *others} != {"Yes", "No"}:
        raise Unusable(
            "answers that are no letters",
            f"answers {matching[0]!r} and {others[0]!r}; expected ' Yes'/' No' or letters like ' (A)'",
        )
    yes_first = matching + others if others != ["Yes"] else others + matching
    return MultipleChoiceItem(
        id=row.id, stem=stem, options=tuple(yes_first), answer=yes_first.index(matching[0]), category=group
    )


def pair_item(pair: ContrastPair) -> MultipleChoiceItem:
    """A pair of one question and two letters as an item."""
    row = {"question": pair.prompt, MATCHING[0]: pair.positive, OTHER[0]: pair.negative}
    return question_item(Row(row, pair.id))


def _answers(cell: Any, name: str) -> list[str]:
    """One answer or a list of them, without the spaces around them."""
    cells = cell if isinstance(cell, list | tuple) else [cell]
    if not cells:
        raise Unusable(f"lacks the text {name}", f"lacks the text {name}: it is an empty list")
    return [checked(one, name).strip() for one in cells]


FORMAT = Format("model-written evals", "items", (QUESTION, MATCHING, OTHER), question_item)
STRICT = Format(FORMAT.name, "items", (QUESTION, MATCHING, OTHER), lambda row: question_item(row, texts=False))
