"""What two threads of torch cost where another program works on the same cores, by how they wait for one another.

    python tests/benchmarks/threads.py

The lab's vector of `myopic` swept over all its layers, in a process of its own each: one thread; two that sleep while
they wait (`OMP_WAIT_POLICY=passive`, which `./run` sets); two that spin, as OpenMP does by itself. On a quiet
machine, and beside as many busy processes as there are cores. Times are medians over rounds, by the clock.

It prints a table and, last, one line of JSON: the ratios to one thread.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two, passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "two, spinning": {"OMP_NUM_THREADS": "2"},
}
SWEEPS = 3
"""Timed in one process, behind one that is not."""


def sweep_seconds() -> float:
    """The median time of a sweep, in this process."""
    from lens_steer import contrast_from_choices, extract, load_model, sweep
    from lens_steer.lab.items import open_items

    model = load_model("lab")
    vector = extract(model, contrast_from_choices("myopic", open_items("myopic", 16, split="train")))
    items = open_items("myopic", 16, split="validation")
    seconds = []
    for _ in range(SWEEPS + 1):
        began = time.perf_counter()
        sweep(model, vector, items, "resid_post@*", [-1.0, 1.0])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def measured(way: str) -> float:
    """`sweep_seconds` of a process that is given the environment of a way."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    command = [sys.executable, __file__, "--sweep"]
    return float(subprocess.check_output(command, env=inherited | WAYS[way], text=True))


def spin() -> None:
    """Keeps one core busy."""
    while True:
        pass


def main() -> None:
    """Measures the ways in turn, quiet and busy, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sweep", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sweep:
        print(sweep_seconds())
        return
    ratios: dict[str, float] = {}
    print(f"{'':<16}" + "".join(f"{way:>24}" for way in WAYS))
    for name, n_busy in (("quiet", 0), ("busy", os.cpu_count() or 2)):
        others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(n_busy)]
        for other in others:
            other.start()
        rounds = [{way: measured(way) for way in WAYS} for _ in range(given.rounds)]
        for other in others:
            other.kill()
        medians = {way: statistics.median(found[way] for found in rounds) for way in WAYS}
        least = medians["one thread"]
        print(f"{name:<16}" + "".join(f"{medians[way]:>15.2f} s {medians[way] / least:>5.2f} x" for way in WAYS))
        ratios |= {f"{name}, {way}": round(medians[way] / least, 3) for way in WAYS}
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
