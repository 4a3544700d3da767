"""What loads a model on a worker; a module that workers import."""

import os
import signal
import time
from itertools import count
from pathlib import Path
from typing import Any

from lens_steer.evaluation.grid import run
from lens_steer.model import load_model


def noted(folder: Path, log: Path) -> Any:
    """The model; the process that loads it writes its number down."""
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return load_model(folder)


def doomed(folder: Path, log: Path, mark: Path) -> Any:
    """The model; the first process that loads it kills itself in the middle of its third shard."""
    model = noted(folder, log)
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return model
    shards, forward = count(1), run.forward_unsteered

    def fatal(*arguments: Any) -> Any:
        if next(shards) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(*arguments)

    run.forward_unsteered = fatal
    return model


def slow(folder: Path) -> Any:
    """The model; every shard takes a second or more."""
    forward = run.forward_unsteered

    def slowly(*arguments: Any) -> Any:
        time.sleep(1)
        return forward(*arguments)

    run.forward_unsteered = slowly
    return load_model(folder)
