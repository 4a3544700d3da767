"""Results on disk: how a result is named, how each stored piece shows that it is whole, and what is said of one that is
not.

    key    = sha256(weights, settings of the forward pass, versions, and everything else the result depends on)
    piece  = its content, with the sha256 of that content beside it

A piece that is truncated, edited or of another key is computed again, with a warning. Nothing is ever deleted. What
cannot be named, because hooks are installed on the model or an object cannot be told by its content, is not stored.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lens_steer.errors import CacheWarning, SteeringError, StorageError
from lens_steer.model.content import digest
from lens_steer.model.fingerprint import IDENTITY, fingerprint, versions
from lens_steer.model.plain import why_hooked
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.settings import forward_settings, weights_content


def computation_key(model: SteerableModel, about: Any, what: str) -> str | None:
    """What a stored result is named by: the model, the libraries' versions, and everything else that it depends on.

    Args:
        model: a loaded model; it counts by its identity, its weights and its settings, not by its name.
        about: the rest, of any type that `content` takes: the tokens, what steers, what is made of the logits.
        what: what would be stored, for a message, such as `"activations"`.

    Returns:
        64 hexadecimal digits; two results of one key are the same result. None, with a `CacheWarning`, where the result
        depends on an object that cannot be told by its content.

    Raises:
        SteeringError: hooks are installed on the model.
    """
    hook = why_hooked(model)
    if hook:
        raise SteeringError(
            f"hooks are installed on the model ({hook}), so its {what} are not its own and are not to be kept on disk; "
            "go on without a cache or checkpoint folder, or outside the steering context and without the hooks."
        )
    known = fingerprint(model)
    state: dict[str, Any] = {"model": {name: getattr(known, name) for name in IDENTITY}}
    try:
        state |= {"weights": weights_content(model), "settings": forward_settings(model)}
        return digest({**state, "versions": versions(), "about": about}, {id(model): "model"})
    except StorageError as error:
        warnings.warn(
            f"{what} are computed and not stored: {error}. Give an object of a class or function at the top level of a "
            "script or notebook, with numbers, texts and tensors in it.",
            CacheWarning,
            stacklevel=4,
        )
        return None


def checksummed(piece: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a piece with its checksum, as `is_whole` tests it."""
    return {**piece, "sha256": digest(piece)}


def is_whole(piece: Mapping[str, Any]) -> bool:
    """Whether a piece that was read is the one that was written."""
    return piece.get("sha256") == digest({name: value for name, value in piece.items() if name != "sha256"})


def warn_recomputed(path: Path, reason: str) -> None:
    """Says that stored work cannot be used and is computed again."""
    warnings.warn(f"cache file {str(path)!r} is computed again: {reason}.", CacheWarning, stacklevel=3)
