"""Every cell of the table of architectures, as docs/architectures.md prints it."""

from pathlib import Path

import pytest
from architectures import ARCHITECTURES, Architecture, examine, table_lines

TABLE = Path(__file__).parents[2] / "docs" / "architectures.md"
PARAMETERS = [pytest.param(a, id=a.name, marks=[pytest.mark.slow] if a.slow else []) for a in ARCHITECTURES]


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_sites_lenses_and_attribution_are_what_the_hugging_face_model_shows_or_are_refused_as_the_table_says(
    architecture: Architecture, tmp_path: Path
) -> None:
    row = examine(architecture, tmp_path / "tiny")
    assert not row.wrong
    assert set(table_lines(row)) <= set(TABLE.read_text().splitlines())
