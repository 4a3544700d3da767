"""Steered logits of vLLM beside those of the model loaded here, for a machine with a GPU.

python tests/benchmarks/vllm_smoke.py FOLDER      a checkpoint in Hugging Face format that vLLM runs
"""

import importlib.util
import json
import sys

import torch

from lens_steer import Intervention, load_model, steer
from lens_steer.hooks import remote_specs
from lens_steer.model import forward, pad, tokenize

POSITIONS = ("all", "last", "content")


def compare(folder: str) -> list[dict[str, float | str]]:
    """For each position rule, how far the engine is from `steer` and from the unsteered model."""
    from transformer_lens.model_bridge import RemoteBridge

    model = load_model(folder)
    (row,) = tokenize(model, ["The weather in the north is often"])
    tokens, mask = pad(model, [row])
    plain = forward(model, tokens, mask)
    direction = torch.randn(int(model.cfg.d_model), generator=torch.Generator().manual_seed(0))
    found = []
    with RemoteBridge.boot_vllm(folder) as engine:
        for positions in POSITIONS:
            edit = Intervention.at(f"resid_post@{int(model.cfg.n_layers) // 2}", direction, 5.0, positions)
            theirs = engine.forward(torch.tensor([row]), intervene=remote_specs(model, engine, edit, row))
            with steer(model, edit):
                ours = forward(model, tokens, mask)
            apart, effect = (float((theirs.cpu().float() - one).abs().max()) for one in (ours, plain))
            found.append({"positions": positions, "apart": apart, "effect": effect})
    return found


if __name__ == "__main__":
    if importlib.util.find_spec("vllm") is None:
        sys.exit("vllm is not installed, or not for this machine: pip install vllm, with a GPU")
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = compare(sys.argv[1])
    for entry in rows:
        print(f"{entry['positions']:<10} from steer() {entry['apart']:.2e}   from unsteered {entry['effect']:.2e}")
    print(json.dumps({f"{entry['positions']}_apart": entry["apart"] for entry in rows}))
