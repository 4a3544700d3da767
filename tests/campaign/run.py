"""The campaign: mutated files, random programs and killed commands, counted into a CSV and the table in docs.

    python tests/campaign/run.py --seed 0 --scale 1 --out campaign        the whole: 100,000 files, 10,000 programs
    python tests/campaign/run.py --scale 0.01 --out small --part files    a hundredth of one part
    python tests/campaign/run.py --table --out campaign                   docs/campaign.md from what `campaign` holds

Every piece of a part has its own random numbers and its own rows in `counts.csv`, so a campaign that was ended goes on
where it was and finds what it would have found. `faults/` holds what came of a fault and the file that did it.
"""

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from campaign_table import document  # noqa: E402
from killed import kill_pieces  # noqa: E402
from mutated_files import OUTCOMES, Fault, Watch, attack, limited_memory  # noqa: E402
from random_programs import Bench, run_programs  # noqa: E402
from subjects import Subject, write_subjects  # noqa: E402

from lens_steer._util.files import write_whole  # noqa: E402

FILES, PROGRAMS, KILLS, PIECE = 100_000, 10_000, 200, 250
COLUMNS = ["part", "seed", "piece", "subject", "variant", "outcome", "n", "seconds"]
Rows = list[tuple[str, str, str, int]]


class Counts:
    """`counts.csv`: the rows of every piece that is done."""

    def __init__(self, out: Path, seed: int) -> None:
        self.path, self.out, self.seed = out / "counts.csv", out, seed
        self.frame = pd.read_csv(self.path) if self.path.is_file() else pd.DataFrame(columns=pd.Index(COLUMNS))

    def has(self, part: str, piece: str) -> bool:
        """Whether a piece is done."""
        frame = self.frame
        return bool(((frame["part"] == part) & (frame["piece"] == piece) & (frame["seed"] == self.seed)).any())

    def add(self, part: str, piece: str, rows: Rows, seconds: float) -> None:
        """Notes a piece that is done, and writes the file whole."""
        spent = [round(seconds, 2), *[0.0] * len(rows)]
        new = [(part, self.seed, piece, *row, spent[i]) for i, row in enumerate(rows)]
        self.frame = pd.concat([self.frame, pd.DataFrame(new, columns=pd.Index(COLUMNS))], ignore_index=True)
        write_whole(self.path, self.frame.to_csv(index=False).encode())

    def keep(self, piece: str, faults: list[Fault]) -> None:
        """Writes what came of each fault, and the file that did it."""
        for number, fault in enumerate(faults):
            name = f"{fault.outcome}-{piece}-{number}".replace(" ", "_").replace("/", "_")
            write_whole(self.out / "faults" / f"{name}.bin", fault.content)
            said = f"{fault.subject}: {fault.mutation}: {fault.outcome}\n{fault.detail}\n"
            write_whole(self.out / "faults" / f"{name}.txt", said.encode("utf-8", "backslashreplace"))


def pieces_of(total: int, size: int) -> Iterator[tuple[int, int]]:
    """A number cut into pieces: the piece's number, and how many it has."""
    for number, start in enumerate(range(0, total, size)):
        yield number, min(size, total - start)


def attack_files(counts: Counts, scale: float, only: str) -> None:
    """Part 1: every kind of file, its share of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        subjects, watch = write_subjects(Path(folder)), Watch()
        shares = sum(subject.share for subject in subjects)
        with limited_memory():
            for subject in subjects:
                if only in subject.name:
                    attack_file(counts, subject, math.ceil(FILES * scale * subject.share / shares), watch)


def attack_file(counts: Counts, subject: Subject, total: int, watch: Watch) -> None:
    """One kind of file, piece by piece."""
    for number, n in pieces_of(total, PIECE):
        piece = f"{subject.name} {number}"
        if not counts.has("files", piece):
            began = time.process_time()
            found, faults = attack(subject, n, random.Random(f"{counts.seed} {piece}"), watch)
            rows = [(subject.name, *key, count) for key, count in found.items()]
            counts.add("files", piece, rows, time.process_time() - began)
            counts.keep(piece, faults)
            say(counts, f"{subject.name}: {number * PIECE + n} of {total}", found, len(faults))


def run_all_programs(counts: Counts, scale: float, only: str) -> None:
    """Part 2: random programs beside the reference."""
    del only
    total = round(PROGRAMS * scale)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for number, n in pieces_of(total, 50):
            piece = f"programs {number}"
            if counts.has("programs", piece):
                continue
            began = time.process_time()
            rows, faults = run_programs(bench, n, f"{counts.seed} {piece}")
            counts.add("programs", piece, rows, time.process_time() - began)
            counts.keep(piece, faults)
            say(counts, f"programs: {number * 50 + n} of {total}", Counter(), len(faults))


def kill_commands(counts: Counts, scale: float, only: str) -> None:
    """Part 3: commands that are killed, starved of disk, or run twice at once."""
    with tempfile.TemporaryDirectory() as folder:
        for piece, job in kill_pieces(Path(folder), max(1, round(KILLS * scale)), counts.seed):
            if only in piece and not counts.has("kills", piece):
                began = time.monotonic()
                rows, faults = job()
                counts.add("kills", piece, rows, time.monotonic() - began)
                counts.keep(piece, faults)
                say(counts, piece, Counter(), len(faults))


def say(counts: Counts, words: str, found: Counter[tuple[str, str]], faults: int) -> None:
    """One line of progress on standard error."""
    by_outcome = Counter[str]()
    for (_, outcome), n in found.items():
        by_outcome[outcome] += n
    said = ", ".join(f"{by_outcome[name]} {name}" for name in OUTCOMES if by_outcome[name])
    sys.stderr.write(f"{words}{': ' if said else ''}{said}; {faults} faults; {counts.path}\n")


PARTS = {"files": attack_files, "programs": run_all_programs, "kills": kill_commands}


def main() -> None:
    """Runs what is asked for, or goes on with it, and writes the table of a whole campaign."""
    parser = argparse.ArgumentParser(description="Mutated files, random programs, killed commands.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 100,000 files, 10,000 programs, 200 kills")
    parser.add_argument("--out", type=Path, required=True, help="folder of counts.csv and of faults/")
    parser.add_argument("--part", choices=list(PARTS), action="append", help="all where absent")
    parser.add_argument("--only", default="", help="kinds of files, or commands, whose names hold this")
    parser.add_argument("--table", action="store_true", help="run nothing; write docs/campaign.md from counts.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    counts = Counts(given.out, given.seed)
    if not given.table:
        for part in given.part or PARTS:
            PARTS[part](counts, given.scale, given.only)
    text = document(counts.frame)
    sys.stdout.write(text)
    if given.table:
        (HERE.parents[1] / "docs" / "campaign.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
