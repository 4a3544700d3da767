"""Reader of BBQ: a context (ambiguous or disambiguated), a question and three answers.

    context, question, ans0, ans1, ans2, label, context_condition, question_polarity, answer_info

`group` is "ambig" or "disambig" with the question's polarity ("ambig neg"); `roles` are the social groups that the
options name, or "unknown", for computing bias scores.
Source: Parrish et al. 2022, "BBQ: A Hand-Built Bias Benchmark for Question Answering", arXiv 2110.08193.
"""

from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.readers.core import Format, Row
from lens_steer.data.readers.multiple_choice import index_of

ANSWERS = ("ans0", "ans1", "ans2")


def _item(row: Row) -> MultipleChoiceItem:
    """A row as an item with three options."""
    options = tuple(row.text(name).strip() for name in ANSWERS)
    people = row.get("answer_info")
    named = [people.get(name) for name in ANSWERS] if isinstance(people, dict) else []
    roles = tuple(str(name[-1]) for name in named if isinstance(name, list | tuple) and name)
    return MultipleChoiceItem(
        id=row.id,
        stem=f"{row.text('context').strip()}\n{row.text('question').strip()}",
        options=options,
        answer=index_of(row.get("label"), options),
        category=row.label("category"),
        group=" ".join(filter(None, (row.label("context_condition"), row.label("question_polarity")))),
        roles=roles if len(roles) == len(options) else (),
    )


FORMAT = Format("BBQ", "items", (("context",), ("question",), *((name,) for name in ANSWERS), ("label",)), _item)
