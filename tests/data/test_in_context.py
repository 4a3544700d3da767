"""In-context tasks and their prompts."""

import pytest

from lens_steer.data.in_context import InContextTask, in_context_prompts, query_prompts, split_task
from lens_steer.errors import DataError
from lens_steer.lab.items import mapping_prompts
from lens_steer.lab.skills import MAPPINGS

PAIRS = (("hot", "cold"), ("up", "down"), ("big", "small"), ("old", "new"))
TASK = InContextTask(name="antonym", pairs=PAIRS)
ANSWERS = dict(PAIRS)


def shown(prompt: str) -> list[tuple[str, str]]:
    lines = prompt.split("\n\n")[:-1]
    return [(line[3:].split("\nA: ")[0], line.split("\nA: ")[1]) for line in lines]


def test_the_default_template_is_that_of_the_paper() -> None:
    found = in_context_prompts(InContextTask(name="a", pairs=PAIRS[:2]), 1, 8)
    texts = {entry.prompt + entry.answer for entry in found}
    assert texts == {"Q: hot\nA: cold\n\nQ: up\nA: down", "Q: up\nA: down\n\nQ: hot\nA: cold"}
    assert all(entry.prompt.endswith("\nA:") and entry.answer[0] == " " for entry in found)


def test_clean_prompts_show_the_task_and_never_their_query() -> None:
    for entry in in_context_prompts(TASK, 3, 20):
        pairs, query = shown(entry.prompt), entry.prompt.split("Q: ")[-1].removesuffix("\nA:")
        assert len({x for x, _ in pairs} | {query}) == 4
        assert all(ANSWERS[x] == y for x, y in pairs) and entry.answer == " " + ANSWERS[query]


def test_shuffled_prompts_show_the_same_labels_in_another_order_and_ask_the_same() -> None:
    for entry in in_context_prompts(TASK, 3, 20, shuffled=True):
        pairs, query = shown(entry.prompt), entry.prompt.split("Q: ")[-1].removesuffix("\nA:")
        assert {y for _, y in pairs} == {ANSWERS[x] for x, _ in pairs}
        assert any(ANSWERS[x] != y for x, y in pairs) and entry.answer == " " + ANSWERS[query]


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others() -> None:
    assert in_context_prompts(TASK, 2, 5, seed=1) == in_context_prompts(TASK, 2, 5, seed=1)
    assert in_context_prompts(TASK, 2, 5, seed=1) != in_context_prompts(TASK, 2, 5, seed=2)


def test_the_lab_s_own_prompts_are_of_this_form() -> None:
    task = InContextTask(name="kind", pairs=tuple(MAPPINGS["kind"].items()), template="{x} -> {y}\n")
    (prompt, answer), ours = mapping_prompts("kind", 0, 1, split="test")[0], in_context_prompts(task, 0, 400)
    assert (prompt, answer) in {(entry.prompt, entry.answer) for entry in ours}


def test_tasks_and_prompts_that_cannot_be_written_are_refused() -> None:
    for pairs in ((("a", "b"),), (("a", "b"), ("a", "c")), (("a", "b"), ("c", " "))):
        with pytest.raises(DataError, match="give at least two pairs, each x once, none empty"):
            InContextTask(name="t", pairs=pairs)
    for template in ("{x}", "{y} {x}", "{x} {y} {y}"):
        with pytest.raises(DataError, match=r"it must hold \{x\} and then \{y\}, once"):
            InContextTask(name="t", pairs=PAIRS, template=template)
    with pytest.raises(DataError, match="1 prompts with 4 examples each were asked for; it has 4 pairs"):
        in_context_prompts(TASK, 4, 1)
    with pytest.raises(DataError, match="shuffled labels need two examples or more"):
        in_context_prompts(TASK, 1, 1, shuffled=True)
    with pytest.raises(DataError, match="and two different y"):
        in_context_prompts(InContextTask(name="t", pairs=(("a", "x"), ("b", "x"), ("c", "x"))), 2, 1, shuffled=True)


def test_each_query_is_asked_once_behind_examples_of_the_task() -> None:
    queries = (("wet", "dry"), ("fast", "slow"))
    found = query_prompts(TASK, queries, 4, seed=1)
    assert [entry.answer for entry in found] == [" dry", " slow"]
    assert all(set(shown(entry.prompt)) == set(PAIRS) for entry in found)
    assert found == query_prompts(TASK, queries, 4, seed=1) != query_prompts(TASK, queries, 4, seed=2)
    assert [entry.prompt for entry in query_prompts(TASK, queries, 0)] == ["Q: wet\nA:", "Q: fast\nA:"]
    for entry in query_prompts(TASK, queries, 4, shuffled=True):
        assert dict(shown(entry.prompt)) != ANSWERS and set(dict(shown(entry.prompt)).values()) == set(ANSWERS.values())


@pytest.mark.parametrize(("queries", "n_shots"), [((), 1), ((("hot", "cold"),), 1), ((("wet", "dry"),), 5)])
def test_queries_that_the_task_shows_and_too_many_examples_are_refused(queries: tuple, n_shots: int) -> None:
    with pytest.raises(DataError, match="give queries of other pairs, and no more examples than"):
        query_prompts(TASK, queries, n_shots)


def test_a_task_is_split_by_its_content_into_what_makes_a_vector_and_what_tests_it() -> None:
    train, rest = split_task(TASK, 2, seed=3)
    assert set(train.pairs) | set(rest) == set(PAIRS) and len(train.pairs) == len(rest) == 2
    turned = InContextTask(name="antonym", pairs=PAIRS[::-1])
    assert split_task(turned, 2, seed=3) == (train, rest) and train.template == TASK.template
    with pytest.raises(DataError, match="4 of 4 pairs to make the vector"):
        split_task(TASK, 4)
