"""Faster passes of few tokens: the model's forward pass without TransformerLens' wrappers at modules without hooks.

    wrapper with hooks inside       stays (a block stays with its own hooks, and its submodules are examined)
    wrapper without hooks inside    replaced by the plain module that it wraps
    module whose `forward` was replaced      stays, with all that is inside
    plain attention                 reads keys and values that heads share without copying them (`grouped_attention`)

TransformerLens wraps every linear map and norm, which costs a seventh of the time of a decoding step whether or not
anything is hooked there. `FastForward` builds a second module tree over the same weights and the same hooks; the model
itself is not changed, so nothing has to be restored. It is used only after both trees, and the second one behind the
cache of the first, have given the same logits for a short left-padded generation, and is rebuilt whenever a hook
appears at a module that it bypasses.
"""

import copy
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_steer.model.finite_masks import finite_masks
from lens_steer.model.forward import new_cache, pad, run_pass, takes
from lens_steer.model.grouped_attention import grouped_attention
from lens_steer.model.plain import is_hooked, modules, replaced_forward
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.settings import by_settings

_TRIAL, _NEXT = ([1, 2, 3, 4, 3, 2], [1, 3, 4]), (2, 4)
_WIRED = ("use_split_qkv_input", "use_attn_in", "use_hook_mlp_in", "use_attn_result")
_SCALED = "residual_contribution_scale"  # Granite: attn_out and mlp_out are seen by the attention's and MLP's wrappers
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


class FastForward:
    """The forward pass of a model, by plain modules where nothing is hooked.

    Args:
        model: a loaded model of which `may_fast_forward` is true.
    """

    def __init__(self, model: SteerableModel) -> None:
        self._model = model
        self._tree: nn.Module | None = None
        self._bypassed: list[Mapping[int, Any]] = []
        self._hooks = 0

    def logits(
        self, tokens: Int[Tensor, "batch new"], mask: Int[Tensor, "batch pos"], cache: Any
    ) -> Float[Tensor, "batch 1 d_vocab"]:
        """The logits of the last token of each row; the new tokens are added to the cache.

        Args:
            tokens: what is not in the cache yet.
            mask: over cached and new tokens.
            cache: from `new_cache`.
        """
        return self.run(tokens, mask, {"past_key_values": cache, "logits_to_keep": 1})

    def run(
        self, tokens: Int[Tensor, "batch new"], mask: Int[Tensor, "batch pos"], further: Mapping[str, Any]
    ) -> Float[Tensor, "n k d_vocab"]:
        """One forward pass that continues a cache, as `lens_steer.model.forward.run_pass` makes it by the bridge.

        Args:
            tokens: what is not in the cache yet.
            mask: over cached and new tokens.
            further: arguments of the Hugging Face module, by name; the cache among them.
        """
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        with finite_masks(self._model), grouped_attention():
            return self.tree()(
                input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True, **further
            ).logits

    def tree(self) -> nn.Module:
        """The modules that a pass runs through now; made anew where a hook has appeared at one that it bypassed."""
        if self._tree is None or sum(map(len, self._bypassed)) != self._hooks:
            self._bypassed = []
            self._tree = self._plain(self._model.original_model)
            self._hooks = sum(map(len, self._bypassed))
        return self._tree

    def _plain(self, module: nn.Module) -> nn.Module:
        """The module with its unhooked wrappers replaced by what they wrap; the module itself where there are none."""
        if replaced_forward(module):
            return module
        wrapped = _wrapped(module)
        if wrapped is not None:
            registries = [hooks for inner in module.modules() if _of_bridge(inner) for hooks in _hooks(inner)]
            if all(_is_wiring(hook) for hooks in registries for hook in hooks.values()):
                self._bypassed += registries
                return self._plain(wrapped)
            if not getattr(module, "is_list_item", False):
                return module
        children = {
            name: child if child is None or (wrapped is not None and child is not wrapped) else self._plain(child)
            for name, child in module._modules.items()
        }
        if all(children[name] is child for name, child in module._modules.items()):
            return module
        twin = copy.copy(module)
        twin.__dict__["_modules"] = children
        return twin


def may_fast_forward(model: SteerableModel) -> bool:
    """Whether the plain modules give the bridge's logits, by a trial that is run once a model and its settings.

    Args:
        model: a loaded model.

    Returns:
        The trial's verdict; False, and nothing remembered, where hooks are installed before the first trial.
    """
    if model.compatibility_mode or any(getattr(model.cfg, flag, False) for flag in _WIRED):
        return False
    if any(hasattr(block, _SCALED) for block in getattr(model, "blocks", ())):
        return False
    needed = ("past_key_values", "position_ids", "logits_to_keep")
    if not all(takes(model, argument) for argument in needed) or any(replaced_forward(m) for _, m in modules(model)):
        return False
    return bool(by_settings(_VERDICTS, model, partial(_verdict, model)))


def _verdict(model: SteerableModel) -> bool | None:
    """What a trial says; nothing where hooks are installed, for then both ways may differ for another reason."""
    if is_hooked(model):
        return None
    fast = FastForward(model)
    bridged, plain = (_trial(model, (way, way)) for way in (None, fast))
    try:
        continued = _trial(model, (None, fast))
    except RuntimeError:
        return False  # the modules and their wrappers keep different things in the cache
    error = max(float((found - bridged).norm() / bridged.norm()) for found in (plain, continued))
    return error <= _TOLERANCE.get(bridged.dtype, 0.05)


def wrapping_error(model: SteerableModel) -> float:
    """How far the bridge's logits are from those of the Hugging Face modules that it wraps, on one short sequence.

    Args:
        model: a loaded model without hooks.

    Returns:
        The norm of the difference, relative to that of the modules' own logits; 0 where they are the same.
    """
    tokens, mask = pad(model, _TRIAL[:1])
    with torch.no_grad():
        bridged = model(tokens, attention_mask=mask)  # first: blocks complete their wiring in their first pass
        own = FastForward(model)._plain(model.original_model)(input_ids=tokens, attention_mask=mask).logits
    return float((bridged - own).norm() / own.norm())


_VERDICTS: "weakref.WeakKeyDictionary[Any, tuple[str, bool]]" = weakref.WeakKeyDictionary()


def _trial(model: SteerableModel, ways: Sequence[FastForward | None]) -> Float[Tensor, "k d_vocab"]:
    """The logits of decoding steps of a left-padded batch, each by `FastForward`, or by the bridge where it is None."""
    (tokens, mask), cache, found = pad(model, _TRIAL, side="left"), new_cache(model), []
    for fast in ways:
        with torch.no_grad():
            if fast is None:
                found.append(run_pass(model, tokens, mask, {"past_key_values": cache})[:, -1])
            else:
                found.append(fast.logits(tokens, mask, cache)[:, -1])
        tokens = torch.tensor(_NEXT, device=mask.device)[:, None]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return torch.cat(found)


def _of_bridge(module: nn.Module) -> bool:
    """Whether a module is one of TransformerLens' wrappers; hooks of plain modules always stay."""
    return type(module).__module__.startswith("transformer_lens.")


def _wrapped(module: nn.Module) -> nn.Module | None:
    """The module that a TransformerLens wrapper wraps; None for every other module."""
    return module._modules.get("_original_component") if _of_bridge(module) else None


def _is_wiring(hook: Any) -> bool:
    """Whether a hook is one of the bridge's own, which do nothing unless an option of `_WIRED` is on."""
    return str(getattr(hook, "__module__", "")).startswith("transformer_lens.model_bridge.")


def _hooks(module: nn.Module) -> Iterator[Mapping[int, Any]]:
    """The dictionaries of a module's hooks in torch, where TransformerLens' hooks are too."""
    yield module._forward_hooks
    yield module._forward_pre_hooks
    yield module._backward_hooks
    yield module._backward_pre_hooks
