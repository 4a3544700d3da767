"""Loading: a name, a folder, a GGUF file, a Hugging Face model or a ready bridge becomes a raw TransformerBridge.

All go through `TransformerBridge.boot_transformers`. Models are kept raw (no compatibility mode), so that their
activations are those of the published weights. A bridge that does not give the logits of the Hugging Face modules it
wraps is refused:

    || bridge(tokens) - modules(tokens) ||  <=  1e-3 || modules(tokens) ||        0.05 in half precision

Default dtype and device, autocast and inference mode count for nothing here: a model is what its arguments say.

Loading installs nothing: where TransformerLens would install torchvision for an image processor, a multimodal model is
loaded without that processor, and takes text. Whatever goes wrong becomes an error that says what was asked, what
happened and what to do.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lens_steer._util.torch_state import initial_torch
from lens_steer.errors import ArgumentError, ModelFolderError, ModelNotFoundError
from lens_steer.model.causes import first_line
from lens_steer.model.fast_forward import wrapping_error
from lens_steer.model.folders import LAB_FOLDER
from lens_steer.model.gguf import read_gguf
from lens_steer.model.hub import hub_error
from lens_steer.model.packaged import PACKAGED, how_to_get, packaged_folder
from lens_steer.model.prefix import why_not_decoded
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.tokens import own_opening
from lens_steer.model.whole_checkpoint import unreadable_weights, whole_checkpoint

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-3}
_FAILURES = (OSError, ValueError, KeyError, RuntimeError, ImportError)


@initial_torch()
def load_model(
    name: str | Path | SteerableModel | Any,
    device: str = "cpu",
    dtype: str | torch.dtype = torch.float32,
    tokenizer: Any = None,
    check: bool = True,
    device_map: str | dict[str, str | int] | None = None,
    prepend_bos: bool | None = None,
) -> SteerableModel:
    """Loads a model by name, folder or file as a raw `TransformerBridge`.

    Args:
        name: `"lab"`, a folder in Hugging Face format, a `.gguf` file (it is dequantised: see `lens_steer.model.gguf`
            for the memory), a name on the Hub, `"smollm2"` or `"gemma3"` once fetched with `lens-steer fetch`, a
            Hugging Face model (it is wrapped in place, and keeps its device and dtype), or a ready bridge (returned as
            it is).
        device: where the weights go.
        dtype: what the weights become, such as `"bfloat16"` or `torch.bfloat16`.
        tokenizer: of a Hugging Face model; where absent, that of the name or folder it was loaded from.
        check: compare the bridge with the modules that it wraps, on a few tokens.
        device_map: how accelerate spreads the layers over devices, such as `"auto"` or `"balanced"`; in place of
            `device`. Not for GGUF files.
        prepend_bos: whether every text begins with BOS, on every path; where absent, as the tokenizer does it by itself
            (a ready bridge: as its `cfg.default_prepend_bos` says). Chats begin as their template says.

    Returns:
        A `transformer_lens.model_bridge.TransformerBridge` without compatibility mode, in eval mode. Whether its texts
        begin with BOS is `model.cfg.default_prepend_bos`, and part of its fingerprint.

    Raises:
        ModelNotFoundError: no such name, access to it is restricted, or the Hub could not be reached.
        ModelFolderError: the folder or file lacks a part, a part cannot be read, TransformerLens has no bridge that
            fits it, or the bridge's logits are not the model's.
        ArgumentError: no such device or dtype, no accelerate for a device map; an object that is no model, or one with
            adapters; or BOS is asked for, and the tokenizer has none.

    Example:
        >>> from lens_steer import load_model
        >>> model = load_model("lab")
        >>> model.cfg.n_layers, model.cfg.d_model
        (8, 128)
    """
    if isinstance(name, SteerableModel):
        if prepend_bos is not None:
            name.cfg.default_prepend_bos = bool(_opening(name.tokenizer, prepend_bos))
        return name
    if not isinstance(name, str | Path):
        return _checked(_wrapped(name, tokenizer, prepend_bos), check)
    dtype = _dtype(dtype)
    _check_placement(device, device_map)
    source = _local(name)
    if source is not None and source.is_file():
        if device_map is not None:
            raise ArgumentError(f"{str(source)!r} is read whole, without a device map; give device=....")
        plain, own = read_gguf(source, dtype, device)
        return _checked(_wrapped(plain, tokenizer or own, prepend_bos), check)
    placed = {"device": device} if device_map is None else {"device_map": device_map}
    from safetensors import SafetensorError

    try:
        model = _booted(str(source or name), tokenizer, prepend_bos, dtype=dtype, **placed)
    except (ArgumentError, ModelFolderError):
        raise
    except (*_FAILURES, SafetensorError) as error:
        raise _loading_error(str(name), source, error) from error
    return _checked(model, check)


def _loading_error(name: str, folder: Path | None, error: BaseException) -> ModelFolderError | ModelNotFoundError:
    """The error of a folder, or of a name on the Hub, that did not become a bridge: whose fault it was."""
    if not _in_transformers(error) and not isinstance(error, torch.OutOfMemoryError):
        return ModelFolderError(
            f"TransformerLens has no bridge that fits the architecture of model {name!r}: "
            f"{first_line(error)}. Nothing is wrong with its files; load another model."
        )
    if folder is None:
        return hub_error(name, error)
    return ModelFolderError(
        f"model folder {str(folder)!r} could not be read: {unreadable_weights(folder, error)}; fetch its files again, "
        "or save it again with save_pretrained (model and tokenizer)."
    )


def _local(name: str | Path) -> Path | None:
    """The folder or GGUF file that a name means, complete as far as can be seen; None for a name on the Hub."""
    path = LAB_FOLDER if name == "lab" else Path(name).expanduser()
    if not path.exists() and name in PACKAGED:
        path = packaged_folder(str(name))
        if not path.is_dir():
            raise ModelNotFoundError(f"model {str(name)!r} is not fetched yet. {how_to_get(str(name))}".strip())
    if path.is_dir():
        _check_folder(path)
        return path
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelFolderError(
                f"{str(name)!r} is a file and no .gguf; give the folder with config.json, weights and tokenizer."
            )
        return path
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or path.suffix.lower() == ".gguf":
        raise ModelNotFoundError(
            f"there is no folder or file {str(name)!r}; give a model folder, a .gguf file, a Hub name, or 'lab'."
        )
    return None


def _booted(name: str, tokenizer: Any, prepend_bos: bool | None, **settings: Any) -> SteerableModel:
    """The bridge of a name or folder, whose texts begin as they do for its tokenizer by itself, or as is wanted.

    TransformerLens loads a tokenizer again to make it put BOS in front, unless its settings say that it does.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.hf_utils import autotokenizer_with_special_token_compat

    own = autotokenizer_with_special_token_compat(name) if tokenizer is None else tokenizer
    opening, settings_before = _opening(own, prepend_bos), own.init_kwargs
    puts_bos = opening == (own.bos_token_id,)
    if puts_bos and tokenizer is None:
        with suppress(ValueError):  # a BOS whose text the tokenizers library does not take in a template
            own.add_bos_token = True
    if not puts_bos or tokenizer is None or "name_or_path" not in settings_before:
        own.init_kwargs = {"name_or_path": name, **settings_before, "add_bos_token": True}
    try:
        with _installing_nothing(), whole_checkpoint(name):
            model = TransformerBridge.boot_transformers(name, tokenizer=own, **settings)
    finally:
        own.init_kwargs = settings_before
    model.cfg.default_prepend_bos = bool(opening)
    model.cfg.tokenizer_prepends_bos = bool(own_opening(model.tokenizer))
    return model


def _opening(tokenizer: Any, prepend_bos: bool | None) -> tuple[int, ...]:
    """The tokens that texts are to begin with."""
    own = own_opening(tokenizer) if prepend_bos is not False else ()
    if own or not prepend_bos:
        return own
    if tokenizer.bos_token_id is None:
        raise ArgumentError(
            "prepend_bos=True, and this model's tokenizer has no beginning-of-sequence token; leave it out, or give a "
            "tokenizer with a bos_token."
        )
    return (int(tokenizer.bos_token_id),)


def _wrapped(model: object, tokenizer: Any, prepend_bos: bool | None) -> SteerableModel:
    """The bridge of a Hugging Face model, which it wraps in place."""
    from transformers import PreTrainedModel

    if hasattr(model, "peft_config") or getattr(model, "_hf_peft_config_loaded", False):
        raise ArgumentError(
            f"the model of type {type(model).__name__} has adapters, which would be read as if they were not there; "
            "give load_model(model.merge_and_unload(), tokenizer=...)."
        )
    if not isinstance(model, PreTrainedModel):
        raise ArgumentError(
            f"a model of type {type(model).__name__} cannot be loaded; give 'lab', a folder, a Hub name, a model of "
            "transformers, or a TransformerBridge."
        )
    name = str(model.config.name_or_path or "")
    if tokenizer is None and not name:
        raise ArgumentError("this Hugging Face model comes from no folder or name; give its tokenizer: tokenizer=....")
    name = name or type(model).__name__
    model.config.architectures = model.config.architectures or [type(model).__name__]  # as saving it would say
    try:
        return _booted(name, tokenizer, prepend_bos, hf_model=model, device=str(model.device), dtype=model.dtype)
    except ArgumentError:
        raise
    except _FAILURES as error:
        raise ModelFolderError(
            f"a {type(model).__name__} could not be wrapped: {first_line(error)}; give its tokenizer, or a model that "
            "no bridge wraps yet. TransformerLens may have no bridge for its architecture."
        ) from error


def _checked(model: SteerableModel, check: bool) -> SteerableModel:
    """The model, unless its bridge does not give the logits of the modules that it wraps."""
    if not check:
        return model
    inner: Any = model.original_model
    advice = "Load another model, or pass check=False where this one is to be looked at all the same."
    try:
        error = wrapping_error(model)
    except (*_FAILURES, TypeError, AttributeError) as failure:
        raise ModelFolderError(
            f"TransformerLens' bridge of {type(inner).__name__} does not run on a few tokens: "
            f"{first_line(failure)}. Load another model."
        ) from failure
    if error > _TOLERANCE.get(next(inner.parameters()).dtype, 0.05):
        raise ModelFolderError(
            f"TransformerLens' bridge of {type(inner).__name__} gives other logits than the model itself: they differ "
            f"by {error:.2g} of their norm on a few tokens. {advice}"
        )
    why_not_decoded(model)  # remembered: later the model may be hooked
    return model


def _in_transformers(error: BaseException) -> bool:
    """Whether it was transformers that failed to read a checkpoint, and not TransformerLens that failed to wrap it."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).split(".")[0] == "transformers" for frame, _ in frames)


@contextmanager
def _installing_nothing() -> Iterator[None]:
    """Keeps TransformerLens from installing torchvision, which it does where an image processor needs it."""
    from transformer_lens.model_bridge.sources.transformers import helpers

    installer = helpers._ensure_torchvision
    helpers._ensure_torchvision = lambda: False
    try:
        yield
    finally:
        helpers._ensure_torchvision = installer


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A floating dtype, given by itself or by its name."""
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if found not in _DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in _DTYPES)
        raise ArgumentError(f"dtype {str(dtype)!r} is not one that a model can run in; give one of {names}.")
    return found


def _check_placement(device: str, device_map: object) -> None:
    """Refuses a device that is not there, or a device map without accelerate, before anything is loaded."""
    if device_map is not None:
        if find_spec("accelerate") is None:
            raise ArgumentError("device_map needs the package accelerate: pip install accelerate; or give device=....")
        if device != "cpu":
            raise ArgumentError(f"both device {device!r} and device_map {device_map!r} were given; give one of them.")
        return
    try:
        torch.empty(0, device=device, dtype=torch.float32)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = {"cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
        there = ["cpu", *(name for name, is_there in found.items() if is_there)]
        raise ArgumentError(
            f"device {device!r} is not there ({first_line(error)[:80]}); give one of {', '.join(there)}."
        ) from error


def _check_folder(folder: Path) -> None:
    """Names what a model folder lacks."""
    has_weights = any((folder / name).is_file() for name in _WEIGHTS) or any(folder.glob("*.safetensors"))
    parts = {
        "config.json": (folder / "config.json").is_file(),
        "weights (model.safetensors)": has_weights,
        "a tokenizer (tokenizer.json)": any((folder / name).is_file() for name in _TOKENIZERS),
    }
    missing = [part for part, there in parts.items() if not there]
    if missing:
        raise ModelFolderError(
            f"model folder {str(folder)!r} lacks {', '.join(missing)}; expected a folder written by save_pretrained "
            "of both the model and its tokenizer."
        )
