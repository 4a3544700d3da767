"""The tasks that are compared: those of the package, or the lab's mappings and the voices of its speakers.

    functional    y is a function of x; right where the first word written is that of y
    transfer      y says what x says in another tone or voice; right where a classifier of training texts says y's side

Pairs are divided by their content: half make vectors, a fifth chooses strengths, the rest is reported on.
"""

import random
from dataclasses import dataclass, replace

from lens_steer.data.in_context import TASKS, InContextTask, shipped_task
from lens_steer.experiments.in_context.settings import InContext
from lens_steer.lab import skills, world

SHARES = (0.5, 0.2, 0.3)
TRANSFER = ("sentiment_transfer", "hasty_voice", "flattering_voice")
LAB_VOICES = {"hasty_voice": "myopic", "flattering_voice": "sycophancy"}
LAB_LINES, VOICE_LINES = "{x} -> {y}\n", "{x} {y}\n"
PAIRS = 64
"""Of each of the lab's voices."""


@dataclass(frozen=True, kw_only=True)
class SplitTask:
    """One task in three parts; `transfer` tells the two kinds apart."""

    train: InContextTask
    validation: InContextTask
    test: InContextTask
    transfer: bool

    @property
    def kind(self) -> str:
        """`functional` or `transfer`."""
        return "transfer" if self.transfer else "functional"


def chosen_tasks(settings: InContext) -> dict[str, SplitTask]:
    """The tasks that the settings name, by name.

    Args:
        settings: source, names and seed.

    Returns:
        Tasks in the order of the settings.

    Raises:
        DataError: there is no such task.
    """
    of_lab = settings.source == "lab"
    names = settings.tasks or ((*skills.MAPPINGS, *LAB_VOICES) if of_lab else TASKS)
    found = {}
    for name in names:
        task = _lab_task(name) if of_lab and name in (*skills.MAPPINGS, *LAB_VOICES) else shipped_task(name)
        train, validation, test = task.split(SHARES, settings.seed)
        found[name] = SplitTask(
            train=train,
            validation=_first(validation, settings.most_validation),
            test=_first(test, settings.most_test),
            transfer=name in TRANSFER,
        )
    return found


def _first(task: InContextTask, most: int) -> InContextTask:
    return replace(task, pairs=task.pairs[:most])


def _lab_task(name: str) -> InContextTask:
    """A mapping of the lab, or statements without a trait and what a speaker with it says next of the same thing."""
    if name in skills.MAPPINGS:
        return InContextTask(name=name, pairs=tuple(skills.MAPPINGS[name].items()), template=LAB_LINES)
    rng, pairs = random.Random(f"voice:{name}"), {}
    while len(pairs) < PAIRS:
        matching, other = world.statements(rng, LAB_VOICES[name], "train")
        pairs.setdefault(other, matching)
    return InContextTask(name=name, pairs=tuple(pairs.items()), template=VOICE_LINES)
