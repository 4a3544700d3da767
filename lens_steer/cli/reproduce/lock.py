"""One process at a time in a folder: a lock that ends with its process, however that ends.

The file `.lock` holds the number of the process; it stays, and the lock on it does not.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lens_steer.errors import BusyError

NAME = ".lock"


@contextmanager
def sole(folder: str | Path) -> Iterator[None]:
    """Keeps every other process out of a folder until the block ends.

    Args:
        folder: made where it is missing.

    Raises:
        BusyError: another process is in it; the message has its number.
    """
    path = Path(folder) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise BusyError(
                f"{folder}: process {file.read().strip() or 'of unknown number'} is at work in this folder; wait for "
                "it, or give another --out."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
