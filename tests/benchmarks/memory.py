"""How much memory measures take above the loaded model, beside the same numbers from whole tables of logits.

    python tests/benchmarks/memory.py [folder]            the folder of a model; gemma-3-270m's where it is absent

The model is gemma-3-270m (a vocabulary of 262,144) where its folder is in the cache, otherwise a small random one with
as large a vocabulary. Measures:

    side effects   32 texts of 128 tokens, unsteered and steered: KL, top-1, top-10 and likelihood of every token
    choices        32 questions in both orders, of unequal lengths: the logits of two letters
    optimised      one step of an optimised vector: the likelihood of 16 completions of 32 tokens, with its gradient

The naive way forwards a batch whole and makes `log_softmax` of all its logits, as a script would. Each side runs in a
process of its own, in turn, on one CPU thread in float32; the peak is that of the process's resident memory, from the
moment at which the model is loaded. The naive side effects would need tens of gigabytes: they are measured on 2 and 4
texts, and drawn out to 32 along the straight line through both.

It prints a table and, last, one line of JSON: ours in MB and the ratios of the naive way to ours.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from extraction import make_checkpoint

from lens_steer.model.packaged import packaged_folder

SMALL: dict[str, int] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
WORDS, TOKENS, TEXTS, FEW = 262_141, 128, 32, (2, 4)


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description="Peak memory beside whole tables of logits.")
    parser.add_argument("folder", type=Path, nargs="?", help="the model's folder")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        report_peak(given.folder, given.side, given.measure, given.n)
        return
    with tempfile.TemporaryDirectory() as name:
        gemma = packaged_folder("gemma3")
        folder = given.folder or (gemma if gemma.is_dir() else make_checkpoint(Path(name) / "small", SMALL, WORDS))
        few = {n: [peak(folder, side, "side_effects", n) for side in SIDES] for n in FEW}
        ours = peak(folder, "ours", "side_effects", TEXTS)
        others = {name: [peak(folder, side, name, TEXTS) for side in SIDES] for name in ("choices", "optimised")}
    (low, high), (less, more) = FEW, (few[n][1] for n in FEW)
    naive = less + (more - less) * (TEXTS - low) / (high - low)
    rows = {f"side effects, {n} texts": sides for n, sides in few.items()}
    rows[f"side effects, {TEXTS} texts (naive: drawn out)"] = [ours, naive]
    rows |= others
    print(f"{folder.name + ': MB above the loaded model':46} {'ours':>9} {'naive':>9} {'ratio':>7}")
    for label, (mine, theirs) in rows.items():
        print(f"{label:46} {mine:9.0f} {theirs:9.0f} {theirs / mine:7.1f}")
    result = {"side_effects_mb": ours, "side_effects": naive / ours}
    result |= {f"side_effects_{n}": sides[1] / sides[0] for n, sides in few.items()}
    result |= {measure: sides[1] / sides[0] for measure, sides in others.items()}
    print(json.dumps({key: round(value, 2) for key, value in result.items()}))


def peak(folder: Path, side: str, measure: str, n: int) -> float:
    """The peak, in MB above the loaded model, of a fresh process."""
    command = [sys.executable, __file__, str(folder), "--side", side, "--measure", measure, "--n", str(n)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def report_peak(folder: Path, side: str, measure: str, n: int) -> None:
    """In the fresh process: loads the model, measures, and prints the peak in MB above what the model takes."""
    import torch

    from lens_steer import load_model

    torch.set_num_threads(1)
    model = load_model(folder)
    run = SIDES[side][measure]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = resident("VmRSS")
    run(model, n)
    print(resident("VmHWM") - before)


def resident(name: str) -> float:
    """A size of this process from the kernel's table, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def token_rows(n: int, shortest: int = TOKENS) -> list[list[int]]:
    """Random rows of ordinary tokens."""
    draw = random.Random(0)
    lengths = [draw.randint(shortest, TOKENS) for _ in range(n)]
    return [[0, *(draw.randrange(300, 50_000) for _ in range(length - 1))] for length in lengths]


def edit(model: Any) -> Any:
    """What steers: a random direction in the middle of the model."""
    import torch

    from lens_steer import Intervention

    direction = torch.randn(int(model.cfg.d_model), generator=torch.Generator().manual_seed(0))
    return Intervention.at(f"resid_post@{int(model.cfg.n_layers) // 2}", direction)


def our_side_effects(model: Any, n: int) -> None:
    """`measure_side_effects`, given texts that become the rows."""
    from lens_steer.evaluation.side_effects import side_effect_grid

    texts = [model.tokenizer.decode(row[1:]) for row in token_rows(n)]
    side_effect_grid(model, texts, [[edit(model)]], max_tokens=TOKENS)


def naive_side_effects(model: Any, n: int) -> None:
    """All logits of the batch, twice."""
    import torch

    from lens_steer import steer

    tokens = torch.tensor(token_rows(n))
    wanted = tokens[:, 1:, None]
    with torch.no_grad():
        plain = model(tokens).log_softmax(-1)[:, :-1]
        with steer(model, edit(model)):
            steered = model(tokens).log_softmax(-1)[:, :-1]
        (plain.exp() * (plain - steered)).sum(-1)
        for table in (plain, steered):
            own = table.gather(-1, wanted)
            _ = table.argmax(-1), (table > own).sum(-1)


def our_choices(model: Any, n: int) -> None:
    """`score_prompts` of prepared prompts."""
    import torch

    from lens_steer.evaluation.prompts import Prompts
    from lens_steer.evaluation.score import score_prompts

    rows = tuple(map(tuple, token_rows(2 * n, TOKENS // 2)))
    prompts = Prompts(
        items=tuple(map(str, range(n))),
        scoring="letter",
        letters=("A", "B"),
        options=(("one", "two"),) * n,
        rows=rows,
        lengths=tuple(map(len, rows)),
        tokens=torch.tensor([[301, 302]]).expand(2 * n, 2),
        units=torch.ones(2 * n),
        priors=torch.zeros(2 * n),
    )
    score_prompts(model, prompts, [edit(model)])


def naive_choices(model: Any, n: int) -> None:
    """All logits of each batch of 16, of which the last real token's are read."""
    import torch

    from lens_steer import steer
    from lens_steer.model import pad

    rows = token_rows(2 * n, TOKENS // 2)
    for start in range(0, len(rows), 16):
        tokens, mask = pad(model, rows[start : start + 16])
        with torch.no_grad(), steer(model, edit(model)):
            table = model(tokens, attention_mask=mask).log_softmax(-1)
        _ = table[torch.arange(len(tokens)), mask.sum(1) - 1][:, [301, 302]]


def our_step(model: Any, n: int) -> None:
    """The objective of `extract_optimised` and its gradient, of half as many completions."""
    likelihood(model, n // 2, ours=True)


def naive_step(model: Any, n: int) -> None:
    """The same of all logits."""
    likelihood(model, n // 2, ours=False)


def likelihood(model: Any, n: int, ours: bool) -> None:
    """The likelihood of completions, and the gradient of a direction that is added."""
    import torch

    from lens_steer import steer
    from lens_steer.hooks import Intervention
    from lens_steer.model import frozen, pad, sequence_log_probs

    tokens, mask = pad(model, [row[:64] for row in token_rows(n)])
    direction = edit(model).direction.clone().requires_grad_()
    lengths = torch.full((n,), 32)
    with frozen(model), steer(model, Intervention.at("resid_post@1", direction), prompt_lengths=lengths.tolist()):
        if ours:
            found = sequence_log_probs(model, tokens, mask, lengths)
        else:
            table = model(tokens, attention_mask=mask).log_softmax(-1)[:, :-1]
            found = table.gather(2, tokens[:, 1:, None])[:, 31:, 0].sum(1)
        found.sum().backward()


SIDES: dict[str, dict[str, Callable[[Any, int], None]]] = {
    "ours": {"side_effects": our_side_effects, "choices": our_choices, "optimised": our_step},
    "naive": {"side_effects": naive_side_effects, "choices": naive_choices, "optimised": naive_step},
}

if __name__ == "__main__":
    main()
