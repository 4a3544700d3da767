"""Grids on disk: what has been computed is not computed again.

    <folder>/<key>.jsonl        key = sha256(model, versions, sequences, configurations, what is made of the logits)
    {"batch": 0, "configurations": [3, 4], "sha256": "...", "values": [[[...]]]}      one line a pass, added when it is
    done; lines of a finished grid are in the order of its plan

Numbers are written so that they read back bit for bit: a run that was killed and goes on, or that many workers share,
gives the same bytes as one that was not. Lines that are truncated or edited, or hold numbers that are not finite, are
computed again, with a warning. Grids of other models, configurations or settings have other keys, so one folder serves
many.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lens_steer._util.files import write_whole
from lens_steer.model import SteerableModel
from lens_steer.model.stored import checksummed, computation_key, is_whole, warn_recomputed

SCHEMA = 2


_Place = tuple[int, tuple[int, ...]]
"""A batch, and the configurations of one of its passes."""


class Checkpoint:
    """The passes of one grid that are done; in memory only where there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._done: dict[_Place, Tensor] = {}
        self._written: list[_Place] = []
        lines = path.read_bytes().splitlines(keepends=True) if path is not None and path.is_file() else []
        whole = [line for line in lines if self._read(line)]
        if path is not None and len(whole) < len(lines):
            found = f"{len(lines) - len(whole)} of {len(lines)}"
            warn_recomputed(path, f"{found} lines are truncated or edited, or hold numbers that are not finite")
            write_whole(path, b"".join(whole))

    @classmethod
    def open(cls, folder: str | Path | None, model: SteerableModel, about: Sequence[Any]) -> "Checkpoint":
        """The checkpoint of a grid.

        Args:
            folder: where checkpoints are; None writes nothing.
            model: the model that runs.
            about: everything else that the numbers depend on.

        Returns:
            What has been done of it; nothing, and nothing will be saved, where `about` holds an object that cannot be
            told by its content, of which a `CacheWarning` says so.

        Raises:
            SteeringError: there is a folder, and hooks are installed on the model.
        """
        key = None if folder is None else computation_key(model, ["grid", SCHEMA, about], "numbers")
        return cls(None if folder is None or key is None else Path(folder).expanduser() / f"{key[:16]}.jsonl")

    def has(self, batch: int, configurations: tuple[int, ...]) -> bool:
        """Whether a pass is done."""
        return (batch, configurations) in self._done

    def get(self, batch: int, configurations: tuple[int, ...]) -> Tensor:
        """The numbers of a pass that is done, (configuration, sequence, number)."""
        return self._done[batch, configurations]

    def put(self, batch: int, configurations: tuple[int, ...], values: Tensor) -> None:
        """Saves the numbers of a pass, which `get` gives from now on."""
        place = batch, configurations
        self._done[place] = values.detach().double().cpu()
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(self._line(place))
            self._written.append(place)

    def arrange(self, places: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        """Puts the lines of a finished grid in order, in whatever order its passes were done.

        Args:
            places: each pass of the grid: its batch and its configurations.
        """
        if self._path is not None and self._written != list(places):
            write_whole(self._path, b"".join(map(self._line, places)))
            self._written = list(places)

    def _line(self, place: _Place) -> bytes:
        """One pass as it stands in the file."""
        content = {"batch": place[0], "configurations": list(place[1]), "values": self._done[place].tolist()}
        return json.dumps(checksummed(content), sort_keys=True).encode() + b"\n"

    def _read(self, line: bytes) -> bool:
        """Takes up one line; whether it is whole."""
        try:
            content = json.loads(line)
            if not line.endswith(b"\n") or not isinstance(content, dict) or not is_whole(content):
                return False
            values = torch.tensor(content["values"], dtype=torch.float64, device="cpu")
            if values.ndim != 3 or not bool(values.isfinite().all()):
                return False
            place = content["batch"], tuple(content["configurations"])
            self._done[place] = values
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        self._written.append(place)
        return True
