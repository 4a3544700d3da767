"""Whether vLLM steers as `steer` does: compiled specs on an engine behind RemoteBridge, on a GPU machine.

    python tests/benchmarks/vllm_smoke.py --model smollm2              needs vllm (Linux, CUDA); --tensor-parallel 2 ...
    python tests/benchmarks/vllm_smoke.py --model lab --engine inspect the same without it, on the processor

For each edit the log-probabilities of the next token are compared: engine against `steer`, and against the unsteered
model, both in float32. An edit passes where the first difference is below 2 % of the second; the
unsteered engine, where it differs by less than 0.02 nats.

It prints a table and, last, one line of JSON. It ends with 1 where an edit fails, and with 2 where vllm is missing.
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from lens_steer import Intervention, load_model, steer
from lens_steer.hooks import remote_specs
from lens_steer.hooks.operators import LinearTransport, Replace
from lens_steer.model import LAB_FOLDER, next_logits, tokenize
from lens_steer.model.packaged import packaged_folder

ALLOWED = 0.02
TEXT = "The weather in the north is often"


def edits(model: Any, strength: float) -> dict[str, Intervention]:
    """One edit of every op and of each kind of site that vLLM has, at all tokens and at chosen ones."""
    width, middle = int(model.cfg.d_model), int(model.cfg.n_layers) // 2
    direction = torch.randn(width, generator=torch.Generator().manual_seed(0))
    nothing = LinearTransport(torch.zeros(width), torch.zeros(width))
    plan = [
        Intervention.at(f"resid_post@{middle}", direction, strength),
        Intervention.at(f"resid_pre@{middle}", direction, strength, positions="content & ~last"),
        Intervention.at(f"resid_mid@{middle}", direction, strength, positions="last"),
        Intervention.at(f"attn_out@{middle}", direction, strength, positions="1:4"),
        Intervention.at(f"mlp_out@{middle}", direction, 1.0, operator=Replace()),
        Intervention.at("mlp_out@0", direction, 0.5, operator=nothing),
        Intervention.at("mlp_out@0", direction, 1.0, operator=nothing, positions="last"),
    ]
    return {f"{type(edit.operator).__name__} {edit.site} x {edit.strength:g}, {edit.positions}": edit for edit in plan}


def boot(engine: str, folder: str, tensor: int, pipeline: int) -> Any:
    """The engine behind RemoteBridge, in float32; positions are edited only where vLLM is told at its start."""
    from transformer_lens.model_bridge import RemoteBridge

    if engine == "inspect":
        return RemoteBridge.boot_inspect(folder, dtype=torch.float32)
    return RemoteBridge.boot_vllm(
        folder,
        dtype=torch.float32,
        enable_position_interventions=True,
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
    )


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two rows of log-probabilities, nats."""
    return float((one - other).abs().max())


def measure(model: Any, remote: Any, strength: float) -> list[dict[str, Any]]:
    """A row an edit: its op, how far the engine is from `steer`, and from the unsteered model."""
    rows = tokenize(model, [TEXT])
    tokens, plain = torch.tensor(rows), next_logits(model, rows)[0].log_softmax(dim=-1)

    def engine(specs: dict[str, Any]) -> torch.Tensor:
        logits = remote.forward(tokens, intervene=specs)[0, -1, : len(plain)]
        return logits.float().cpu().log_softmax(dim=-1)

    unsteered = largest(engine({}), plain)
    found = [{"edit": "none", "op": "", "apart": unsteered, "effect": 0.0, "passes": unsteered < ALLOWED}]
    for name, edit in edits(model, strength).items():
        specs = remote_specs(model, remote, edit, rows[0])
        theirs = engine(specs)
        with steer(model, edit):
            ours = next_logits(model, rows)[0].log_softmax(dim=-1)
        apart, effect = largest(theirs, ours), largest(theirs, plain)
        (op,) = {spec["op"] for spec in specs.values()}
        found.append({"edit": name, "op": op, "apart": apart, "effect": effect, "passes": apart < ALLOWED * effect})
    return found


def main() -> int:
    """Runs the comparison; the number with which the process ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2", help="lab, smollm2 (fetched before), or a folder")
    parser.add_argument("--engine", choices=("vllm", "inspect"), default="vllm")
    parser.add_argument("--strength", type=float, default=2.0)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--pipeline-parallel", type=int, default=1)
    given = parser.parse_args()
    if given.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        print(
            "vllm is not installed, so nothing was run. Install 'transformer-lens[vllm]' on a Linux machine with a "
            "CUDA GPU, or run with --engine inspect, which compares the same specs on the processor.",
            file=sys.stderr,
        )
        return 2
    folder = {"lab": LAB_FOLDER}.get(given.model) or (
        Path(given.model) if Path(given.model).is_dir() else packaged_folder(given.model)
    )
    model = load_model(given.model)
    with boot(given.engine, str(folder), given.tensor_parallel, given.pipeline_parallel) as remote:
        rows = measure(model, remote, given.strength)
    for row in rows:
        said = "" if row["passes"] else "   FAILS"
        print(f"{row['edit']:<60} {row['op']:<9} {row['apart']:.1e} of {row['effect']:.3g} nats{said}")
    print(json.dumps({"engine": given.engine, "model": given.model, "edits": rows}))
    return 0 if all(row["passes"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
