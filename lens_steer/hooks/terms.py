"""What one short forward pass says against the sites of a model, before anything is read or written there.

    attn_out, mlp_out   resid_pre + attn_out + mlp_out = resid_post
    resid_mid           the same, and resid_pre + attn_out = resid_mid
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

from lens_steer.hooks.hooked import hooked
from lens_steer.model import SteerableModel, is_hooked, output_weights, pad, run_hooks

_TOKENS = [1, 2, 3, 4, 3, 2, 1, 4]
STREAM = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
"""The kinds of sites that are as wide as the residual stream, in the order of a block."""


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
    places = {(kind, layer): f"blocks.{layer}.hook_{kind}" for layer in layers for kind in STREAM}
    places |= {("z", layer): f"blocks.{layer}.attn.hook_z" for layer in layers}
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
        found["z"] = _odd_heads(model, seen, layer)
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

    places = {name: f"blocks.{layer}.{hook}" for name, hook in (("z", "attn.hook_z"), ("out", "hook_attn_out"))}
    with hooked(model, {hook: look(name) for name, hook in places.items()}):
        run_hooks(model, *pad(model, [_TOKENS]))
    said = einsum(seen["z"], matrices, "pos head d_head, head d_head d_model -> pos d_model")
    moved, wanted = (rows - rows[:1] for rows in (seen["out"], said))
    return float((moved - wanted).norm() / seen["out"].norm())


def _missed(terms: Mapping[str, Tensor], kind: str, limit: float) -> str:
    """Which equation of a kind does not hold, and by how much; nothing where they do, or the layer lacks a term."""
    for equation in equations(kind, terms):
        error = equation.error(terms)
        if not error <= limit:
            return f"{equation} misses by {error:.2g} of its size (a norm behind the sum, or a part that is no site)"
    return ""


def _odd_heads(model: SteerableModel, seen: Mapping[tuple[str, int], Tensor], layer: int) -> str:
    """In what a layer's heads are not those of the configuration."""
    wanted = (int(model.cfg.n_heads), int(model.cfg.d_head))
    found = tuple(seen["z", layer].shape[1:]) if ("z", layer) in seen else wanted
    if found == wanted:
        return ""
    return f"its activation is {found} in heads and widths, where the model's configuration says {wanted}"
