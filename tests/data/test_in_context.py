"""In-context tasks and their prompts."""

import pytest

from lens_steer.data.in_context import (
    TASKS,
    InContextTask,
    contrast_from_task,
    in_context_prompts,
    query_prompts,
    shipped_task,
    wrong_answers,
)
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


def test_every_shipped_task_has_at_least_sixty_pairs_and_no_x_twice() -> None:
    for name in TASKS:
        task = shipped_task(name)
        assert len(task.pairs) >= 60 and all(x != y for x, y in task.pairs), name
    with pytest.raises(DataError, match="give one of antonym"):
        shipped_task("synonym")


def test_parts_of_a_task_are_disjoint_and_together_the_whole() -> None:
    task = shipped_task("antonym")
    parts = task.split((0.5, 0.2, 0.3))
    assert [len(part.pairs) for part in parts] == [33, 13, 20]
    assert sorted(pair for part in parts for pair in part.pairs) == sorted(task.pairs)
    assert task.split((0.5, 0.2, 0.3)) == parts != task.split((0.5, 0.2, 0.3), seed=1)
    with pytest.raises(DataError):
        task.split((0.99, 0.01))


def test_a_query_ends_its_own_prompt_and_is_no_example_in_it() -> None:
    task = shipped_task("capital")
    train, held = task.split((0.5, 0.5))
    for queries in (train.pairs, held.pairs):
        for shuffled in (False, True):
            prompts = query_prompts(train, queries, 3, shuffled=shuffled)
            for (x, y), found in zip(queries, prompts, strict=True):
                assert found.answer == f" {y}" and found.prompt.endswith(f"Q: {x}\nA:")
                assert found.prompt.count("Q: ") == 4 and found.prompt.count(f"Q: {x}\n") == 1
                examples = [block.split("\nA: ") for block in found.prompt.split("Q: ")[1:-1]]
                right = [dict(train.pairs)[given] == label.strip() for given, label in examples]
                assert all(right) != shuffled
    assert query_prompts(train, held.pairs, 3) == query_prompts(train, held.pairs, 3)
    with pytest.raises(DataError, match="no queries"):
        query_prompts(train, [], 1)


def test_wrong_answers_are_those_of_other_pairs_and_stand_in_the_same_place() -> None:
    task = shipped_task("past_tense")
    wrong = wrong_answers(task)
    assert all(other != y for other, (_, y) in zip(wrong, task.pairs, strict=True))
    assert set(wrong) <= {y for _, y in task.pairs} and len(set(wrong)) > 20
    right = contrast_from_task(task).pairs[0]
    assert (right.prompt, right.positive) == ("Q: go\nA:", " went") and right.negative == f" {wrong[0]}"
    moved = contrast_from_task(task, transfer=True).pairs[0]
    assert (moved.prompt, moved.positive, moved.negative) == ("", "went", "go")
    alike = InContextTask(name="one", pairs=(("a", "z"), ("b", "z")))
    with pytest.raises(DataError, match="no wrong answer"):
        wrong_answers(alike)
