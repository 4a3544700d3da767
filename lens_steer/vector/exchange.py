"""Import and export of GGUF control vectors (llama.cpp, repeng) and import of tensors with one row per layer.

    GGUF            direction.N  <->  resid_post@N         added after block N, counted from 0, at every token
    blocks          row i         ->  resid_post@i         one row per block
    transformers    row 0         ->  resid_pre@0          the embeddings; one more row than blocks
                    row i         ->  resid_post@(i-1)     hidden_states[i], the output of block i-1

N in a GGUF file is the block's index from 0. llama.cpp refuses `direction.0` (its buffer starts at layer 1), so
`resid_post@0` cannot be exported; repeng uses the same numbering and would add `direction.0` after block 0. Source:
llama.cpp's `common_control_vector_load_one`, `llama_adapter_cvec::apply` and `build_cvec`, and repeng's
`ControlVector`.

A file that `export_gguf` wrote has a checksum among its facts, which other programs pass over; one of another program
has none, so a change of its numbers is not noticed. An archive of `torch.save` has a CRC-32 of each record.

These files contain neither activation norms nor training data: the median activation norms must be given
(`lens_steer.extraction.norms.activation_norms` measures them), the method is `imported`, the position `unknown`, and
the data hash that of the file. Directions are converted to float32 and not scaled; layers with a zero direction are
left out. No code from a file is run: where a tensor was pickled inside a class, the class must be named and is replaced
by an empty one without methods.
"""

import hashlib
import io
import re
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.files import checksum, write_whole
from lens_steer._util.shown import shown
from lens_steer.errors import FormatError, MismatchError
from lens_steer.hooks.sites import Site
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector.vector import SteeringVector

Numbering = Literal["transformers", "blocks"]
_ARCHITECTURE = "controlvector"
_SCHEMA, _CHECKSUM, SCHEMA = "lens_steer.schema", "lens_steer.sha256", 1
_DAMAGED = (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError)
_REFUSED = torch.serialization.pickle.UnpicklingError  # pyright: ignore[reportPrivateImportUsage]
_BROKEN = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, struct.error)
_UNREADABLE = (_REFUSED, *_BROKEN)
"""What `torch.load` raises; `_REFUSED` is its way of saying that a file holds more than weights."""
_BROKEN_ARCHIVE = (zipfile.BadZipFile, NotImplementedError, OverflowError, *_BROKEN)
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_ADVICE = "In the environment that made it, write the tensor alone: torch.save(v.directions_tensor, path)."
NO_HOLDERS: Mapping[str, str] = MappingProxyType({})


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRows:
    """A tensor with one row per layer, and the text and number attributes of the class that held it, if any."""

    rows: Float[Tensor, "layer d_model"]
    facts: Mapping[str, str | int | float | bool]


def export_gguf(vector: SteeringVector, path: str | Path, model_hint: str | None = None) -> Path:
    """Writes a vector as a GGUF control vector, for llama.cpp or repeng.

    Args:
        vector: the vector, written at raw strength 1; multiply it first for another strength.
        path: of the file, usually ending in `.gguf`; an existing file is replaced.
        model_hint: the architecture name in the file; the model's Hugging Face type where absent.

    Returns:
        The path written. The same vector gives the same bytes.

    Raises:
        FormatError: a site that the format does not support, an unknown architecture, or no `gguf` package.
    """
    gguf = _gguf()
    for site in vector.sites:
        if site.kind != "resid_post" or site.layer == 0:
            raise FormatError(
                f"vector {vector.name!r} cannot be exported: GGUF control vectors are added after blocks 1 and later, "
                f"so {site} is not supported. Leave it out, or save the vector with SteeringVector.save."
            )
    hint = model_hint or vector.fingerprint.architecture
    if not hint:
        raise FormatError(f"vector {vector.name!r} has no architecture of its model; pass model_hint.")
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "vector.gguf"
        writer = gguf.GGUFWriter(draft, _ARCHITECTURE)
        writer.add_name(vector.name)
        writer.add_string(f"{_ARCHITECTURE}.model_hint", hint)
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vector.sites))
        rows = {f"direction.{site.layer}": vector.at(site).numpy() for site in vector.sites}
        writer.add_uint32(_SCHEMA, SCHEMA)
        writer.add_string(_CHECKSUM, _checksum({f"{_ARCHITECTURE}.model_hint": hint}, rows))
        for name, row in rows.items():
            writer.add_tensor(name, row)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return write_whole(path, draft.read_bytes())


def import_gguf(
    path: str | Path,
    model: SteerableModel,
    activation_norms: Mapping[Site, float],
    model_hint: str | None = None,
) -> SteeringVector:
    """Reads a GGUF control vector that llama.cpp, repeng or `export_gguf` wrote.

    Args:
        path: the file.
        model: the model of the vector; the file only has the name of its architecture.
        activation_norms: the median activation norm at each `resid_post` site in the file.
        model_hint: the architecture name expected in the file; the model's Hugging Face type where absent. llama.cpp
            uses its own names, such as `llama` for Mistral.

    Returns:
        The vector, `direction.N` at `resid_post@N`.

    Raises:
        FormatError: the file is missing, truncated or of another format, or there is no `gguf` package.
        MismatchError: the file is for another architecture, width or number of layers.
    """
    gguf = _gguf()
    content = _read(path, "a GGUF control vector")
    try:
        reader = _bounded(gguf.GGUFReader)(path)
        facts = {key: field.contents() for key, field in reader.fields.items()}
        stored = {tensor.name: tensor.data for tensor in reader.tensors}
        changed = _CHECKSUM in facts or _SCHEMA in facts
        changed = changed and (facts.get(_SCHEMA), facts.get(_CHECKSUM)) != (SCHEMA, _checksum(facts, stored))
        rows = {name: torch.tensor(row, device="cpu") for name, row in stored.items()}
    except _DAMAGED as error:
        raise FormatError(f"{path}: truncated, or not a GGUF file ({error}); export the vector again.") from error
    if changed:
        raise FormatError(f"{path}: changed after it was exported (its checksum does not match); export it again.")
    if facts.get("general.architecture") != _ARCHITECTURE:
        raise FormatError(f"{path}: a GGUF file of {facts.get('general.architecture')!r}; expected {_ARCHITECTURE!r}.")
    found, wanted = facts.get(f"{_ARCHITECTURE}.model_hint"), model_hint or fingerprint(model).architecture
    if found != wanted:
        raise MismatchError(
            f"{path} is of architecture {found!r}, the model of {wanted!r}. Where the two are one under different "
            f"names, pass model_hint={found!r}."
        )
    directions = {_gguf_site(name, path): row for name, row in rows.items()}
    options = {"format": "gguf", "model_hint": found}
    return _vector(path, content, model, directions, activation_norms, options)


def import_tensor(
    path: str | Path,
    model: SteerableModel,
    activation_norms: Mapping[Site, float],
    numbering: Numbering,
    holders: Mapping[str, str] = NO_HOLDERS,
) -> SteeringVector:
    """Reads a vector from a tensor that `torch.save` wrote, of all layers or of one; no code of the file is run.

    In Transformers, `hidden_states[0]` are the embeddings and `hidden_states[i]` is the output of block i-1, but the
    last one has also passed the final norm and is not a site of the residual stream. Set that row to zero unless it was
    computed from the residual stream.

    Args:
        path: the file.
        model: the model of the vector; it is not recorded in the file.
        activation_norms: the median activation norm at each site of the tensor; for a file of one layer
            (`vec_layer_13.pt`, as CAA publishes them) at the one site that it is of.
        numbering: of the rows of all layers: whether row i is `hidden_states[i]` of Transformers, or the output of
            block i.
        holders: classes that may contain the tensor, as for `read_rows`.

    Returns:
        The vector.

    Raises:
        FormatError: as `read_rows`.
        MismatchError: the number of rows does not fit the numbering, or the width differs.
    """
    rows = read_rows(path, holders).rows
    n_layers = int(model.cfg.n_layers)
    sites = [Site("resid_post", layer) for layer in range(n_layers)]
    if numbering == "transformers":
        sites.insert(0, Site("resid_pre", 0))
    if len(rows) == 1 < len(sites):
        if len(activation_norms) != 1:
            raise MismatchError(
                f"{path} is of one layer, and norms of {len(activation_norms)} sites are given; give the norm of the "
                "one site that it is of, such as {Site('resid_post', 13): 20.5}."
            )
        sites = list(activation_norms)
    if len(rows) != len(sites):
        raise MismatchError(
            f"{path} has {len(rows)} rows; numbering {numbering!r} means {len(sites)} on a model of {n_layers} layers "
            "('transformers' counts the embeddings as row 0, 'blocks' does not)."
        )
    directions, content = dict(zip(sites, rows, strict=True)), Path(path).read_bytes()
    return _vector(path, content, model, directions, activation_norms, {"format": "tensor", "numbering": numbering})


def read_rows(path: str | Path, holders: Mapping[str, str] = NO_HOLDERS) -> StoredRows:
    """Reads a tensor `[layers, d_model]` or `[d_model]` that `torch.save` wrote, alone or in a named class.

    Classes are never imported: an empty class without methods receives the attributes instead.

    Args:
        path: the file.
        holders: classes that the file may contain, each with the name of its tensor attribute, such as
            `{"activation_tensor.ActivationTensor": "acts"}`.

    Returns:
        The tensor in float32 on the CPU, with the class's text and number attributes.

    Raises:
        FormatError: the file is missing, truncated, of another format, or contains anything else.
    """
    content = _checked(path, _read(path, "a tensor written by torch.save"))
    stand_ins = {name: type(name.rpartition(".")[2], (), {}) for name in holders}
    try:
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise FormatError(
            f"{path}: truncated, not written by torch.save, or it holds pickled classes, which are never run "
            f"({_cause(error)}). {_ADVICE}"
        ) from error
    attribute = next((holders[name] for name, stand_in in stand_ins.items() if type(found) is stand_in), None)
    beside = {} if attribute is None else dict(vars(found))
    rows = found if attribute is None else beside.pop(attribute, None)
    if isinstance(rows, Tensor) and rows.ndim == 1:
        rows = rows[None]
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point() or rows.layout != torch.strided:
        what = f"a {rows.dtype} tensor of shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else f"{type(rows)}"
        raise FormatError(f"{path}: holds {what}; expected one floating-point tensor [layers, d_model]. {_ADVICE}")
    facts = {str(name): value for name, value in beside.items() if isinstance(value, str | int | float)}
    return StoredRows(rows=rows.detach().float(), facts=MappingProxyType(facts))


def _vector(
    path: str | Path,
    content: bytes,
    model: SteerableModel,
    directions: Mapping[Site, Float[Tensor, " d_model"]],
    activation_norms: Mapping[Site, float],
    options: Mapping[str, Any],
) -> SteeringVector:
    """The steering vector of an imported file, without its zero directions."""
    width, n_layers = int(model.cfg.d_model), int(model.cfg.n_layers)
    for site, direction in directions.items():
        if direction.shape != (width,) or site.layer >= n_layers:
            raise MismatchError(
                f"{path}: shape {tuple(direction.shape)} at {site}; the model has {n_layers} layers and is {width} "
                "wide."
            )
    kept = {site: direction for site, direction in directions.items() if bool(direction.any())}
    if not kept:
        raise FormatError(f"{path}: holds no direction that is not zero.")
    digest = hashlib.sha256(content).hexdigest()
    return SteeringVector(
        name=Path(path).stem,
        directions=kept,
        method="imported",
        position="unknown",
        data_hash=digest,
        n_positive=0,
        n_negative=0,
        activation_norms=activation_norms,
        fingerprint=fingerprint(model),
        options={**options, "file": Path(path).name, "sha256": digest},
        versions=versions(),
    )


def _bounded(reader: Any) -> Any:
    """The GGUF reader, refusing what would lie behind the end of its file, where it would count on without end."""

    class Bounded(reader):
        def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            if int(count) * np.dtype(dtype).itemsize > len(self.data) - offset:
                raise ValueError("a number in it points behind its end")
            return super()._get(offset, dtype, count, override_order)

    return Bounded


def _checksum(facts: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    """The sha256 of a control vector's model hint and directions."""
    header = {"model_hint": facts.get(f"{_ARCHITECTURE}.model_hint"), "directions": list(rows)}
    header["rows"] = [[str(row.dtype), list(row.shape)] for row in rows.values()]
    return checksum(header, b"".join(row.tobytes() for row in rows.values()))


def _checked(path: str | Path, content: bytes) -> bytes:
    """An archive of `torch.save` with the records whose CRC-32 was checked, and nothing else; other content as it is.

    torch itself does not look at the CRC-32, and where an archive's directories contradict one another it reads other
    bytes than were checked. So it is given an archive that is written anew.

    Raises:
        FormatError: a record is not what was written, or compressed, as none of torch's is; or all together are longer
            than the file, as where its directory names one record many times.
    """
    if not content.startswith(b"PK"):
        return content
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(checked, "w") as copy:
            records = archive.infolist()
            if sum(one.file_size for one in records) > len(content):
                raise zipfile.BadZipFile("its records are longer than it is")
            for one in records:
                if one.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(one.filename)
                copy.writestr(one.filename, archive.read(one))
    except _BROKEN_ARCHIVE as error:
        said = f"truncated, not written by torch.save, or changed since ({error})"
        raise FormatError(f"{path}: {said}. {_ADVICE}") from error
    return checked.getvalue()


def _gguf_site(name: str, path: str | Path) -> Site:
    """The site of a tensor named `direction.N`."""
    start, _, number = name.partition(".")
    if start != "direction" or not number.isascii() or not number.isdigit():
        raise FormatError(f"{path}: holds a tensor {name!r}; expected only 'direction.N' with N a layer.")
    return Site("resid_post", int(number))


def _cause(error: BaseException) -> str:
    """Why a file could not be loaded: the refused class or function, or the first line of torch's message."""
    refused = _GLOBAL.search(str(error))
    return f"it asks for {refused[1]}" if refused else str(error).strip().split("\n")[0]


def _read(path: str | Path, what: str) -> bytes:
    """The content of a file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error}); give {what}.") from error


def _gguf() -> Any:
    """The optional package `gguf`."""
    try:
        import gguf
    except ImportError as error:
        raise FormatError("GGUF files need the package gguf: pip install 'lens-steer[gguf]'.") from error
    return gguf
