"""The identity of a model: what a vector must remember to know whose it is.

Two fingerprints are compared by the fields in `IDENTITY`, not by name: a model keeps its identity when its folder is
renamed.

    content_hash    every byte of every parameter and saved buffer; of other buffers, which are computed from the
                    configuration and differ in the last bits from machine to machine, each entry to 8 bits
    weight_hash     up to 64 evenly spaced entries of every parameter and saved buffer: all that older files have

Weights, configuration and whether texts begin with BOS are looked at anew each time, however they were changed: every
edit of a weight, of one entry too, is another model. The tokenizer's rules are read again only when its size, its first
token or the object changes. The weights are read whole, at the speed of memory (0.1 s for 135 million parameters); a
call of the package that asks many times opens `held` and reads them once.
"""

import hashlib
import json
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lens_steer._util.shown import shown
from lens_steer.errors import MismatchError
from lens_steer.model.content import tensor_content
from lens_steer.model.folders import LAB_FOLDER
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.settings import named_weights
from lens_steer.model.tokens import opening_tokens

IDENTITY = (
    "config_hash",
    "weight_hash",
    "content_hash",
    "tokenizer_hash",
    "prepend_bos",
    "dtype",
    "n_layers",
    "d_model",
)
IDENTITY += ("processing",)
_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "return_dict"}
_VOLATILE |= {"_attn_implementation", "attn_implementation", "output_attentions", "output_hidden_states"}
_SAMPLE = 64
_PACKAGES = ("torch", "transformers", "transformer-lens", "lens-steer")


@shown()
@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a model is, so that a vector knows whose it is; `IDENTITY` names the fields that are compared.

    `d_head` and `n_heads` are of every layer, `architecture` is the Hugging Face model type; files of schema 1 have
    none of the three. `prepend_bos` says whether texts begin with BOS. It and `content_hash` are None in older files,
    and then not compared; `content_hash` also where weights are not in memory.
    """

    name: str
    revision: str
    config_hash: str
    weight_hash: str
    tokenizer_hash: str
    dtype: str
    n_layers: int
    d_model: int
    processing: str
    d_head: int | None = None
    n_heads: int | None = None
    architecture: str = ""
    prepend_bos: bool | None = None
    content_hash: str | None = None

    def differences(self, other: "Fingerprint") -> tuple[str, ...]:
        """The identity fields in which two models differ; empty where they are the same model."""
        known = [name for name in IDENTITY if None not in (getattr(self, name), getattr(other, name))]
        return tuple(name for name in known if getattr(self, name) != getattr(other, name))

    @property
    def label(self) -> str:
        """The name with the beginning of the weights' hash, so that two trainings of one name are told apart."""
        return f"{self.name} {(self.content_hash or self.weight_hash)[:8]}"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as they stand in a file's header."""
        return asdict(self)


def fingerprint(model: SteerableModel) -> Fingerprint:
    """What a model is, as it stands.

    Args:
        model: a loaded model.

    Returns:
        Its name, hashes, sizes and weight processing.
    """
    if model in _HELD:
        return _HELD[model]
    hf: Any = model.original_model
    config = {key: value for key, value in hf.config.to_dict().items() if key not in _VOLATILE}
    found = Fingerprint(
        name=_model_name(str(getattr(model.cfg, "model_name", "") or type(hf).__name__)),
        revision=str(getattr(hf.config, "_commit_hash", None) or ""),
        config_hash=_sha256(json.dumps(config, sort_keys=True, default=str).encode()),
        weight_hash=_hash_weights([*hf.parameters(), *_saved_buffers(hf)]),
        tokenizer_hash=_tokenizer_hash(model),
        dtype=str(next(hf.parameters()).dtype).removeprefix("torch."),
        n_layers=int(model.cfg.n_layers),
        d_model=int(model.cfg.d_model),
        processing="compatibility" if model.compatibility_mode else "raw",
        d_head=_size(model, "d_head"),
        n_heads=_size(model, "n_heads"),
        architecture=str(getattr(hf.config, "model_type", "")),
        prepend_bos=None if model.tokenizer is None else bool(opening_tokens(model)),
        content_hash=_hash_content(model),
    )
    if _FINGERPRINTS.get(model) != found:
        _FINGERPRINTS[model] = found
    return _FINGERPRINTS[model]


@contextmanager
def held(model: SteerableModel) -> Iterator[None]:
    """Lets a call of the package that changes no weight look at the model's identity once, and not before every pass.

    Args:
        model: a loaded model.

    Returns:
        A context manager; `fingerprint` gives what it gave first while it is open.
    """
    if model in _HELD:
        yield
        return
    _HELD[model] = fingerprint(model)
    try:
        yield
    finally:
        del _HELD[model]


_HELD: "weakref.WeakKeyDictionary[Any, Fingerprint]" = weakref.WeakKeyDictionary()
_FINGERPRINTS: "weakref.WeakKeyDictionary[Any, Fingerprint]" = weakref.WeakKeyDictionary()
_TOKENIZERS: "weakref.WeakKeyDictionary[Any, tuple[Any, str]]" = weakref.WeakKeyDictionary()


def versions() -> dict[str, str]:
    """The versions of the libraries that a number depends on; a library run from source says so."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "source"
    return found


def _size(model: SteerableModel, name: str) -> int | None:
    """A size in the model's configuration; None where it has none."""
    value = getattr(model.cfg, name, None)
    return None if value is None else int(value)


def _model_name(name: str) -> str:
    """A name without the path of this machine in it."""
    path = Path(name)
    if path.exists():
        return "lab" if path.resolve() == LAB_FOLDER.resolve() else path.resolve().name
    return name


def _hash_weights(parameters: Sequence[Tensor]) -> str:
    """sha256 of every parameter's shape and of up to 64 evenly spaced entries."""
    digest = hashlib.sha256()
    for parameter in parameters:
        flat = parameter.detach().reshape(-1)
        count = min(_SAMPLE, flat.numel())
        index = torch.arange(count, device=flat.device) * (flat.numel() - 1) // max(count - 1, 1)
        digest.update(repr(tuple(parameter.shape)).encode())
        digest.update(flat[index].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _hash_content(model: SteerableModel) -> str | None:
    """One hash of all weights and buffers; None where some are not in memory (offloaded)."""
    hf: Any = model.original_model
    kept = {id(tensor) for tensor in (*hf.parameters(), *_saved_buffers(hf))}
    weights = [tensor for _, tensor in named_weights(model)]
    if any(tensor.is_meta for tensor in weights):
        return None
    whole = [
        tensor if id(tensor) in kept or not tensor.is_floating_point() else tensor.bfloat16() for tensor in weights
    ]
    return _sha256(json.dumps([tensor_content(tensor) for tensor in whole]).encode())


def _saved_buffers(module: nn.Module) -> list[Tensor]:
    """The buffers that are saved with the weights, in order."""
    owners = [owner for owner in module.modules() if owner._buffers]
    pairs = ((owner, name, buffer) for owner in owners for name, buffer in owner._buffers.items())
    return [
        buffer for owner, name, buffer in pairs if name not in owner._non_persistent_buffers_set and buffer is not None
    ]


def _tokenizer_hash(model: SteerableModel) -> str:
    """The hash of the model's tokenizer, remembered while that is the same object of the same size."""
    tokenizer: Any = model.tokenizer
    state = (id(tokenizer), len(tokenizer), tokenizer.bos_token_id) if tokenizer is not None else None
    if model not in _TOKENIZERS or _TOKENIZERS[model][0] != state:
        _TOKENIZERS[model] = state, _hash_tokenizer(tokenizer)
    return _TOKENIZERS[model][1]


def _hash_tokenizer(tokenizer: Any) -> str:
    """sha256 of the tokenizer's rules, leaving out padding and truncation, which change from call to call."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    kept = {key: value for key, value in rules.items() if backend is None or key not in ("padding", "truncation")}
    return _sha256(json.dumps([kept, tokenizer.bos_token_id], sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def require_same_model(mine: Fingerprint, theirs: Fingerprint, what: str) -> None:
    """Refuses two fingerprints of different models.

    Args:
        mine: one model.
        theirs: the other.
        what: what is being brought together, for the message.

    Raises:
        MismatchError: they differ; every field that differs is named with both values.
    """
    fields = mine.differences(theirs)
    if fields:
        rows = ", ".join(f"{name} ({_short(getattr(mine, name))} / {_short(getattr(theirs, name))})" for name in fields)
        raise MismatchError(
            f"{what} are of different models, {mine.name!r} and {theirs.name!r}: they differ in {rows}. A direction "
            "means something only in the model it was extracted from: extract it again on this one."
        )


def _short(value: object) -> str:
    """A hash by its beginning, anything else whole."""
    return str(value)[:12]
