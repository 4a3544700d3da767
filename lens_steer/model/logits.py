"""The logits of chosen tokens of a forward pass: made in chunks, checked, read, and not kept.

    stream[i]   what the unembedding reads at token i            kept: tokens x d_model
    logits[i]   head(stream[i])                                  at most `CHUNK` numbers at a time

All logits of 32 texts of 128 tokens take 4 GB where the vocabulary is 262,144, and each table made of them as much
again; so measures read their numbers off one chunk after the other. The head is the model's own code behind its last
norm (unembedding, bias, scale, cap): its forward pass, with a decoder that returns what it is given. Whether this gives
the model's logits is tried once a model; where it does not, or where something is hooked behind the last norm, the
logits of the whole pass are used.

Logits are checked here. NaN and positive infinity are an error. Negative infinity is a token that the model never says,
such as padding of its vocabulary: it is an error where every token is, or where a number made of it is not finite.
"""

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lens_steer.errors import LogitError
from lens_steer.model.fast_forward import FastForward
from lens_steer.model.forward import pad, run_pass, vocabulary_size
from lens_steer.model.plain import is_hooked
from lens_steer.model.protocol import SteerableModel

CHUNK = 2**24
"""The most logits that are held at once, 64 MB in float32; a token's logits are never divided."""

_TRIAL = ([1, 2, 3, 4, 3, 2], [1, 3, 4])
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
_FAILURES = (TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError)
_OWN = ("lens_steer.", "transformer_lens.model_bridge.")


class Logits:
    """The logits of n tokens of one forward pass, in float32 (float64 where the model is), a chunk at a time.

    Args:
        model: whose they are.
        stream: what the head reads at these tokens.
        of: the sequence of each token, by the caller's own numbers.
        positions: the place of each token in its sequence.
        head: makes logits of rows of the stream; the stream itself is logits where there is none.
    """

    def __init__(
        self,
        model: SteerableModel,
        stream: Float[Tensor, "n width"],
        of: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.of, self.positions = of, positions
        self._model, self._stream, self._head = model, stream, head
        self._size = rows_at_once(model)

    def __len__(self) -> int:
        return len(self._stream)

    def parts(self) -> Iterator[slice]:
        """The tokens whose logits are held together."""
        return (slice(start, min(start + self._size, len(self))) for start in range(0, len(self), self._size))

    def at(self, part: slice) -> Float[Tensor, "k d_vocab"]:
        """The logits of some tokens.

        Raises:
            LogitError: they are NaN or infinite.
        """
        with torch.no_grad():
            return self._made(self._stream[part], part)

    def numbers(
        self, part: slice, function: Callable[[Float[Tensor, "k d_vocab"]], Shaped[Tensor, "k ..."]]
    ) -> Shaped[Tensor, "k ..."]:
        """What is read of the logits of some tokens; on the way back of a gradient the logits are made again.

        Args:
            part: which tokens.
            function: from their logits to one row of numbers a token.

        Raises:
            LogitError: logits or numbers are NaN or infinite.
        """

        def run(stream: Tensor) -> Tensor:
            return function(self._made(stream, part))

        stream = self._stream[part]
        again = stream.requires_grad and torch.is_grad_enabled()
        with torch.set_grad_enabled(again):
            found: Any = (
                checkpoint(run, stream, use_reentrant=False, preserve_rng_state=False) if again else run(stream)
            )
        self._require(found.detach(), part, "give a number that is")
        return found

    def read(
        self, function: Callable[[Float[Tensor, "k d_vocab"], slice], Shaped[Tensor, "k ..."]]
    ) -> Shaped[Tensor, "n ..."]:
        """What is read of the logits of all tokens.

        Args:
            function: from the logits of some tokens, and which they are, to one row of numbers a token.

        Returns:
            The rows of all tokens, in their order.

        Raises:
            LogitError: logits or numbers are NaN or infinite.
        """
        parts = [self.numbers(part, lambda logits, part=part: function(logits, part)) for part in self.parts()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def whole(self) -> Float[Tensor, "n d_vocab"]:
        """The logits of all tokens at once.

        Raises:
            LogitError: they are NaN or infinite.
        """
        parts = [self.at(part) for part in self.parts()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cut(self, n: int) -> list["Logits"]:
        """The same tokens as n equal shares."""
        columns = (column.chunk(n) for column in (self._stream, self.of, self.positions))
        return [Logits(self._model, *share, head=self._head) for share in zip(*columns, strict=True)]

    def made_with(self, others: Sequence["Logits"], part: slice) -> Iterator["Logits"]:
        """Some tokens of these logits, and the same of others, with one call of the head for as many as are held.

        Args:
            others: of the same pass, with the same tokens.
            part: which tokens, one of `parts`.

        Returns:
            An iterator over these and the others, at these tokens; as before, they are checked where they are read.
        """
        every = [self, *others]
        step = max(self._size // max(len(self._stream[part]), 1), 1)
        for start in range(0, len(every), step):
            some = every[start : start + step]
            with torch.no_grad():
                stream = torch.cat([logits._stream[part] for logits in some])
                made = (stream if self._head is None else self._head(stream)).chunk(len(some))
            for logits, own in zip(some, made, strict=True):
                yield Logits(self._model, own, logits.of[part], logits.positions[part])

    @property
    def held(self) -> int:
        """How many numbers are kept."""
        return self._stream.numel()

    def _made(self, stream: Tensor, part: slice) -> Tensor:
        """The logits of some rows of the stream; the largest logit of a row is finite exactly where it can be used."""
        made = stream if self._head is None else self._head(stream)
        logits = made.to(torch.promote_types(made.dtype, torch.float32))
        self._require(logits.detach().amax(dim=-1), part, "are")
        return logits

    def _require(self, numbers: Tensor, part: slice, verb: str) -> None:
        """Refuses numbers of some tokens that are not finite."""
        finite = numbers.isfinite()
        if not bool(finite.all()):
            row = int((~finite).reshape(len(numbers), -1).any(dim=1).nonzero()[0])
            token = range(len(self))[part][row]
            raise LogitError(
                f"the logits after token {int(self.positions[token])} of sequence {int(self.of[token])} {verb} "
                f"{'NaN' if bool(numbers[row].isnan().any()) else 'infinite'}",
                dtype_of(self._model),
            )


def pass_logits(
    model: SteerableModel,
    tokens: Int[Tensor, "batch new"],
    mask: Int[Tensor, "batch pos"],
    wanted: Bool[Tensor, "batch new"],
    cache: Any = None,
    gradient: bool = False,
    of: Sequence[int] | None = None,
    fast: bool = False,
) -> Logits:
    """The logits of chosen tokens, from one forward pass.

    Args:
        model: a loaded model.
        tokens: a padded batch, from `pad`.
        mask: its attention mask; over the cached tokens too, where there are any.
        wanted: which tokens of the batch.
        cache: a key-value cache from `lens_steer.model.prefix`, which the pass continues.
        gradient: let gradients flow through the pass.
        of: the caller's own numbers of the rows, for errors; 0, 1, ... where absent.
        fast: run the pass by plain modules where nothing is hooked, on a model that `may_fast_forward`.

    Returns:
        The logits of the chosen tokens, row by row, which are made when they are read.
    """
    extra: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
    head = _head(model)
    chosen = wanted.to(tokens.device)
    plain = FastForward(model) if fast else None
    inner = model.original_model if plain is None else plain.tree()
    run = partial(run_pass, model, tokens, mask, extra) if plain is None else partial(plain.run, tokens, mask, extra)
    with torch.set_grad_enabled(gradient):
        stream = run()[chosen] if head is None else replace(head, inner=inner).stream(run, chosen)
    absolute = (mask.cumsum(dim=1) - 1)[:, -tokens.shape[1] :]
    names = torch.arange(len(tokens), device="cpu") if of is None else torch.tensor(list(of), device="cpu")
    rows = names.to(tokens.device)[:, None].expand(tokens.shape)
    return Logits(model, stream, rows[chosen].cpu(), absolute[chosen].cpu(), head)


def last_logits(
    model: SteerableModel,
    tokens: Int[Tensor, "batch new"],
    mask: Int[Tensor, "batch pos"],
    cache: Any = None,
    gradient: bool = False,
    of: Sequence[int] | None = None,
    fast: bool = False,
) -> Logits:
    """The logits of the token after each row of a right-padded batch; arguments as for `pass_logits`."""
    ends = mask[:, -tokens.shape[1] :].sum(dim=1, keepdim=True) - 1
    wanted = torch.arange(tokens.shape[1], device=ends.device) == ends
    return pass_logits(model, tokens, mask, wanted, cache, gradient, of, fast)


def logits_after(model: SteerableModel, rows: Sequence[Sequence[int]], of: Sequence[int] | None = None) -> Logits:
    """The logits of the token after each row, from one forward pass.

    Args:
        model: a loaded model.
        rows: token ids of each sequence, BOS included, of any lengths.
        of: the caller's own numbers of the rows, for errors; 0, 1, ... where absent.

    Raises:
        DataError: no rows, an empty row, or a row longer than the model's context.
    """
    return last_logits(model, *pad(model, rows), of=of)


def next_logits(model: SteerableModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, "batch d_vocab"]:
    """The logits of the token after each row, all at once.

    Args:
        model: a loaded model.
        rows: token ids of each sequence, BOS included, of any lengths; one forward pass.

    Returns:
        One row of float32 logits a sequence, on the CPU.

    Raises:
        DataError: no rows, an empty row, or a row longer than the model's context.
        LogitError: logits are NaN or infinite.
    """
    return logits_after(model, rows).whole().float().cpu()


def rows_at_once(model: SteerableModel) -> int:
    """Of how many tokens the logits are held at once."""
    return max(CHUNK // vocabulary_size(model), 1)


def prove_head(model: SteerableModel) -> None:
    """Tries whether logits can be made in chunks, while nothing is hooked; afterwards they can be under hooks too."""
    _head(model)


@dataclass(frozen=True)
class _Head:
    """The head over a decoder, which is named by its place in the model, and gives this class of output."""

    inner: Any
    path: tuple[str, ...]
    output: type

    def __call__(self, stream: Float[Tensor, "n width"]) -> Float[Tensor, "n d_vocab"]:
        """The logits of rows of the stream, by the model's own forward pass over a decoder that returns them."""
        place = torch.zeros(1, 1, dtype=torch.long, device=stream.device)
        twin = _replaced(self.inner, self.path, lambda *_args, **_kwargs: _as(self.output, stream[None]))
        return twin.forward(input_ids=place, use_cache=False)[0][0]

    def stream(self, run: Callable[[], Any], chosen: Tensor) -> Float[Tensor, "n width"]:
        """What the head reads at chosen tokens of a pass, in which logits of one token alone are made."""
        return _decoded(self.inner.get_submodule(".".join(self.path)), run, chosen)[0]

    def hooked(self) -> bool:
        """Whether something of the user's is hooked on the model itself, its decoder, or what comes behind."""
        tables = ((module._forward_hooks, module._forward_pre_hooks) for module in _behind(self.inner, self.path))
        hooks = (hook for pair in tables for table in pair for hook in table.values())
        return any(not str(getattr(hook, "__module__", "")).startswith(_OWN) for hook in hooks)


def _head(model: SteerableModel) -> _Head | None:
    """The head of a model, by a trial that is run once; None where there is none, or where it cannot be used now."""
    if model not in _FOUND:
        if is_hooked(model) or model.original_model.training:
            return None
        _FOUND[model] = _trial(model)
    found = _FOUND[model]
    head = None if found is None else _Head(model.original_model, *found)
    return None if head is None or head.hooked() else head


_FOUND: "weakref.WeakKeyDictionary[Any, tuple[tuple[str, ...], type] | None]" = weakref.WeakKeyDictionary()


def _trial(model: SteerableModel) -> tuple[tuple[str, ...], type] | None:
    """The outermost module around the blocks over whose output the head gives the model's logits."""
    inner, blocks = model.original_model, getattr(model, "blocks", None)
    place = next((name for name, module in inner.named_modules() if blocks and module is blocks[0]), "").split(".")
    tokens, mask = pad(model, _TRIAL)
    chosen = mask.bool()
    with torch.no_grad():
        logits = run_pass(model, tokens, mask)[chosen]
        for depth in range(1, len(place)):
            decoder = inner.get_submodule(".".join(place[:depth]))
            try:
                stream, output = _decoded(decoder, lambda: run_pass(model, tokens, mask), chosen)
                made = _Head(inner, tuple(place[:depth]), output)(stream)
                error = float((made - logits).norm() / logits.norm())
            except _FAILURES:
                continue
            if error <= _TOLERANCE.get(logits.dtype, 0.05):
                return tuple(place[:depth]), output
    return None


def _decoded(decoder: nn.Module, run: Callable[[], Any], chosen: Tensor) -> tuple[Float[Tensor, "n width"], type]:
    """The stream that a decoder gives at chosen tokens of a pass, whose later modules see one token of it alone."""
    attributes, own = vars(decoder), decoder.forward  # not setattr: a bridge hands attributes on to what it wraps
    before = attributes.get("forward")
    seen: list[tuple[Tensor, type]] = []

    def _forward(*args: Any, **kwargs: Any) -> Any:
        output: Any = own(*args, **kwargs)
        seen.append((output[0][chosen], type(output)))
        return _as(type(output), output[0][:1, :1])

    attributes["forward"] = _forward
    try:
        run()
    finally:
        attributes.pop("forward")
        attributes |= {} if before is None else {"forward": before}
    return seen[0]


def _as(output: type, stream: Tensor) -> Any:
    """A stream as a decoder's output."""
    return (stream,) if output is tuple else output(last_hidden_state=stream)


def _replaced(module: nn.Module, path: Sequence[str], forward: Callable[..., Any]) -> Any:
    """The same module with another forward pass, without hooks, at a place inside it; nothing is changed."""
    twin = copy.copy(module)
    if path:
        children = {**module._modules, path[0]: _replaced(module.get_submodule(path[0]), path[1:], forward)}
        twin.__dict__["_modules"] = children
    else:
        twin.__dict__ |= {"forward": forward, "_forward_hooks": {}, "_forward_pre_hooks": {}}
    return twin


def _behind(module: nn.Module, path: Sequence[str]) -> Iterator[nn.Module]:
    """A module and everything in it, but what is inside the module at a place in it."""
    yield module
    for name, child in module.named_children() if path else ():
        yield from _behind(child, path[1:]) if name == path[0] else child.modules()


def require_finite(model: SteerableModel, numbers: Tensor, what: str) -> None:
    """Refuses numbers made of logits or weights that are NaN or infinite.

    Args:
        model: whose they are.
        numbers: any.
        what: what they are, and of which token or layer.

    Raises:
        LogitError: one is.
    """
    if not bool(numbers.isfinite().all()):
        raise LogitError(f"{what} is NaN or infinite", dtype_of(model))


def dtype_of(model: SteerableModel) -> str:
    """The model's dtype, as errors name it."""
    return str(next(model.original_model.parameters()).dtype).removeprefix("torch.")
