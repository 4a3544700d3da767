"""In-context tasks: pairs (x, y), and few-shot prompts that end with a query x.

    clean       Q: x1  A: y1   ...  Q: xn  A: yn   Q: x  A:      answer y
    shuffled    the same with the y of the examples permuted, so that they do not show the task; the answer is still y

Source: Todd et al. 2023 (arXiv 2310.15213) for the default template and the shuffled-label prompts. The space before
the y of the query belongs to the answer, because most tokenizers join it to the next word.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lens_steer._util.shown import shown
from lens_steer.errors import DataError

TEMPLATE = "Q: {x}\nA: {y}\n\n"


@shown()
@dataclass(frozen=True, kw_only=True)
class InContextTask:
    """A named mapping given by examples; `template` formats one pair, `{x}` before `{y}`.

    Raises:
        DataError: fewer than two pairs, a repeated x, an empty x or y, or a template without `{x}` before `{y}`.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        given = [x for x, _ in self.pairs]
        if len(given) < 2 or len(set(given)) < len(given) or not all(x.strip() and y.strip() for x, y in self.pairs):
            raise DataError(
                f"in-context task {self.name!r}: {len(given)} pairs, {len(set(given))} different x; give at least two "
                "pairs, each x once, none empty."
            )
        if self.template.count("{x}") != 1 or self.template.count("{y}") != 1 or "{y}" in self.template.split("{x}")[0]:
            raise DataError(
                f"in-context task {self.name!r}: template {self.template!r}; it must hold {{x}} and then {{y}}, once."
            )

    @property
    def hash(self) -> str:
        """sha256 of the pairs, in order, and the template; independent of the name."""
        content = [[list(pair) for pair in self.pairs], self.template]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def write(self, x: str, y: str) -> str:
        """One pair in the format of the template."""
        before, after = self.template.split("{x}")
        return before + x + after.replace("{y}", y)


@shown()
@dataclass(frozen=True, kw_only=True)
class InContextPrompt:
    """A prompt that ends where the answer starts, and the answer with its leading space."""

    prompt: str
    answer: str


def in_context_prompts(
    task: InContextTask, n_shots: int, n: int, seed: int = 0, shuffled: bool = False
) -> tuple[InContextPrompt, ...]:
    """Few-shot prompts of a task.

    Args:
        task: the pairs and the template.
        n_shots: the number of example pairs before the query; may be 0.
        n: the number of prompts.
        seed: the same seed gives the same prompts.
        shuffled: permute the y of the examples at random, so that at least one changes.

    Returns:
        The prompts; the examples of a prompt are distinct and do not include the query.

    Raises:
        DataError: n < 1, not enough pairs for examples and query, or too few different y to shuffle.

    Example:
        >>> task = InContextTask(name="plural", pairs=(("fox", "foxes"), ("cat", "cats")), template="{x} -> {y}\\n")
        >>> in_context_prompts(task, 1, 1)[0].prompt.endswith("->")
        True
    """
    if n < 1 or not 0 <= n_shots < len(task.pairs):
        raise DataError(
            f"in-context task {task.name!r}: {n} prompts with {n_shots} examples each were asked for; it has "
            f"{len(task.pairs)} pairs, one of which is the query."
        )
    if shuffled and (n_shots < 2 or len({y for _, y in task.pairs}) < 2):
        raise DataError(
            f"in-context task {task.name!r}: shuffled labels need two examples or more, and two different y; got "
            f"{n_shots} examples."
        )
    rng = random.Random(f"{task.hash}:{n_shots}:{seed}:{shuffled}")
    return tuple(_prompt(task, rng, n_shots, shuffled) for _ in range(n))


def query_prompts(
    task: InContextTask, queries: Sequence[tuple[str, str]], n_shots: int, seed: int = 0, shuffled: bool = False
) -> tuple[InContextPrompt, ...]:
    """Asks each query once, behind examples of a task; what a task is tested by.

    Args:
        task: where the examples come from, with its template.
        queries: pairs (x, y) that are not in the task.
        n_shots: the number of example pairs before the query; may be 0.
        seed: the same seed gives the same prompts.
        shuffled: permute the y of the examples at random, so that at least one changes.

    Returns:
        The prompts, in the order of the queries.

    Raises:
        DataError: no queries, a query is a pair of the task, or too few pairs to show or to shuffle.

    Example:
        >>> task = InContextTask(name="plural", pairs=(("fox", "foxes"), ("cat", "cats")), template="{x} -> {y}\\n")
        >>> [entry.answer for entry in query_prompts(task, [("dog", "dogs")], 2)]
        [' dogs']
    """
    known = {x for x, _ in task.pairs} & {x for x, _ in queries}
    few = not 0 <= n_shots <= len(task.pairs) or (shuffled and (n_shots < 2 or len({y for _, y in task.pairs}) < 2))
    if not queries or known or few:
        raise DataError(
            f"in-context task {task.name!r}: {len(queries)} queries with {n_shots} examples of {len(task.pairs)} "
            f"pairs, {len(known)} of the queries among them; give queries of other pairs, and no more examples than "
            "pairs."
        )
    rng = random.Random(f"{task.hash}:{n_shots}:{seed}:{shuffled}")
    return tuple(_prompt(task, rng, n_shots, shuffled, query) for query in queries)


def split_task(task: InContextTask, train: int, seed: int = 0) -> tuple[InContextTask, tuple[tuple[str, str], ...]]:
    """The pairs that make a vector, and those that are left to test it.

    Args:
        task: all pairs.
        train: how many make the vector.
        seed: the same seed gives the same split, whatever the order of the pairs.

    Returns:
        A task of the former, and the latter.

    Raises:
        DataError: fewer than two pairs would make the vector, or none would be left.
    """
    if not 2 <= train < len(task.pairs):
        raise DataError(
            f"in-context task {task.name!r}: {train} of {len(task.pairs)} pairs to make the vector; give at least two, "
            "and leave at least one."
        )
    pairs = random.Random(f"{seed}").sample(sorted(task.pairs), len(task.pairs))
    return replace(task, pairs=tuple(pairs[:train])), tuple(pairs[train:])


def _prompt(
    task: InContextTask, rng: random.Random, n_shots: int, shuffled: bool, query: tuple[str, str] | None = None
) -> InContextPrompt:
    """One prompt, of a given query or of a pair of the task."""
    while True:
        if query is None:
            *shown, (x, y) = rng.sample(task.pairs, n_shots + 1)
        else:
            shown, (x, y) = rng.sample(task.pairs, n_shots), query
        labels = [label for _, label in shown]
        if shuffled:
            rng.shuffle(labels)
        if not shuffled or labels != [label for _, label in shown]:
            break
    examples = "".join(task.write(given, label) for (given, _), label in zip(shown, labels, strict=True))
    end = task.template.split("{y}")[0].replace("{x}", x)
    space = end[len(end.rstrip(" ")) :]
    return InContextPrompt(prompt=examples + end.rstrip(" "), answer=space + y)
