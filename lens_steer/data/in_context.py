"""In-context tasks: pairs (x, y), and few-shot prompts that end with a query x.

    clean       Q: x1  A: y1   ...  Q: xn  A: yn   Q: x  A:      answer y
    shuffled    the same with the y of the examples permuted, so that they do not show the task; the answer is still y

Source: Todd et al. 2023 (arXiv 2310.15213) for the default template and the shuffled-label prompts. The space before
the y of the query belongs to the answer, because most tokenizers join it to the next word. `TASKS` are shipped with the
package: 64 to 66 pairs each, in files of JSON lines.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise

from lens_steer._util.shown import shown
from lens_steer.data.contrast import ContrastPair, ContrastSet
from lens_steer.errors import DataError

TEMPLATE = "Q: {x}\nA: {y}\n\n"
TASKS = ("antonym", "capital", "past_tense", "capitalise", "english_french", "sentiment_transfer")
"""In the last one, y says the opposite of x in tone; in the others, y is a function of x."""


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

    def split(self, shares: Sequence[float], seed: int = 0) -> "tuple[InContextTask, ...]":
        """Tasks of the same name and template whose pairs are disjoint.

        Args:
            shares: of the pairs, one for each part; the last part takes what is left.
            seed: of the order in which pairs are dealt out.

        Returns:
            As many tasks as there are shares.

        Raises:
            DataError: a part has fewer than two pairs.
        """
        pairs = random.Random(f"{self.hash}:{seed}").sample(self.pairs, len(self.pairs))
        ends = [round(sum(shares[:k]) * len(pairs)) for k in range(len(shares))] + [len(pairs)]
        return tuple(replace(self, pairs=tuple(pairs[start:end])) for start, end in pairwise(ends))

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
    return tuple(_prompt(task, rng, lambda: rng.sample(task.pairs, n_shots + 1), shuffled) for _ in range(n))


def query_prompts(
    task: InContextTask, queries: Sequence[tuple[str, str]], n_shots: int, seed: int = 0, shuffled: bool = False
) -> tuple[InContextPrompt, ...]:
    """One few-shot prompt for each of some queries, its examples from the pairs of a task.

    Args:
        task: whose pairs are the examples, and the template.
        queries: pairs that end the prompts, such as those held out of the task.
        n_shots: the number of example pairs before the query; may be 0.
        seed: the same seed gives the same prompts.
        shuffled: permute the y of the examples at random, so that at least one changes.

    Returns:
        The prompts, in the order of the queries; a query is no example of its own prompt.

    Raises:
        DataError: no queries, not enough pairs for the examples, or too few different y to shuffle.
    """
    if not queries:
        raise DataError(f"in-context task {task.name!r}: no queries; give at least one pair.")
    in_context_prompts(task, n_shots, 1, seed, shuffled)
    rng = random.Random(f"{task.hash}:{n_shots}:{seed}:{shuffled}:queries")
    found = []
    for query in queries:
        others = [pair for pair in task.pairs if pair[0] != query[0]]
        if len(others) < n_shots or (shuffled and len({y for _, y in others}) < 2):
            raise DataError(f"in-context task {task.name!r}: too few pairs beside the query {query[0]!r}.")
        found.append(
            _prompt(task, rng, lambda others=others, query=query: [*rng.sample(others, n_shots), query], shuffled)
        )
    return tuple(found)


def wrong_answers(task: InContextTask, seed: int = 0) -> tuple[str, ...]:
    """For each pair of a task the y of another pair, drawn at random among those that differ from its own.

    Args:
        task: the pairs.
        seed: the same seed gives the same answers.

    Raises:
        DataError: all y are the same.
    """
    labels = sorted({y for _, y in task.pairs})
    if len(labels) < 2:
        raise DataError(f"in-context task {task.name!r}: every y is {labels[0]!r}; there is no wrong answer to draw.")
    rng = random.Random(f"{task.hash}:{seed}:wrong")
    return tuple(rng.choice([label for label in labels if label != y]) for _, y in task.pairs)


def contrast_from_task(task: InContextTask, transfer: bool = False, seed: int = 0) -> ContrastSet:
    """Contrast pairs of a task: the right y behind its x, against another pair's y; or y itself against x itself.

    Args:
        task: the pairs.
        transfer: contrast y with x, as for a change of style, without the template.
        seed: of the choice of wrong answers.

    Returns:
        One pair of texts for each pair of the task.

    Raises:
        DataError: all y are the same, so that there are no wrong answers.

    Source:
        Liu et al. 2023 (arXiv 2311.06668) for y against x; Brumley et al. 2024 (arXiv 2411.07213) for random wrong
        outputs behind the same prompt.
    """
    if transfer:
        entries = [("", y, x) for x, y in task.pairs]
    else:
        prompts, wrong = query_prompts(task, task.pairs, 0), wrong_answers(task, seed)
        entries = [
            (entry.prompt, entry.answer, entry.answer.removesuffix(y) + other)
            for entry, (_, y), other in zip(prompts, task.pairs, wrong, strict=True)
        ]
    pairs = (
        ContrastPair(id=str(number), prompt=prompt, positive=positive, negative=negative)
        for number, (prompt, positive, negative) in enumerate(entries)
    )
    return ContrastSet(name=task.name, pairs=tuple(pairs))


def shipped_task(name: str) -> InContextTask:
    """One of the tasks that are shipped with the package.

    Args:
        name: a name of `TASKS`.

    Raises:
        DataError: there is no such task.

    Example:
        >>> shipped_task("antonym").pairs[:2]
        (('hot', 'cold'), ('big', 'small'))
    """
    if name not in TASKS:
        raise DataError(f"there is no in-context task {name!r}; give one of {', '.join(TASKS)}.")
    lines = files("lens_steer.data").joinpath("tasks", f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return InContextTask(name=name, pairs=tuple((row["x"], row["y"]) for row in rows))


def _prompt(
    task: InContextTask, rng: random.Random, draw: Callable[[], list[tuple[str, str]]], shuffled: bool
) -> InContextPrompt:
    """One prompt, of examples and a query that are drawn until shuffling can change the labels."""
    while True:
        *shown, (x, y) = draw()
        labels = [label for _, label in shown]
        if shuffled:
            rng.shuffle(labels)
        if not shuffled or labels != [label for _, label in shown]:
            break
    examples = "".join(task.write(given, label) for (given, _), label in zip(shown, labels, strict=True))
    end = task.template.split("{y}")[0].replace("{x}", x)
    space = end[len(end.rstrip(" ")) :]
    return InContextPrompt(prompt=examples + end.rstrip(" "), answer=space + y)
