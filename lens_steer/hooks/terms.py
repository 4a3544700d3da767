"""What one short forward pass says against the sites of a model, before anything is read or written there.

    attn_out, mlp_out   resid_pre + attn_out + mlp_out = resid_post
    resid_mid           the same, and resid_pre + attn_out = resid_mid
    mlp_input           the MLP, run on it by itself, gives what it gave
    z                   heads are as many and as wide as the model's configuration says
    every site          its hook runs

`lens_steer.hooks.preflight` proves more, with a pass for each site; this is what every use of a site can afford. Blocks
that put a norm behind the sum (OPT-350m) are found here; `resid_pre` and `resid_post` need no equation. A layer that
lacks a term (the state-space layers of a hybrid have no attn_out) is judged by what is left: attn_out and resid_mid by
the second equation, mlp_out by nothing but its write in the preflight.
"""

import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.hooks.hooked import hooked
from lens_steer.model import SteerableModel, is_hooked, mlp_output, output_weights, pad, run_hooks

_TOKENS = [1, 2, 3, 4, 3, 2, 1, 4]
STREAM = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
"""The kinds of sites that are terms of the residual stream, in the order of a block."""
MLP_INPUT, MLP_RAW = "mlp_input", "mlp"
_INSIDE = {MLP_INPUT: "mlp.hook_in", MLP_RAW: "mlp.hook_out", "z": "attn.hook_z"}


def hook_of(kind: str, layer: int) -> str:
    """TransformerLens' name of the hook at which a kind of activation is seen; `mlp` is the module's own output.

    Args:
        kind: of a site, or `mlp`.
        layer: which one.
    """
    return f"blocks.{layer}.{_INSIDE.get(kind, f'hook_{kind}')}"


def allowed_error(model: SteerableModel) -> float:
    """How far an equation may miss, relative to its largest entry: 1e-3, and 5e-2 in half precision.

    Args:
        model: a loaded model.
    """
    return 1e-3 if next(model.original_model.parameters()).dtype in (torch.float32, torch.float64) else 5e-2


def site_faults(model: SteerableModel) -> Mapping[tuple[str, int], str]:
    """Why kinds of sites cannot be used at some layers of a model, by kind and layer.

    Args:
        model: a loaded model.

    Returns:
        The reasons, remembered for as long as the model lives; none while the model is hooked or in training mode and
        has not been looked at before, because then the pass would not be the plain model's.
    """
    if model not in _FAULTS:
        if is_hooked(model) or model.original_model.training:
            return {}
        _FAULTS[model] = _faults(model)
    return _FAULTS[model]


_FAULTS: "weakref.WeakKeyDictionary[Any, dict[tuple[str, int], str]]" = weakref.WeakKeyDictionary()


def _faults(model: SteerableModel) -> dict[tuple[str, int], str]:
    """The faults of every layer, from one pass."""
    names, layers = model.hook_dict, range(int(model.cfg.n_layers))
    places = {(kind, layer): hook_of(kind, layer) for layer in layers for kind in (*STREAM, *_INSIDE)}
    seen: dict[tuple[str, int], Tensor] = {}

    def look(place: tuple[str, int]) -> Callable[[Tensor], None]:
        def run(activation: Tensor) -> None:
            seen[place] = activation[0].detach().float().cpu()

        return run

    with hooked(model, {name: look(place) for place, name in places.items() if name in names}):
        run_hooks(model, *pad(model, [_TOKENS]))
    limit = allowed_error(model)
    faults: dict[tuple[str, int], str] = {}
    for layer in layers:
        terms = {kind: seen[kind, layer] for kind in STREAM if (kind, layer) in seen}
        found = {kind: _missed(terms, kind, limit) for kind in ("attn_out", "resid_mid", "mlp_out")}
        found |= {MLP_INPUT: _odd_mlp(model, seen, layer, limit), "z": _odd_heads(model, seen, layer)}
        faults |= {(kind, layer): reason for kind, reason in found.items() if reason}
    silent = {place for place, name in places.items() if name in names and place not in seen}
    return faults | dict.fromkeys(silent, "its hook does not run in a forward pass")


@dataclass(frozen=True, kw_only=True)
class Equation:
    """That some kinds of activations of a layer add up to another."""

    kinds: tuple[str, ...]
    whole: str

    def __str__(self) -> str:
        return f"{' + '.join(self.kinds)} = {self.whole}"

    def error(self, terms: Mapping[str, Tensor]) -> float:
        """How far it is from holding, relative to the largest entry of the whole.

        Args:
            terms: the activations, by kind.
        """
        total = terms[self.whole]
        return float((sum(terms[kind] for kind in self.kinds) - total).abs().max() / total.abs().max())


SUM = Equation(kinds=("resid_pre", "attn_out", "mlp_out"), whole="resid_post")
BETWEEN = Equation(kinds=("resid_pre", "attn_out"), whole="resid_mid")
_OF_KIND = {kind: (SUM,) for kind in STREAM} | {"resid_mid": (BETWEEN, SUM)}


def equations(kind: str, there: Collection[str]) -> tuple[Equation, ...]:
    """The equations that a kind of site has to satisfy at a layer.

    Args:
        kind: one of `STREAM`.
        there: the kinds of activations that the layer shows.

    Returns:
        Those of whose terms the layer has all; for attn_out the second where it lacks mlp_out.
    """
    wanted = _OF_KIND[kind]
    if kind == "attn_out" and "mlp_out" not in there:
        wanted = (BETWEEN,)
    return tuple(equation for equation in wanted if {*equation.kinds, equation.whole} <= set(there))


def heads_miss(model: SteerableModel, layer: int) -> float:
    """How far attn_out is from its heads through W_O, by the differences between tokens, relative to its size.

        attn_out - attn_out'  =  sum_h (z[h] - z'[h]) W_O[h]            a norm or a scale behind attention breaks it

    Args:
        model: a loaded model.
        layer: which one.

    Raises:
        SiteError: its attention has no output matrix that can be cut into heads.
    """
    matrices, seen = output_weights(model, layer), dict[str, Tensor]()

    def look(name: str) -> Callable[[Tensor], None]:
        def run(activation: Tensor) -> None:
            seen[name] = activation[0].detach().float().cpu()

        return run

    with hooked(model, {hook_of(kind, layer): look(kind) for kind in ("z", "attn_out")}):
        run_hooks(model, *pad(model, [_TOKENS]))
    said = einsum(seen["z"], matrices, "pos head d_head, head d_head d_model -> pos d_model")
    moved, wanted = (rows - rows[:1] for rows in (seen["attn_out"], said))
    return float((moved - wanted).norm() / seen["attn_out"].norm())


def _missed(terms: Mapping[str, Tensor], kind: str, limit: float) -> str:
    """Which equation of a kind does not hold, and by how much; nothing where they do, or the layer lacks a term."""
    for equation in equations(kind, terms):
        error = equation.error(terms)
        if not error <= limit:
            return f"{equation} misses by {error:.2g} of its size (a norm behind the sum, or a part that is no site)"
    return ""


def mlp_misses(model: SteerableModel, layer: int, given: Tensor, output: Tensor) -> float:
    """How far an MLP's output is from what it gives when it is run by itself, relative to its largest entry.

    Args:
        model: a loaded model.
        layer: which one.
        given: what the MLP read, (pos, d_model).
        output: what it gave.

    Raises:
        SiteError: it cannot be run by itself.
    """
    return float((mlp_output(model, layer, given) - output).abs().max() / output.abs().max())


def _odd_mlp(model: SteerableModel, seen: Mapping[tuple[str, int], Tensor], layer: int, limit: float) -> str:
    """Why what is seen before an MLP is not what it reads; nothing where it is, or where the layer has no MLP."""
    places = (MLP_INPUT, layer), (MLP_RAW, layer)
    if not all(place in seen for place in places):
        return ""
    try:
        error = mlp_misses(model, layer, *(seen[place] for place in places))
    except SiteError as fault:
        return str(fault)
    return "" if error <= limit else f"the MLP, run on it by itself, misses what it gave by {error:.2g} of its size"


def _odd_heads(model: SteerableModel, seen: Mapping[tuple[str, int], Tensor], layer: int) -> str:
    """In what a layer's heads are not those of the configuration."""
    wanted = (int(model.cfg.n_heads), int(model.cfg.d_head))
    found = tuple(seen["z", layer].shape[1:]) if ("z", layer) in seen else wanted
    if found == wanted:
        return ""
    return f"its activation is {found} in heads and widths, where the model's configuration says {wanted}"
