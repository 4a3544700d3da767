"""What `painless` gives: the tables of a data set's vectors, and the best vector, ready to steer with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

import pandas as pd

from lens_steer.data.tables import Tables
from lens_steer.errors import SteeringWarning
from lens_steer.hooks import Intervention, Steering, steer
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector, load_vector

VECTOR = "vector.safetensors"


def intervention_of(vector: SteeringVector | None, point: Mapping[str, Any]) -> Intervention | None:
    """The edit of a vector at its chosen point; None where the answer is not to steer."""
    if vector is None:
        return None
    return Intervention.of(vector, point["site"], point["strength"], point["scale"], point["positions"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Painless(Tables):
    """What was built, chosen and found; `vector` is None where the answer is not to steer.

    `runs`: one row a seed and method, `random k` and `best` among them: sizes, the chosen point, accuracy on test items
    without and with it, their difference. `points`: every point that was tried on validation items. `tests`: one row a
    method over all seeds: the mean gain with interval and p-values, and what it is beyond random vectors. `answers`:
    one row an item: what the model answers unsteered.
    """

    kind = "painless"
    runs: pd.DataFrame
    points: pd.DataFrame
    tests: pd.DataFrame
    answers: pd.DataFrame
    vector: SteeringVector | None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(name for name in super().names() if name != "vector")

    @property
    def intervention(self) -> Intervention | None:
        """The edit of the best point of the first seed; None where the answer is not to steer."""
        return intervention_of(self.vector, self.facts["point"])

    @contextmanager
    def on(self, model: SteerableModel) -> Iterator[Steering]:
        """Steers a model while the context is open.

        Args:
            model: the vector's model.

        Returns:
            A context manager giving the `Steering`. Where the answer is not to steer, the model stays as it is and a
            `SteeringWarning` says so.

        Raises:
            MismatchError, PositionError, SteeringError: as `steer`.
        """
        edit = self.intervention
        if edit is None:
            warn(f"{self.facts['name']}: the answer is not to steer; the model is unsteered.", SteeringWarning, 3)
        with steer(model, *([] if edit is None else [edit]), learn_prompts=True) as steering:
            yield steering

    def to_frame(self) -> pd.DataFrame:
        """One row a method: `tests`."""
        return self.tests

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the tables and the vector; `load` reads them back."""
        written = super().save(folder)
        return written if self.vector is None else [*written, self.vector.save(Path(folder) / VECTOR)]

    @classmethod
    def load(cls, folder: str | Path, model: SteerableModel | None = None) -> "Painless":
        """Reads what `save` wrote.

        Args:
            folder: of the files.
            model: where given, the vector must be of this model.

        Raises:
            FormatError: a file is missing, truncated, edited, foreign or of a newer schema.
            MismatchError: the vector is of another model.
        """
        frames, facts = cls._read(folder)
        vector = load_vector(Path(folder) / VECTOR, model) if facts["point"]["strength"] else None
        return cls(**frames, facts=facts, vector=vector)
