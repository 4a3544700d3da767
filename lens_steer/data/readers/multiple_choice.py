"""Reader of questions with 2 to 26 options and one right answer: MMLU, ARC, OpenBookQA, AGIEval, HellaSwag and others.

    MMLU          question, choices [...], answer 0-3      or CSV without header: question, A, B, C, D, letter
    ARC           question, choices {"text": [...], "label": [...]}, answerKey     or question {"stem", "choices"}
    OpenBookQA    the same with question_stem; fact1 stands before the question
    AGIEval       passage, question, options ["(A)...", ...], label
    HellaSwag     ctx, endings [...], label
    Winogrande    sentence, option1, option2, answer 1 or 2
    prompts       few-shot prompts in one text: "Q: ... (A) one (B) two\\nA: ... The answer is (B)."

An answer is the label of an option where options have labels, otherwise a letter, an index from 0, or an option's text.
An index out of range makes the row unusable; in a file that counts from 1, these are the rows whose answer is the last
option, usually more than `max_skipped`.
"""

import re
import string
from collections.abc import Sequence
from typing import Any

from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.readers.core import Format, Row, Unusable, checked, options_in

QUESTION = ("question", "question_stem", "stem", "query", "ctx", "sentence", "text")
OPTIONS = ("choices", "options", "endings", "answers", "A", "option1")
ANSWER = ("answer", "answerKey", "correct_idx", "label", "gold", "gold_index", "correct_answer", "target")
CONTEXT = ("context", "passage", "fact1")
COLUMNS = (tuple(string.ascii_uppercase), tuple(f"option{i}" for i in range(1, 11)))
_FRAME = re.compile(r"\A\(?([A-Z])\s*[).:]\s*")
_SHOT = re.compile(r"(?:\A|\n)Q:\s*(.*?)\nA:(.*?)(?=\nQ:|\Z)", re.DOTALL)
_SAID = re.compile(r"answer is\s*\(?([A-Z])\)?")


def index_of(answer: Any, options: Sequence[str], labels: Sequence[str] = ()) -> int:
    """The index of the option that an answer refers to.

    Args:
        answer: a label, a letter, an index from 0, or an option's text.
        options: the texts.
        labels: of the options, where they have labels.

    Raises:
        Unusable: the answer matches no option, or is ambiguous.

    Example:
        >>> index_of("B", ["no", "yes"]), index_of(1, ["no", "yes"]), index_of("2", ["no", "yes"], ["1", "2"])
        (1, 1, 1)
    """
    number = isinstance(answer, int) or (isinstance(answer, float) and answer.is_integer())
    said = str(int(answer)) if number else str(answer).strip()
    names = list(labels) or list(string.ascii_uppercase[: len(options)])
    for name in (said, said.strip("().: ")):
        if name in names:
            return names.index(name)
    by_index = int(said) if not labels and said.isdecimal() and len(said) < 4 and int(said) < len(options) else None
    same = [i for i, option in enumerate(options) if option.strip() == said and not number]
    if by_index is not None and same and same[0] != by_index:
        raise Unusable(
            "an answer that reads in two ways", f"the answer {said!r} is an option's text and another's index"
        )
    if by_index is not None or same:
        return same[0] if by_index is None else by_index
    shown = ", ".join(labels) if labels else f"0 to {len(options) - 1}, or a letter"
    raise Unusable("an answer that is no option", f"the answer is {said[:40]!r}; the options are {shown}")


def _item(row: Row) -> MultipleChoiceItem:
    """A row as an item."""
    nested = row.get("question")
    inner = Row(nested, row.id) if isinstance(nested, dict) else row
    question = inner.text("stem", *QUESTION) if inner is not row else row.text(*QUESTION)
    texts, labels = _options(inner)
    found = options_in(question)
    stem = found[0] if found and len(found[1]) == len(texts) else question
    before = row.get(*CONTEXT)
    whole = f"{before.strip()}\n{stem.strip()}" if isinstance(before, str) and before.strip() else stem.strip()
    return MultipleChoiceItem(
        id=row.id,
        stem=whole,
        options=texts,
        answer=index_of(_answer(row), texts, labels),
        category=row.label("subject", "category", "domain"),
        group=row.label("polarity", "difficulty"),
    )


def _answer(row: Row) -> Any:
    """The answer field; raises where it is missing or of another type."""
    answer = row.get(*ANSWER)
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise Unusable("lacks the answer", f"lacks the answer: {str(answer)[:40]!r} is no label, letter, index or text")
    return answer


def _options(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options and their labels, from any of the supported layouts."""
    cell = row.get("choices", "options", "endings", "answers")
    if isinstance(cell, dict) and "text" in cell:
        texts, labels = cell["text"], cell.get("label")
        if not isinstance(texts, list) or (
            labels is not None and (not isinstance(labels, list) or len(labels) != len(texts))
        ):
            raise Unusable("options that are no list of texts with labels")
        pairs = list(zip(labels or [""] * len(texts), texts, strict=True))
    elif isinstance(cell, dict):
        pairs = list(cell.items())
    elif isinstance(cell, list | tuple):
        pairs = [(one.get("label", ""), one.get("text")) if isinstance(one, dict) else ("", one) for one in cell]
    else:
        columns = next((names for names in COLUMNS if row.has(names[0])), ())
        there = [name for name in columns if row.has(name)]
        pairs = [(name.removeprefix("option"), row.get(name)) for name in there]
    texts = [checked(str(text) if isinstance(text, int | float) else text, "option").strip() for _, text in pairs]
    labels = [str(label) for label, _ in pairs]
    if all(texts) and all(
        (mark := _FRAME.match(text)) and mark[1] == string.ascii_uppercase[i] for i, text in enumerate(texts[:26])
    ):
        texts = [_FRAME.sub("", text) for text in texts]
    return tuple(texts), tuple(labels) if all(labels) else ()


def shots(name: str, text: str) -> list[dict[str, Any]] | None:
    """The questions of a few-shot prompt as rows; None where none has lettered options and an answer."""
    rows = []
    for question, said in _SHOT.findall(text):
        found, answers = options_in(question), _SAID.findall(said)
        if found and answers:
            rows.append(
                {"question": found[0], "choices": list(found[1].values()), "answer": answers[-1], "subject": name}
            )
    return rows or None


FORMAT = Format("multiple choice", "items", (QUESTION, OPTIONS, ANSWER), _item)
ARC = Format("multiple choice", "items", (("question",), ("answerKey",)), _item)
