"""Extraction, the exact sweep, steered generation and their memory on a GPU, each beside the plain way of doing it.

    python tests/benchmarks/gpu.py                                 SmolLM2 and a random 1.2 B Llama, bfloat16 on cuda
    python tests/benchmarks/gpu.py --device cpu --models small     the script itself, on the processor

    extraction    32 pairs, all layers                    beside one pass of every text, which keeps all hidden states
    sweep         16 prompts, every second layer x 2      beside plain passes, of which every eighth configuration is
                  strengths, at the last token            run, and their time scaled up
    generation    4 prompts, 64 new tokens, steered       beside Hugging Face's `generate` on its own model, and beside
                                                          our own unsteered

In turns, after one round that is not counted; medians over rounds of seconds by the clock, the device synchronised.
Memory is the most that torch had allocated, less what it held before. It prints the device and a table and, last, one
line of JSON: the ratios.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from extraction import SMALL, make_checkpoint, make_pairs
from transformers import AutoModelForCausalLM

from lens_steer import Decoding, Intervention, extract, generate, load_model
from lens_steer.evaluation.grid import GridOptions, run_grid
from lens_steer.model import pad, tokenize
from lens_steer.model.packaged import fetch_model

LARGE = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
         "num_key_value_heads": 8}  # fmt: skip
RANDOM = {"1b": (LARGE, 127_997), "small": (SMALL, 1_997)}
PAIRS, PROMPTS, NEW, EIGHTH = 32, 16, 64, 8


def load(name: str, folder: Path, device: str, dtype: str) -> tuple[Any, Any]:
    """A fetched model or a random one, ours and Hugging Face's own."""
    source = make_checkpoint(folder / name, *RANDOM[name]) if name in RANDOM else fetch_model(name)
    plain: Any = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype))
    return load_model(source, device=device, dtype=dtype), plain.to(device).eval()


def contenders(model: Any, inner: Any, words: int) -> dict[str, tuple[Callable[[], Any], float]]:
    """What is timed, and by how much its time is scaled up."""
    contrast = make_pairs(PAIRS, words)
    texts = [pair.prompt + side for pair in contrast.pairs for side in (pair.positive, pair.negative)]
    n, width = int(model.cfg.n_layers), int(model.cfg.d_model)
    directions = torch.nn.functional.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(0)), dim=1)
    grid = [
        [Intervention.at(f"resid_post@{layer}", directions[layer], strength, "last")]
        for layer in range(0, n, 2)
        for strength in (-1.0, 1.0)
    ]
    rows, prompts = tokenize(model, texts[:PROMPTS]), texts[:4]
    edit, decoding = (
        Intervention.at(f"resid_post@{n // 2}", directions[n // 2]),
        Decoding(max_new_tokens=NEW, stop_at_eos=False),
    )
    given = [batch.to(model.cfg.device) for batch in pad(model, tokenize(model, prompts), side="left")]

    def hidden_states() -> None:
        with torch.no_grad():
            for text in texts:
                (row,) = tokenize(model, [text])
                states = inner(torch.tensor([row], device=model.cfg.device), output_hidden_states=True).hidden_states
                torch.stack([state[0, -1] for state in states]).float().cpu()

    def plain() -> Any:
        how = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
        return inner.generate(given[0], attention_mask=given[1], pad_token_id=0, **how)

    def swept(configurations: Any, reuse: bool) -> Any:
        return run_grid(
            model, rows, configurations, lambda *_: lambda logits: logits[:, :1].float(), GridOptions(reuse=reuse)
        )

    return {
        "extraction": (lambda: extract(model, contrast), 1.0),
        "hidden states": (hidden_states, 1.0),
        "exact sweep": (lambda: swept(grid, True), 1.0),
        "naive sweep": (lambda: swept(grid[::EIGHTH], False), (1 + len(grid)) / (1 + len(grid[::EIGHTH]))),
        "steered generation": (lambda: generate(model, prompts, edit, decoding), 1.0),
        "unsteered generation": (lambda: generate(model, prompts, (), decoding), 1.0),
        "unhooked generation": (plain, 1.0),
    }


def measured(run: Callable[[], Any], device: str) -> tuple[float, float]:
    """Seconds and bytes of one call; no bytes on the processor."""
    if not device.startswith("cuda"):
        began = time.perf_counter()
        run()
        return time.perf_counter() - began, float("nan")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held, began = torch.cuda.memory_allocated(), time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - began, torch.cuda.max_memory_allocated() - held


def ratios_of(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Medians of the ratios within a round: above 1 is faster than the plain way, and for generation slower."""
    pairs = {
        "extraction": ("hidden states", "extraction"),
        "sweep": ("naive sweep", "exact sweep"),
        "steered_to_unsteered": ("steered generation", "unsteered generation"),
        "steered_to_unhooked": ("steered generation", "unhooked generation"),
    }
    return {
        name: round(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)), 3)
        for name, (one, other) in pairs.items()
    }


def main() -> None:
    """Measures every model and prints it."""
    parser = argparse.ArgumentParser(description="Speed and memory on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--models", nargs="+", default=["smollm2", "1b"], choices=["smollm2", "gemma3", *RANDOM])
    parser.add_argument("--rounds", type=int, default=5, help="repeats; the median counts")
    given = parser.parse_args()
    card = torch.cuda.get_device_name() if given.device.startswith("cuda") else "the processor"
    print(f"{card}, torch {torch.__version__}, {given.dtype}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            runs = contenders(*load(name, Path(folder), given.device, given.dtype), RANDOM.get(name, ({}, 1_997))[1])
            rounds = [
                {run: measured(act, given.device) for run, (act, _) in runs.items()} for _ in range(given.rounds + 1)
            ]
            seconds = {run: [taken[run][0] * scale for taken in rounds[1:]] for run, (_, scale) in runs.items()}
            print(f"{name:24} {'seconds':>9} {'memory, MB':>11}")
            for run, taken in seconds.items():
                held = max(one[run][1] for one in rounds[1:])
                print(f"  {run:22} {statistics.median(taken):9.3f} {held / 1e6:11.0f}")
            found[name] = ratios_of(seconds)
    print(json.dumps({"device": card, **found}))


if __name__ == "__main__":
    main()
