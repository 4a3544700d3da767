"""Cache of activations on disk, so that the same data need not be forwarded again.

    <folder>/<key>/<site>/<batch>.safetensors        key = sha256(model, versions, tokens, position, reading, plan)

One file has one batch at one site and is written atomically: an interrupted extraction resumes, other methods reuse the
files, and only missing sites are forwarded; the resulting vectors are bit-identical. A file that is truncated, edited
or moved is computed again, with a warning.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from lens_steer._util.files import write_whole
from lens_steer.extraction.record import ReadSpec, Recording, RowBatch, TokenRows, locate, read_batch
from lens_steer.hooks.sites import Site
from lens_steer.model import SteerableModel, dtype_of
from lens_steer.model.stored import checksummed, computation_key, is_whole, warn_recomputed

SCHEMA = 2


class Store:
    """The recordings of one model, data set and plan in a folder, under the key that `open` makes."""

    def __init__(self, folder: str | Path, key: str) -> None:
        self._key = key
        self.folder = Path(folder).expanduser() / key[:16]

    @classmethod
    def open(cls, folder: str | Path | None, model: SteerableModel, about: Any) -> "Store | None":
        """The recordings of a model.

        Args:
            folder: where recordings are; None stores nothing.
            model: the model that runs.
            about: everything that the activations depend on beside the model.

        Returns:
            The store; None where nothing is stored, for one of the reasons of `computation_key`.

        Raises:
            SteeringError: there is a folder, and hooks are installed on the model.
        """
        key = None if folder is None else computation_key(model, ["activations", SCHEMA, about], "activations")
        return None if folder is None or key is None else cls(folder, key)

    def read_batch(
        self, model: SteerableModel, rows: TokenRows, batch: RowBatch, number: int, reading: ReadSpec
    ) -> Recording:
        """One batch; sites that are not on disk are forwarded and written.

        Args:
            model: a loaded model.
            rows: all sequences.
            batch: which of them.
            number: the batch's place in the plan.
            reading: what is wanted.

        Returns:
            What `lens_steer.extraction.record.read_batch` would give.
        """
        sequences, positions = locate(rows, batch, reading)
        found: dict[Site, dict[str, Tensor]] = {}
        for site in reading.sites:
            tensors = self._load(site, number)
            if tensors is not None:
                found[site] = tensors
        missing = tuple(site for site in reading.sites if site not in found)
        if missing:
            fresh = read_batch(model, rows, batch, reading.at(missing))
            for site in missing:
                found[site] = {"activations": fresh.activations[site]}
                found[site] |= {"medians": fresh.medians[site]} if reading.medians else {}
                self._save(site, number, found[site])
        return Recording(
            activations={site: found[site]["activations"] for site in reading.sites},
            sequences=sequences,
            positions=positions,
            medians={site: found[site]["medians"] for site in reading.sites} if reading.medians else {},
            dtype=dtype_of(model),
        )

    def _path(self, site: Site, number: int) -> Path:
        return self.folder / str(site) / f"{number:06d}.safetensors"

    def _piece(self, site: Site, number: int, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """What a file holds, with its place: the checksum in the file's header is of both."""
        return {"key": self._key, "site": str(site), "batch": number, **tensors}

    def _save(self, site: Site, number: int, tensors: dict[str, Tensor]) -> None:
        checksum = checksummed(self._piece(site, number, tensors))["sha256"]
        write_whole(self._path(site, number), save_tensors(tensors, metadata={"sha256": checksum}))

    def _load(self, site: Site, number: int) -> dict[str, Tensor] | None:
        """The tensors of one file; None, with a warning where there is a file, if it cannot be used."""
        path = self._path(site, number)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                checksum = (file.metadata() or {}).get("sha256")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            warn_recomputed(path, str(error))
            return None
        if is_whole({**self._piece(site, number, tensors), "sha256": checksum}):
            return tensors
        warn_recomputed(path, "it was edited, or holds another batch or site")
        return None
