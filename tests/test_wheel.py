"""The wheel holds the whole package and nothing else, and its first example runs where no checkout is."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = (
    "py.typed",
    "lab/weights/model.safetensors",
    "lab/weights/tokenizer.json",
    "data/tasks/antonym.jsonl",
    "report/page.css",
    "report/page.js",
    "report/templates/page.html",
    "figures/views/templates/view.html",
)
NAME = re.compile(r"[\w.-]+")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of pip, which needs an index only where it is said to."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout; without the build tool it is fetched, and without an index the tests are skipped."""
    folder = tmp_path_factory.mktemp("wheel")
    there = importlib.util.find_spec("hatchling") is not None
    done = pip("wheel", "--no-deps", *(["--no-build-isolation"] if there else []), "-w", str(folder), str(ROOT))
    if done.returncode and not there:
        pytest.skip("hatchling is not installed and could not be fetched: pip install -c constraints.txt hatchling")
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    package = ROOT / "lens_steer"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(about).decode())
    inside = {name for name in names if ".dist-info/" not in name}
    moved = {"lens_steer/_util/py.typed": "lens_steer/py.typed"}
    assert inside == {moved.get(name, name) for name in (path.relative_to(ROOT).as_posix() for path in files)}
    assert {f"lens_steer/{name}" for name in NEEDED} <= inside
    assert f"{about.partition('/')[0]}/licenses/LICENSE" in names and said["License-Expression"] == "MIT"
    assert said["Version"] == PROJECT["version"] and said["Requires-Python"] == ">=3.11"


def test_the_version_has_one_source() -> None:
    assert metadata.version("lens-steer") == PROJECT["version"], "renew the environment: pip install -e ."
    holding = [path for path in (ROOT / "lens_steer").rglob("*.py") if PROJECT["version"] in path.read_text("utf-8")]
    assert not holding
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_first_example_runs_from_the_wheel_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    assert done.returncode == 0, done.stderr
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)[0]
    code = code.replace("HuggingFaceTB/SmolLM2-135M-Instruct", "lab").replace("layer=14", "layer=1")
    code += "\nimport lens_steer; print(lens_steer.__file__)\n"
    env = os.environ | {"PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    run = {"cwd": elsewhere, "env": env, "capture_output": True, "text": True, "check": False}
    said = subprocess.run([sys.executable, "-c", code], **run)
    assert said.returncode == 0, said.stderr
    assert "My evening at the new restaurant was" in said.stdout and str(target) in said.stdout.splitlines()[-1]
    said = subprocess.run([sys.executable, str(target / "bin" / "lens-steer"), "--help"], **run)
    assert said.returncode == 0 and "reproduce" in said.stdout
    assert not list(elsewhere.iterdir())


def test_everything_that_is_installed_is_pinned() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    wanted = [
        *PROJECT["dependencies"],
        *(name for names in PROJECT["optional-dependencies"].values() for name in names),
    ]
    found = [NAME.match(name) for name in wanted]
    assert not {match[0] for match in found if match} - pinned


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_an_extra_resolves_with_the_pinned_versions(extra: str, wheel: Path) -> None:
    done = pip("install", "--dry-run", "-c", "constraints.txt", f"{wheel}[{extra}]")
    if done.returncode and ("NewConnectionError" in done.stderr or "No matching distribution" in done.stderr):
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
