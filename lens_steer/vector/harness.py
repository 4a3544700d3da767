"""Export of interventions to lm-evaluation-harness, whose model `steered` adds vectors while it runs any of its tasks.

    resid_post@l    ->   layers.l             what block l gives
    attn_out@l      ->   layers.l.self_attn   what its attention gives, where no norm stands behind it
    mlp_out@l       ->   layers.l.mlp         what its MLP gives, where no norm stands behind it

Module names are those of the model without its head, as Hugging Face has them. The harness adds
`steering_vector x steering_coefficient` at every token of every sequence, padding included, and knows one vector a
module: vectors at one site are summed here. It cannot choose tokens, gate, or write in another way than adding, and
has no edit of a block's input; such interventions are refused.

Source: `lm_eval/models/hf_steered.py` of lm-evaluation-harness 0.4.13, which also reads `head_index` and `clamp`.
"""

import io
from pathlib import Path
from typing import Any

import torch

from lens_steer._util.files import write_whole
from lens_steer.errors import FormatError
from lens_steer.hooks import Intervention, Interventions, as_interventions, check_intervention
from lens_steer.hooks.operators import Add
from lens_steer.model import SteerableModel, module_names

MODULES = {"resid_post": "", "attn_out": "attn", "mlp_out": "mlp"}


def export_lm_eval(model: SteerableModel, interventions: Interventions, path: str | Path) -> Path:
    """Writes interventions as the file that lm-evaluation-harness' steered model reads.

    Run them with `lm_eval --model steered --model_args pretrained=FOLDER,steer_path=PATH --tasks ...`.

    Args:
        model: the interventions' model, as loaded from FOLDER.
        interventions: additions at all positions.
        path: of the file; its name ends in `.pt` or `.pth`.

    Returns:
        The path written.

    Raises:
        FormatError: the name of the file, or an intervention that the harness cannot do; the message says which part.
        MismatchError, SiteError, DirectionError: an intervention that is not of this model, as for `steer`.
    """
    path, edits = Path(path), as_interventions(interventions)
    if path.suffix not in (".pt", ".pth") or not edits:
        raise FormatError(f"{path}, with {len(edits)} interventions; the harness reads files that end in .pt or .pth, "
                          "and at least one intervention is wanted.")  # fmt: skip
    named: dict[str, dict[str, Any]] = {}
    for entry in edits:
        check_intervention(model, entry)
        name, added = _module(model, entry), entry.strength * entry.direction
        before = named.get(name, {}).get("steering_vector", torch.zeros_like(added))
        named[name] = {"action": "add", "steering_vector": before + added, "steering_coefficient": 1.0}
    content = io.BytesIO()
    torch.save(named, content)
    return write_whole(path, content.getvalue())


def _module(model: SteerableModel, entry: Intervention) -> str:
    """The name of the module whose output the intervention adds to."""
    lacks = [
        (type(entry.operator) is not Add, f"is written by {type(entry.operator).__name__}, and the harness only adds"),
        (entry.gate is not None, "has a gate, and the harness adds always"),
        (str(entry.positions) != "all", f"edits the positions {entry.positions}, and the harness edits all"),
        (entry.site.kind not in MODULES, f"is at {entry.site}; the harness edits {', '.join(MODULES)}"),
    ]
    for wrong, said in lacks:
        if wrong:
            raise FormatError(f"{entry} cannot be exported: it {said}.")
    part = MODULES[entry.site.kind]
    name = module_names(model, entry.site.layer).get(part)
    if name is None:
        raise FormatError(f"{entry} cannot be exported: what its module gives is not {entry.site} on this architecture "
                          "(a norm or a scale stands behind it). Use resid_post.")  # fmt: skip
    return name
