"""Importing the package loads nothing heavy, and exports few names."""

import subprocess
import sys
from pathlib import Path

import lens_steer

HEAVY = ("transformer_lens", "transformers", "matplotlib", "circuitsvis", "datasets", "sklearn", "typer")
ROOT = Path(lens_steer.__file__).parents[1]


def test_importing_lens_steer_loads_no_model_library_or_plotting() -> None:
    code = f"import sys, lens_steer; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_root_exports_at_most_25_names_and_all_of_them_exist() -> None:
    source = (ROOT / "lens_steer" / "__init__.py").read_text(encoding="utf-8")
    names = [line.rsplit(" as ", 1)[1] for line in source.splitlines() if line.startswith("from ")]
    assert 0 < len(names) <= 25
    assert all(hasattr(lens_steer, name) for name in names)
