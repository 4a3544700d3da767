"""The benchmark on the lab: its five behaviours, its own persona lines, its prose and code as neutral text."""

from collections.abc import Sequence

from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.errors import DataError
from lens_steer.experiments.benchmark.settings import BenchmarkSettings
from lens_steer.experiments.reliability.study import lab_persona
from lens_steer.extraction.finetune import Tuning
from lens_steer.extraction.optimise import Descent
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS

SIZES = {"train": 60, "validation": 1, "test": 16}
DOCUMENTS = {"train": 60, "validation": 4, "test": 4}
"""Of prose and of Python."""
SETTINGS = BenchmarkSettings(
    site="resid_post@0",
    positions="0:20",
    n_texts=8,
    max_tokens=48,
    personas={name: lab_persona(name).system for name in BEHAVIOURS},
    descent=Descent(objective="contrast", steps=30, learning_rate=0.06),
    tuning=Tuning(steps=20, batch_size=8, learning_rate=2e-3),
)


def lab_data(names: Sequence[str] = ()) -> tuple[dict[str, Splits], Corpus]:
    """Questions of the lab's behaviours, and neutral texts.

    Args:
        names: which behaviours; all five where there are none.

    Raises:
        DataError: the lab has no such behaviour.
    """
    unknown = [name for name in names if name not in BEHAVIOURS]
    if unknown:
        raise DataError(f"the lab has no behaviour {unknown[0]!r}; give one of {', '.join(BEHAVIOURS)}.")
    behaviours = {
        name: Splits(**{split: open_items(name, n, split=split) for split, n in SIZES.items()})  # type: ignore[arg-type]
        for name in names or BEHAVIOURS
    }
    prose, python = (lab_corpus(name, **DOCUMENTS) for name in ("text", "python"))
    mixed = {split: getattr(prose, split) + getattr(python, split) for split in DOCUMENTS}
    return behaviours, Corpus(name="neutral", **mixed)
