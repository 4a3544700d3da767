"""The lab's corpora: `text` (prose), `code` (Python and JavaScript), `python` and `javascript`.

Documents of different splits never share a combination of fillers (`skills.split_of`).
"""

import random
from collections.abc import Callable
from itertools import cycle
from typing import get_args

from lens_steer.data.corpora import Corpus
from lens_steer.errors import DataError
from lens_steer.lab import skills

WRITERS: dict[str, tuple[Callable[[random.Random, skills.Split], str], ...]] = {
    "text": (skills.prose,),
    "code": (skills.python, skills.javascript),
    "python": (skills.python,),
    "javascript": (skills.javascript,),
}
"""The generators of each corpus; several generators alternate."""


def lab_corpus(name: str, train: int, validation: int, test: int, seed: int = 0) -> Corpus:
    """Generates one of the lab's corpora.

    Args:
        name: `text`, `code`, `python` or `javascript`.
        train: number of training documents.
        validation: number of validation documents.
        test: number of test documents.
        seed: the same seed gives the same documents.

    Returns:
        Distinct documents in three splits.

    Raises:
        DataError: there is no such corpus.
    """
    if name not in WRITERS:
        raise DataError(f"the lab has no corpus {name!r}; it has {', '.join(WRITERS)}.")
    sizes = zip(get_args(skills.Split), (train, validation, test), strict=True)
    first, second, third = (_written(name, n, split, seed) for split, n in sizes)
    return Corpus(name=name, train=first, validation=second, test=third)


def _written(name: str, n: int, split: skills.Split, seed: int) -> tuple[str, ...]:
    """Distinct documents from alternating generators."""
    rng, writers = random.Random(f"{name} {split} {seed}"), cycle(WRITERS[name])
    documents: dict[str, None] = {}
    while len(documents) < n:
        documents[next(writers)(rng, split)] = None
    return tuple(documents)
