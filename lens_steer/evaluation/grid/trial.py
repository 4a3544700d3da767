"""Whether reuse is exact: by what gates and operators declare, and by a short trial on the model itself.

    trial   two rows of unequal lengths; edits of the stream before and after a block, and inside one where the model
            has such a site, from the middle and at the end; logits by reuse against logits plainly

Configurations that need more than the tokens they edit (gates of whole rows, operators that do not declare
`token_wise = True`) and models whose logits differ are run plainly, and the result's `path` says why.
"""

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from lens_steer.evaluation.grid.passes import forward_unsteered, plain_passes, reused_passes
from lens_steer.evaluation.grid.plan import Configuration, plan_grid
from lens_steer.hooks import Intervention
from lens_steer.hooks.operators import is_token_wise
from lens_steer.hooks.terms import site_faults
from lens_steer.model import SteerableModel, is_hooked, why_not_shared
from lens_steer.model.settings import by_settings

_ROWS = ([1, 2, 3, 4, 3, 2, 1, 3, 4], [2, 4, 3])
_FAILURES = (TypeError, ValueError, AttributeError, IndexError, RuntimeError)
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}


def why_not_reused(model: SteerableModel, configurations: Sequence[Configuration]) -> str:
    """Why configurations cannot be run by reuse on a model.

    Args:
        model: a loaded model.
        configurations: what steers it.

    Returns:
        The reason; empty where they can. The model's part of it is remembered until a setting of the model changes.
    """
    if is_hooked(model):
        return "hooks are installed on the model"
    for configuration in configurations:
        for entry in configuration:
            if entry.gate is not None and entry.gate.per != "token":
                return f"gate {type(entry.gate).__name__} decides whole rows"
            if entry.exclusive:
                return "exclusive interventions do not share a pass"
            if not is_token_wise(entry.operator):
                return f"operator {type(entry.operator).__name__} does not declare token_wise = True"
    return by_settings(_REASONS, model, partial(_reason, model)) or ""


_REASONS: "weakref.WeakKeyDictionary[Any, tuple[str, str]]" = weakref.WeakKeyDictionary()


def _reason(model: SteerableModel) -> str:
    """What the model's cache and the trial say."""
    unshared = why_not_shared(model)
    if unshared:
        return unshared
    blocks: Any = getattr(model, "blocks", ())
    if len(blocks) != int(model.cfg.n_layers):
        return "its blocks are not one list"
    configurations = _trial_configurations(model)
    batch = plan_grid(model, _ROWS, configurations, len(_ROWS) * len(configurations), "last")[0]
    unsteered = forward_unsteered(model, _ROWS, batch, "last", reuse=True)
    width, layers = unsteered.tokens.shape[1], unsteered.cache.layers
    if len(layers) != len(blocks) or any(layer.get_seq_length() != width for layer in layers):
        return "its cache does not hold every token of every layer"
    try:
        plain, reused = (
            torch.cat([part.whole() for _, logits in run(model, unsteered, batch, batch.passes) for part in logits])
            for run in (plain_passes, reused_passes)
        )
    except _FAILURES as error:
        return f"a pass by reuse failed: {error}"
    error = float((plain - reused).norm() / plain.norm())
    if not error <= _TOLERANCE.get(plain.dtype, 0.05):
        return f"its passes by reuse differ from plain passes by {error:.1e} of their norm"
    return ""


def _trial_configurations(model: SteerableModel) -> list[Configuration]:
    """Edits by generic directions at the first, a middle and the last block."""
    generator, n = torch.Generator().manual_seed(0), int(model.cfg.n_layers)

    def edit(site: str, positions: str) -> Configuration:
        direction = torch.randn(int(model.cfg.d_model), generator=generator, dtype=torch.float32, device="cpu")
        return [Intervention.at(site, direction, positions=positions)]

    places = [("resid_post@0", "1:3"), (f"resid_pre@{n // 2}", "last")]
    if ("attn_out", n // 2) not in site_faults(model):
        places.append((f"attn_out@{n // 2}", "1:3"))
    return [edit(*place) for place in [*places, (f"resid_pre@{n - 1}", "last"), (f"resid_post@{n - 1}", "last")]]
