"""What a vector of a model's own answers costs beside fine-tuning on the same items, in time and in bytes.

    python tests/benchmarks/painless_cost.py            on the lab
    python tests/benchmarks/painless_cost.py smollm2    on another model; its items are the lab's too

    vector     the model's answers, activations at one site, the mean difference (`ipas_wrong_only`); a file
    choice     the same, and site and strength chosen on a quarter as many items among three sites and four strengths
    adapter    a rank 8 LoRA adapter trained on the right answers for 60 steps of 8; its weights in float32

60 training items of `wealth_seeking`, texts scored per token. One CPU thread, sides in turns, medians of processor
seconds over rounds. It prints a table and, last, one line of JSON: ratios of the adapter to the vector.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from extraction import seconds

from lens_steer.data.own_answers import Listing
from lens_steer.evaluation.automatic import SelectOptions, select
from lens_steer.evaluation.painless import PainlessOptions
from lens_steer.evaluation.painless.run import build, read_answers
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.experiments.painless.on_top import lessons
from lens_steer.extraction.finetune import Tuning, train_adapter
from lens_steer.lab.items import open_items
from lens_steer.model import load_model

ITEMS, HELD = 60, 15


def contenders(model: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    items = list(open_items("wealth_seeking", ITEMS + HELD, split="train"))
    train, held = items[:ITEMS], items[ITEMS:]
    n = int(model.cfg.n_layers)
    sites = tuple(f"resid_post@{layer}" for layer in (n // 4, n // 2, 3 * n // 4))
    scoring = ScoringOptions(scoring="option_token")

    def options(*read: str) -> PainlessOptions:
        tried = SelectOptions(sites=read, strengths=(0.1, 0.2, 0.4, 0.8), positions="last_prompt | after_prompt",
                              places=None, scoring=scoring)  # fmt: skip
        return PainlessOptions(methods=("ipas_wrong_only",), select=tried)

    def vectors(own: PainlessOptions) -> dict[str, Any]:
        reading = read_answers(model, train, own, Listing(template=scoring.template), "cost")
        return build(reading.rows, train, train, own)[0]

    def choice() -> Any:
        own = options(*sites)
        return select(model, vectors(own), held, own.select)

    one = options(sites[1])
    return {
        "vector": lambda: vectors(one),
        "choice": choice,
        "adapter": lambda: train_adapter(model, lessons(train, one), Tuning(steps=60)),
    }


def main() -> None:
    """Measures, prints, and ends with the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="lab")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    model: Any = load_model(given.model)
    sides = contenders(model)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    made: dict[str, Any] = {}
    for _ in range(given.rounds):
        for name, run in sides.items():
            taken[name].append(seconds(lambda name=name, run=run: made.update({name: run()}))[1])
    with tempfile.TemporaryDirectory() as folder:
        (vector,) = made["vector"].values()
        size = vector.save(Path(folder) / "vector.safetensors").stat().st_size
    weights = sum(parameter.numel() * 4 for parameter in made["adapter"].parameters)
    times = {name: statistics.median(values) for name, values in taken.items()}
    bytes_of = {"vector": size, "choice": size, "adapter": weights}
    print(f"{given.model}: median of {given.rounds} rounds\n\n{'':10}{'seconds':>10}{'bytes':>12}")
    for name in sides:
        print(f"{name:10}{times[name]:10.2f}{bytes_of[name]:12,}")
    ratios = {f"adapter / {name}": times["adapter"] / times[name] for name in ("vector", "choice")}
    ratios["bytes"] = weights / size
    print(json.dumps({name: round(value, 2) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
