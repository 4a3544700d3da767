"""Mutated files: each is read through the public API, under a limit of memory and of time, and what came of it is told.

refused      an error of the package, or it is named as changed      recomputed   stored work was computed again
unchanged    what was read is what was written                       as written   no checksum: what the file says
raw error    any other exception                    different   accepted, though neither unchanged nor as written
blow-up      above the limits of memory or time     code run    a function of the file's ran, or a process began
"""

import gc
import os
import random
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutations import MARKER, changed_json, huge_number, mutated
from safetensors import SafetensorError
from subjects import Subject

from lens_steer.errors import CacheWarning, LensSteerError

OUTCOMES = ("refused", "recomputed", "unchanged", "as written", "raw error", "different", "blow-up", "code run")
FAULTS = OUTCOMES[4:]
SECONDS, MEGABYTES, ROOM = 2.0, 64, 1 << 30
"""The most CPU time and peak memory of one file, and the address space above what the process has."""
SIGNED_ANEW = 0.08
_UNSIGNABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, SafetensorError)
_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.putenv", "subprocess.Popen", "socket.connect")


class TimeUp(BaseException):
    """A file took too long; no handler of the package's catches it."""


@dataclass
class Watch:
    """What happens while a file is read: whether code of its own runs. One a process, since audit hooks stay."""

    armed: bool = False
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        sys.addaudithook(self._heard)

    def _heard(self, event: str, _args: Any) -> None:
        if self.armed and event in _EVENTS:
            self.ran.append(event)

    @contextmanager
    def over(self) -> Iterator[None]:
        """Listens while a file is read."""
        self.ran.clear()
        self.armed = True
        try:
            yield
        finally:
            self.armed = False
            if os.environ.pop(MARKER, None):
                self.ran.append("the marker is set")


@dataclass(frozen=True)
class Fault:
    """One file of the last four outcomes, and how it is made again."""

    subject: str
    mutation: str
    outcome: str
    detail: str
    content: bytes = field(repr=False)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Keeps what the process may allocate within `ROOM` of what it has."""
    pages, before = int(Path("/proc/self/statm").read_text().split()[0]), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attack(subject: Subject, n: int, rng: random.Random, watch: Watch) -> tuple[Counter[tuple[str, str]], list[Fault]]:
    """Reads n mutations of one file.

    Args:
        subject: the file and how it is read.
        n: how many.
        rng: what decides.
        watch: listens for code that runs.

    Returns:
        How many came to which outcome, by mutation and outcome; and the faults.
    """
    counts, faults = Counter[tuple[str, str]](), []
    subject.path.write_bytes(subject.content)
    original = subject.load()
    for _ in range(n):
        name, content = _mutation(subject, rng)
        subject.path.write_bytes(content)
        outcome, detail = outcome_of(subject, content, original, name == "signed anew", watch)
        counts[name, outcome] += 1
        if outcome in FAULTS:
            faults.append(Fault(subject.name, name, outcome, detail, content))
    subject.path.write_bytes(subject.content)
    return counts, faults


def outcome_of(subject: Subject, content: bytes, original: str, signed: bool, watch: Watch) -> tuple[str, str]:
    """Reads the file as it lies there, and says what came of it, with the detail of a fault."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        error, found, peak = _read(subject, watch)
    if watch.ran:
        return "code run", ", ".join(watch.ran)
    if isinstance(error, TimeUp) or _is_of_memory(error) or peak > MEGABYTES:
        return "blow-up", f"{error!r}, peak {peak:.0f} MB"
    if isinstance(error, LensSteerError):
        return "refused", ""
    if error is not None:
        return "raw error", "".join(traceback.format_exception(error)[-6:])
    if found == original:
        again = any(issubclass(one.category, CacheWarning) for one in said)
        return ("recomputed" if again else "unchanged"), ""
    if (signed or not subject.checked) and subject.says is not None and subject.says(content, found):
        return "as written", ""
    return "different", f"{found[:400]}\n--- instead of ---\n{original[:400]}"


def _read(subject: Subject, watch: Watch) -> tuple[BaseException | None, str, float]:
    """What reading a file raises or gives, and by how many MB it raised the peak of memory."""
    Path("/proc/self/clear_refs").write_text("5")
    before, error, found = _resident("VmHWM"), None, ""
    signal.signal(signal.SIGPROF, _time_up)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with watch.over():
            found = subject.load()
    except (Exception, TimeUp) as caught:
        error = caught
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    peak = _resident("VmHWM") - before
    if peak > MEGABYTES:
        gc.collect()
    return error, found, peak


def _mutation(subject: Subject, rng: random.Random) -> tuple[str, bytes]:
    """A mutation of a file; some of the checked ones are signed anew, as who means harm would do."""
    if subject.sign is not None and rng.random() < SIGNED_ANEW:
        for _ in range(20):
            change = rng.choice((changed_json, changed_json, huge_number))
            try:
                found = subject.sign(change(subject.content, subject.spans(subject.content), rng))
            except _UNSIGNABLE:
                continue  # what is left cannot be signed
            if found != subject.content:
                return "signed anew", found
    return mutated(subject.content, subject.spans, rng)


def _time_up(*_: object) -> None:
    raise TimeUp


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out somewhere below an error."""
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _resident(name: str) -> float:
    """A size of this process from the kernel's table, in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024
