"""Key-value caches that several forward passes start from: a shared prefix is forwarded once.

    prefix, left-padded          -> cache          no padding before the continuation, so that sliding windows are right
    continuations, right-padded  -> from the cache, each row twice

Only caches that hold the keys and values of past tokens can be continued more than once. Models with a recurrent
state, a compressed cache or a chunked cache are refused, with the reason. That a model continues its cache exactly is
tested on its own forward pass, once a model.
"""

import weakref
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.model.forward import StopForward, new_cache, pad, run_hooks, run_pass, takes
from lens_steer.model.logits import next_logits
from lens_steer.model.plain import is_hooked
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.settings import by_settings

_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")
_PREFIXES, _SUFFIXES = ([1, 2, 3, 4, 3, 2], [1, 3, 4]), ([2, 4], [3])
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


def why_not_shared(model: SteerableModel) -> str:
    """Why two continuations cannot start from one forward pass of their prefix on this model.

    Args:
        model: a loaded model, without hooks.

    Returns:
        The reason; empty where they can. It is remembered until a setting of the model changes.
    """
    return by_settings(_REASONS, model, partial(_reason, model)) or ""


_REASONS: "weakref.WeakKeyDictionary[Any, tuple[str, str]]" = weakref.WeakKeyDictionary()


def why_not_decoded(model: SteerableModel) -> str:
    """Why a left-padded batch cannot be decoded with the model's cache.

    Keys and values of padding are masked; a recurrent state takes padding in unless the model keeps it out, which is
    tested once on a short generation. RecurrentGemma does not.

    Args:
        model: a loaded model.

    Returns:
        The reason; empty where it can. A model with a recurrent state that is hooked before it was tested is not
        decoded so.
    """
    if not takes(model, "past_key_values"):
        return "its forward pass takes no key-value cache"
    if all(type(layer).__name__ in _LAYERS for layer in new_cache(model).layers):
        return ""
    if model not in _DECODED:
        if is_hooked(model):
            return "its recurrent state was not tested with padding before it was hooked"
        _DECODED[model] = _padding_missed(model)
    return _DECODED[model]


_DECODED: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()


def _padding_missed(model: SteerableModel) -> str:
    """By how much two decoding steps of a left-padded batch are off; nothing where they are right."""
    (tokens, mask), cache, rows = pad(model, _PREFIXES, side="left"), new_cache(model), list(map(list, _PREFIXES))
    for step in _SUFFIXES[0]:
        with torch.no_grad():
            found = run_pass(model, tokens, mask, {"past_key_values": cache})[:, -1].float()
        plain = next_logits(model, rows)
        error = float((found - plain).norm() / plain.norm())
        if not error <= _TOLERANCE.get(next(model.original_model.parameters()).dtype, 0.05):
            return f"padding enters its recurrent state, so that logits differ by {error:.1e} of their norm"
        rows = [[*row, step] for row in rows]
        tokens = torch.full_like(tokens[:, :1], step)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return ""


def _reason(model: SteerableModel) -> str:
    """What the model's signature, its cache and a forward pass of two short rows say."""
    if not takes(model, "past_key_values"):
        return "its forward pass takes no key-value cache"
    kinds = [type(layer).__name__ for layer in new_cache(model).layers]
    other = next((kind for kind in kinds if kind not in _LAYERS), None)
    if other is not None or not kinds:
        return f"its cache holds {other or 'no layers'}, not keys and values alone"
    plain, continued = _whole(model), _continued(model)
    error = float((plain - continued).norm() / plain.norm())
    if not error <= _TOLERANCE.get(plain.dtype, 0.05):
        return f"its cached and uncached forward passes differ by {error:.1e} of their norm"
    return ""


def _whole(model: SteerableModel) -> Float[Tensor, "k d_vocab"]:
    """The logits of the trial's continuations, without a cache."""
    tokens, mask = pad(model, [prefix + suffix for prefix, suffix in zip(_PREFIXES, _SUFFIXES, strict=True)])
    with torch.no_grad():
        logits = run_pass(model, tokens, mask)
    parts = zip(logits, _PREFIXES, _SUFFIXES, strict=True)
    return torch.cat([row[len(prefix) : len(prefix) + len(suffix)] for row, prefix, suffix in parts])


def _continued(model: SteerableModel) -> Float[Tensor, "k d_vocab"]:
    """The same logits, from a cache of the prefixes; of each row's two copies the second."""
    cache = new_cache(model)
    tokens, mask = pad(model, _PREFIXES, side="left")
    with torch.no_grad():
        run_pass(model, tokens, mask, {"past_key_values": cache})
        cache.batch_repeat_interleave(2)
        new, real = pad(model, [suffix for suffix in _SUFFIXES for _ in range(2)])
        logits = run_pass(model, new, continued_mask(mask, real), {"past_key_values": cache})
    return torch.cat([row[: len(suffix)] for row, suffix in zip(logits[1::2], _SUFFIXES, strict=True)])


def fill_cache(
    model: SteerableModel, tokens: Int[Tensor, "batch new"], mask: Int[Tensor, "batch pos"], cache: Any, layer: int
) -> None:
    """One pass for its keys and values alone; it ends as soon as those of a layer are in the cache.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask.
        cache: an empty one, from `new_cache`.
        layer: the last whose keys and values are wanted; what that layer would make of them is not computed.
    """
    last = cache.layers[min(layer, len(cache.layers) - 1)]  # some architectures' last layers share earlier keys
    store = last.update

    def _update(*args: Any, **kwargs: Any) -> None:
        store(*args, **kwargs)
        raise StopForward

    last.update = _update
    try:
        run_hooks(model, tokens, mask, cache)
    finally:
        del last.update


def continued_mask(prefix: Tensor, new: Tensor) -> Int[Tensor, "batch pos"]:
    """The attention mask of two continuations of each prefix, over cached and new tokens.

    Args:
        prefix: the mask of the cached prefixes, one row each.
        new: the mask of the continuations, both of a prefix side by side.

    Returns:
        One row for each continuation.
    """
    return torch.cat([prefix.repeat_interleave(2, dim=0), new], dim=1)


def whole_cache() -> Any:
    """An empty key-value cache that holds every token at every layer, also where the model's own has windows."""
    from transformers import DynamicCache

    return DynamicCache()


def forked_caches(cache: Any, starts: Int[Tensor, " batch"], copies: int) -> tuple[Any, Int[Tensor, "batch pos"]]:
    """A cache of the first tokens of each row of another, from which any number of passes of equal width start.

    Args:
        cache: of a right-padded batch, made by `whole_cache` and filled by one pass.
        starts: how many tokens of each row the passes start from; 0 or more, and more than 0 for at least one row.
        copies: the most rows that continue one row in one pass; rows in the order 0 ... batch - 1, 0 ... batch - 1, ...

    Returns:
        The cache, left-padded, and the attention mask of its tokens.
    """
    from transformers.cache_utils import Cache

    from lens_steer.model.forked_cache import ForkedCache

    width = int(starts.max())
    place = torch.arange(width, device="cpu") - (width - starts[:, None])
    rows, index = torch.arange(len(starts), device="cpu")[:, None], place.clamp_min(0)

    def past(states: Tensor) -> Tensor:
        if bool((starts == width).all()):
            return states[:, :, :width]
        by_token = rearrange(states, "batch head pos d_head -> batch pos head d_head")
        return rearrange(by_token[rows, index], "batch pos head d_head -> batch head pos d_head")

    layers: list[Any] = [ForkedCache(past(layer.keys), past(layer.values), copies) for layer in cache.layers]
    return Cache(layers=layers), (place >= 0).long()
