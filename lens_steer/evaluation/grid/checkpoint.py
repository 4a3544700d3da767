"""Grids on disk: what has been computed is not computed again.

    <folder>/<key>.jsonl        key = sha256(model, versions, sequences, configurations, what is made of the logits)
    {"batch": 0, "configurations": [3, 4], "sha256": "...", "values": [[[...]]]}      one line a pass, added when it is
    done

Numbers are written so that they read back bit for bit: a run that was killed and goes on gives the same bytes as one
that was not. Lines that are truncated or edited, or hold numbers that are not finite, are computed again, with a
warning. Grids of other models, configurations or settings have other keys, so one folder serves many.
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


class Checkpoint:
    """The passes of one grid that are done; in memory only where there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._done: dict[tuple[int, tuple[int, ...]], Tensor] = {}
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

    def get(self, batch: int, configurations: tuple[int, ...]) -> Tensor | None:
        """The numbers of a pass, (configuration, sequence, number); None where it is not done."""
        return self._done.get((batch, configurations))

    def put(self, batch: int, configurations: tuple[int, ...], values: Tensor) -> Tensor:
        """Saves the numbers of a pass, and returns them as they will be read."""
        values = values.detach().double().cpu()
        if self._path is not None:
            content = {"batch": batch, "configurations": list(configurations), "values": values.tolist()}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(json.dumps(checksummed(content), sort_keys=True).encode() + b"\n")
        return values

    def _read(self, line: bytes) -> bool:
        """Takes up one line; whether it is whole."""
        try:
            content = json.loads(line)
            if not line.endswith(b"\n") or not isinstance(content, dict) or not is_whole(content):
                return False
            values = torch.tensor(content["values"], dtype=torch.float64, device="cpu")
            if values.ndim != 3 or not bool(values.isfinite().all()):
                return False
            self._done[content["batch"], tuple(content["configurations"])] = values
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        return True
