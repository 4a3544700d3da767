"""The file format of steering vectors: safetensors with a JSON header for the provenance.

    tensors   "resid_post@12" -> float32 (d_model,)      header   {"lens_steer": JSON with schema, name, method, ...}
              "z@5.3"         -> float32 (d_head,)

Schema 2 adds d_head, n_heads and architecture to the fingerprint, which head sites need; schema 3 adds a checksum of
the tensors and the other entries of the JSON. Older files are read too. Files are written atomically, and the same
vector gives the same bytes. Truncated and changed files, other formats and newer schemas raise `FormatError`; where a
model is given, a vector of another model raises `MismatchError`. No pickle is used.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lens_steer._util.files import CHECKSUM, checksum, write_whole
from lens_steer.errors import FormatError, LensSteerError
from lens_steer.hooks.sites import Site
from lens_steer.model import Fingerprint, SteerableModel, fingerprint, require_same_model
from lens_steer.vector.vector import SteeringVector

SCHEMA, CHECKSUMMED = 3, 3
_COUNTS = ("n_positive", "n_negative")
_PLAIN = ("name", "method", "position", "data_hash", *_COUNTS)


def save_vector(vector: SteeringVector, path: str | Path) -> Path:
    """Writes a vector to a safetensors file.

    Args:
        vector: the vector.
        path: of the file, usually ending in `.safetensors`; an existing file is replaced.

    Returns:
        The path written.

    Raises:
        FormatError: an option of the vector has no JSON form.
    """
    header: dict[str, Any] = {key: getattr(vector, key) for key in _PLAIN}
    header |= {"schema": SCHEMA, "kind": "steering_vector", "fingerprint": vector.fingerprint.to_dict()}
    header |= {"options": dict(vector.options), "versions": dict(vector.versions)}
    header["activation_norms"] = {str(site): norm for site, norm in vector.activation_norms.items()}
    try:
        json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"vector {vector.name!r} cannot be saved: {error}; its options must be numbers, texts, lists, dictionaries."
        ) from error
    tensors = {str(site): direction for site, direction in vector.directions.items()}
    header[CHECKSUM] = checksum(header, save_tensors(tensors))
    return write_whole(path, save_tensors(tensors, metadata={"lens_steer": json.dumps(header, sort_keys=True)}))


def load_vector(path: str | Path, model: SteerableModel | None = None) -> SteeringVector:
    """Reads a vector that `save_vector` wrote.

    Args:
        path: the file.
        model: where given, the vector must be of this model.

    Returns:
        The vector, equal to the saved one in every field.

    Raises:
        FormatError: the file is missing, truncated, changed, of another format or of a newer schema.
        MismatchError: the vector is of another model; the differing fields are named.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error}); give a file written by SteeringVector.save.") from error
    try:
        tensors = load_tensors(content)
        outer = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: truncated, or not a safetensors file ({error}); save the vector again.") from error
    header = _header(outer, tensors, path)
    try:
        _require_types(header)
        vector = SteeringVector(
            **{key: header[key] for key in _PLAIN},
            directions=_by_site(tensors),
            activation_norms=_by_site(header["activation_norms"]),
            fingerprint=Fingerprint(**header["fingerprint"]),
            options=header["options"],
            versions=header["versions"],
        )
    except (KeyError, TypeError, AttributeError, OverflowError, LensSteerError) as error:
        raise FormatError(f"{path}: the header or a direction is damaged ({error}); save the vector again.") from error
    if model is not None:
        what = f"vector {vector.name!r} ({path}) and the given model"
        require_same_model(vector.fingerprint, fingerprint(model), what)
    return vector


def _require_types(header: Mapping[str, Any]) -> None:
    """Refuses provenance of other types than a vector's.

    Raises:
        FormatError: an entry is of another type, or a number that none of its kind is.
    """
    for name in _PLAIN:
        kind = int if name in _COUNTS else str
        if type(header[name]) is not kind or (kind is int and header[name] < 0):
            raise FormatError(f"{name} is {header[name]!r}; expected {'a count' if kind is int else 'a text'}")
    for name, hint in get_type_hints(Fingerprint).items():
        value = header["fingerprint"].get(name)
        if type(value) not in (get_args(hint) or (hint,)) and name in header["fingerprint"]:
            raise FormatError(f"the fingerprint's {name} is {value!r}; expected {hint}")
    texts = [*header["versions"].values(), *header["versions"]]
    if not isinstance(header["options"], dict) or not all(isinstance(text, str) for text in texts):
        raise FormatError("options and versions are not what they should be")
    for site, norm in header["activation_norms"].items():
        if type(norm) not in (int, float) or not 0 < norm <= sys.float_info.max:
            raise FormatError(f"the activation norm at {site} is {norm!r}; expected a number above 0")


def _by_site(entries: Mapping[str, Any]) -> dict[Site, Any]:
    """Entries by site.

    Raises:
        FormatError: two names are of one site, such as `resid_post@1` and `resid_post@01`.
    """
    found = {Site.parse(name): entry for name, entry in entries.items()}
    if len(found) < len(entries):
        raise FormatError("two entries are of one site")
    return found


def _header(outer: dict[str, Any], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The lens_steer header; raises for unknown kinds and schemas, and where it or a tensor was changed."""
    try:
        header = json.loads(outer["__metadata__"]["lens_steer"])
        schema, kind, given = header["schema"], header["kind"], header.get(CHECKSUM)
        true = checksum(header, save_tensors(dict(tensors)))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"{path}: a safetensors file, but not one of lens_steer (no header of it); expected a file written by "
            "SteeringVector.save."
        ) from error
    if kind != "steering_vector":
        raise FormatError(f"{path}: holds a {kind!r}; expected a steering vector.")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise FormatError(
            f"{path}: schema {schema!r}; this version of lens_steer reads up to {SCHEMA}. Install a newer lens_steer."
        )
    if (given is not None or schema >= CHECKSUMMED) and given != true:
        raise FormatError(f"{path}: changed after it was saved (its checksum does not match); save the vector again.")
    return header
