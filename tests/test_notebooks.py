"""The notebooks are the manual: each runs from top to bottom, and is kept without outputs.

They run on the lab model, except those whose metadata name a `model`: they are skipped until it has been fetched.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lens_steer.model.packaged import packaged_folder

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 120


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    own = notebook.metadata.get("lens_steer", {})
    if "model" in own and not packaged_folder(own["model"]).is_dir():
        pytest.skip(f"the model is not on this machine: lens-steer fetch {own['model']}")
    NotebookClient(notebook, timeout=own.get("seconds", SECONDS), kernel_name="python3").execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
