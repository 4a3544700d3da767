"""Commands that are killed, run out of disk, meet a folder that cannot be written, or run twice at once.

Each runs in a process of its own, forked from one that has imported the package, through the command line's `main`. It
is killed by SIGKILL at a random time, or at a random opening or renaming of a file it writes; after four kills in one
folder it is run to its end, and every file must have the bytes of a run that nobody disturbed. Left out of the
comparison are the checkpoint, hidden files (the lock, and what a killed process was writing), and run.json and the
report of it where they hold times; the record's hashes are compared instead.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elsewhere as elsewhere
from conftest import save_llama
from mutated_files import Fault
from quick_run import write_data  # pyright: ignore[reportMissingImports]
from written_items import write_items

from lens_steer.cli.app import main

OUTCOMES = ("same bytes", "refused in one line, then same bytes", "other bytes", "traceback", "did not go on")
FAULTS = OUTCOMES[2:]
KILLS_A_FOLDER = 4
SHARES = {"extract --cache": 25, "sweep": 25, "reproduce, tiny model": 20, "reproduce, lab": 15, "painless": 15}
"""The commands in percent of the kills."""
SMALL = "[individual]\nstrengths = [-1, 1]\npositions = ['last']\nn_random = 1\nscreened = 2\nlens_tokens = 2\n"
PAINLESS = ["painless", "--data", "lab:sycophancy", "--limit", "40", "--methods", "caa", "--positions", "all"]
PAINLESS += ["--sites", "resid_post@0", "--strengths", "0.4,0.8", "--seeds", "2"]
Rows = list[tuple[str, str, str, int]]
Job = Callable[[], tuple[Rows, list[Fault]]]


@dataclass(frozen=True)
class Command:
    """A command, given the folder that it writes into; `whole` is what an undisturbed run leaves there."""

    name: str
    words: Callable[[Path], list[str]]
    seconds: float = 0.0
    writes: int = 0
    whole: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal), and what it said on standard error."""

    code: int
    said: str


def contents(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """The files that must be the same whatever happened, and the hashes in a record that holds times."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "checkpoint" for part in name.parts)
        if path.is_file() and not hidden and name.name != "report.html":
            content = path.read_bytes()
            record: Any = json.loads(content) if name.name == "run.json" else {}
            if "done" in record:
                content = json.dumps([record["written"], record["finished"], record["failed"]]).encode()
            found[name.as_posix()] = content
    return tuple(found.items())


def start(words: list[str], log: Path, die_at: int = 0, most: int = 0, count: Path | None = None) -> int:
    """Forks a process that runs a command; it kills itself at a number of its writes, or cannot write files of more.

    Args:
        words: of the command.
        log: where its standard output and error go.
        die_at: at which opening for writing, or renaming, it dies; 0 for none.
        most: the size of the largest file that it may write, in bytes; 0 for any.
        count: a file that gets the number of its writes.

    Returns:
        The number of the process.
    """
    pid = os.fork()
    if pid:
        return pid
    code, writes = 70, [0]
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)

        def heard(event: str, args: Any) -> None:
            if event == "os.rename" or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+")):
                writes[0] += 1
                if writes[0] == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(heard)
        if most:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        sys.argv = ["lens-steer", *words]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if count is not None:
            count.write_text(str(writes[0]))
        os._exit(code)


def end(pid: int, log: Path) -> Ended:
    """Waits for a process."""
    status = os.waitpid(pid, 0)[1]
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(encoding="utf-8", errors="replace"))


def commands(folder: Path) -> list[Command]:
    """The commands that go on where they were ended, on small models and data in a folder, each run once."""
    model, items = save_llama(folder / "model"), write_items(folder / "my-coins.jsonl", 20)
    (folder / "lab").mkdir()
    lab = write_data(folder / "lab")
    (folder / "small.toml").write_text(SMALL)
    vector, given = folder / "vector.safetensors", ["--model", str(model), "--data", str(items)]
    words = ["extract", *given, "--sites", "resid_post@*", "--sites", "z@1.*"]
    log = folder / "log"
    made = end(start([*words, "--out", str(vector)], log), log)
    if made.code:
        raise RuntimeError(made.said)
    swept = ["sweep", *given, "--vector", str(vector), "--positions", "last", "--strengths", "1,2"]
    small = ["reproduce", *given, "--settings", str(folder / "small.toml"), "--limit", "12", "--only", "individual"]
    found = [
        Command("extract --cache", lambda o: [*words, "--out", str(o / "v.safetensors"), "--cache", str(o / "cache")]),
        Command("sweep", lambda o: [*swept, "--out", str(o)]),
        Command("reproduce, tiny model", lambda o: [*small, "--out", str(o)]),
        Command("reproduce, lab", lambda o: ["reproduce", *lab, "--only", "individual,broad", "--out", str(o)]),
        Command("painless", lambda o: [*PAINLESS, "--out", str(o)]),
    ]
    return [_measured(command, folder / "whole" / str(i)) for i, command in enumerate(found)]


def _measured(command: Command, out: Path) -> Command:
    """A command with what it leaves undisturbed, how long it takes and how often it writes."""
    out.parent.mkdir(exist_ok=True)
    log, count, began = out.with_suffix(".log"), out.with_suffix(".count"), time.monotonic()
    done = end(start(command.words(out), log, count=count), log)
    if done.code:
        raise RuntimeError(f"{command.name}: {done.said}")
    seconds = time.monotonic() - began
    return Command(**{**vars(command), "seconds": seconds, "writes": int(count.read_text()), "whole": contents(out)})


def kill_pieces(folder: Path, kills: int, seed: int) -> Iterator[tuple[str, Job]]:
    """The pieces of this part, by name: groups of kills, and the other ways of being disturbed.

    Args:
        folder: an empty one.
        kills: how many in all.
        seed: of the times.
    """
    ready: list[Command] = []

    def command(number: int) -> Command:
        if not ready:
            ready.extend(commands(folder))
        return ready[number]

    for number, (name, share) in enumerate(SHARES.items()):
        for group in range(-(-kills * share // (100 * KILLS_A_FOLDER))):
            left, piece = min(KILLS_A_FOLDER, kills), f"{name}: kills {group}"
            yield piece, lambda n=number, p=piece, k=left: _killed(command(n), folder, random.Random(f"{seed} {p}"), k)
        others = max(1, kills // 40)
        for way, disturb in OTHER_WAYS.items():
            for time_ in range(others):
                piece = f"{name}: {way} {time_}"
                yield (
                    piece,
                    lambda n=number, p=piece, d=disturb, w=way: _other(
                        command(n), folder, random.Random(f"{seed} {p}"), w, d
                    ),
                )


def _killed(command: Command, folder: Path, rng: random.Random, kills: int) -> tuple[Rows, list[Fault]]:
    """Kills a command some times in one folder, and runs it to its end."""
    out, log, ways = _fresh(folder), folder / "killed.log", Counter[str]()
    for _ in range(kills):
        if rng.random() < 0.5:
            way = "killed at a write"
            ended = end(start(command.words(out), log, die_at=rng.randint(1, command.writes)), log)
        else:
            way, pid = "killed at a time", start(command.words(out), log)
            time.sleep(rng.uniform(0, command.seconds))
            os.kill(pid, signal.SIGKILL)
            ended = end(pid, log)
        ways[way if ended.code == -signal.SIGKILL else "ended before it was killed"] += 1
        if ended.code not in (0, -signal.SIGKILL):
            return _verdict(command, ways, "traceback", ended.said)
    return _finished(command, out, log, ways, "same bytes")


def _other(
    command: Command, folder: Path, rng: random.Random, way: str, disturb: Callable[..., Ended | None]
) -> tuple[Rows, list[Fault]]:
    """Disturbs a command in another way, and runs it to its end."""
    out, log = _fresh(folder), folder / "disturbed.log"
    ended = disturb(command, out, log, rng)
    ways = Counter({way: 1})
    if ended is None:
        return _finished(command, out, log, ways, "same bytes")
    if "Traceback" in ended.said or ended.code not in (0, 1, 2):
        return _verdict(command, ways, "traceback", ended.said)
    if ended.code == 0:
        return _finished(command, out, log, ways, "same bytes")
    return _finished(command, out, log, ways, "refused in one line, then same bytes")


def full_disk(command: Command, out: Path, log: Path, rng: random.Random) -> Ended:
    """A disk with less room than the results take: a small file system, or a limit of the size of a file."""
    total = sum(len(content) for _, content in command.whole)
    room = rng.randint(4_096, max(8_192, total))
    with_mount = _mounted(out, room)
    ended = end(start(command.words(out), log, most=0 if with_mount else room // 4), log)
    if with_mount:
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
    return ended


def read_only(command: Command, out: Path, log: Path, rng: random.Random) -> Ended:
    """A folder that cannot be written: a file system mounted to be read, or a file where the folder is meant."""
    if rng.random() < 0.5 and _mounted(out, 1 << 26):
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        ended = end(start(command.words(out), log), log)
        subprocess.run(["mount", "-o", "remount,rw", str(out)], check=True)
        return ended
    out.rmdir()
    out.write_text("a file")
    ended = end(start(command.words(out), log), log)
    out.unlink()
    return ended


def two_at_once(command: Command, out: Path, log: Path, rng: random.Random) -> Ended | None:
    """Two processes in one folder: both go through, or one is told that the other is at work."""
    second = log.with_suffix(".second")
    one = start(command.words(out), log)
    time.sleep(rng.uniform(0, command.seconds / 4))
    other = start(command.words(out), second)
    ended = [end(one, log), end(other, second)]
    bad = [e for e in ended if e.code and not (e.code == 2 and "is at work in this folder" in e.said)]
    if bad or all(e.code for e in ended):
        return (bad or ended)[0]
    return None


OTHER_WAYS = {"full disk": full_disk, "folder not writable": read_only, "two at once": two_at_once}


def _fresh(folder: Path) -> Path:
    """An empty folder."""
    out = folder / "out"
    _unmounted(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def _finished(command: Command, out: Path, log: Path, ways: Counter[str], fine: str) -> tuple[Rows, list[Fault]]:
    """Runs a command to its end, and compares."""
    ended = end(start(command.words(out), log), log)
    if ended.code:
        found = _verdict(command, ways, "did not go on", ended.said)
    else:
        now, whole = dict(contents(out)), dict(command.whole)
        differing = [name for name in sorted(now.keys() | whole.keys()) if now.get(name) != whole.get(name)]
        found = _verdict(command, ways, "other bytes" if differing else fine, ", ".join(differing))
    _unmounted(out)
    return found


def _verdict(command: Command, ways: Counter[str], outcome: str, detail: str) -> tuple[Rows, list[Fault]]:
    rows = [(command.name, way, outcome, n) for way, n in ways.items()]
    bad = outcome in FAULTS
    return rows, [Fault(command.name, ", ".join(ways), outcome, detail[-3_000:], b"")] if bad else []


def _mounted(out: Path, size: int) -> bool:
    """Mounts a file system of a size on a folder; whether that is allowed."""
    asked = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 4_096)}", "tmpfs", str(out)]
    try:
        return subprocess.run(asked, capture_output=True).returncode == 0
    except OSError:
        return False


def _unmounted(out: Path) -> None:
    if out.is_mount():
        subprocess.run(["umount", str(out)], check=True)
