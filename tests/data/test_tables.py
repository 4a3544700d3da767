"""Result tables as files."""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from lens_steer._util.files import checksum
from lens_steer.data.tables import Tables, load_table, save_table
from lens_steer.errors import FormatError


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item": ["001", "\r", "NA", 'a "quoted", text\nof two\r\nor three lines\r'],
            "count": [1, 2, 3, 4],
            "value": [0.1 + 0.2, float("nan"), -1e-300, 2.0],
            "flag": [True, False, True, False],
        }
    )


def test_a_table_reads_back_bit_for_bit_with_its_types(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = save_table(tmp_path / "t.csv", "test", frame, {"name": "x"})
    found, facts = load_table(path, "test")
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert facts == {"name": "x"}


def test_the_same_table_gives_the_same_bytes(tmp_path: Path, frame: pd.DataFrame) -> None:
    first = save_table(tmp_path / "a.csv", "test", frame, {"b": 1, "a": 2}).read_bytes()
    assert first == save_table(tmp_path / "b.csv", "test", frame, {"a": 2, "b": 1}).read_bytes()


def test_damaged_and_foreign_tables_are_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = save_table(tmp_path / "t.csv", "test", frame, {})
    content = path.read_bytes()
    with pytest.raises(FormatError, match=r"holds a 'test' of schema 3; expected a 'sweep'"):
        load_table(path, "sweep")
    path.write_bytes(content[:-3])
    with pytest.raises(FormatError, match="truncated or edited"):
        load_table(path, "test")
    path.write_bytes(content.replace(b'"facts": {}', b'"facts": {"rate": NaN}'))
    with pytest.raises(FormatError, match="truncated or edited"):
        load_table(path, "test")
    path.write_bytes(content.replace(b'"lens_steer": 3', b'"lens_steer": 4'))
    with pytest.raises(FormatError, match="of schema 4; expected a 'test' of schema 3"):
        load_table(path, "test")
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(FormatError, match="not a table of lens_steer"):
        load_table(path, "test")
    with pytest.raises(FormatError, match="cannot be read"):
        load_table(tmp_path / "none.csv", "test")
    with pytest.raises(FormatError, match="cannot be saved"):
        save_table(path, "test", frame, {"fact": object()})


def test_a_header_that_does_not_fit_its_rows_is_refused_though_it_is_signed(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    path = save_table(tmp_path / "t.csv", "test", frame, {})
    first, _, body = path.read_bytes().partition(b"\n")
    header = json.loads(first[2:])
    for columns in ({"item": "number"}, {"count": "integer", "other": "text"}, {"item": []}, ["item"], 5):
        changed = {**header, "columns": columns}
        line = json.dumps({**changed, "sha256": checksum(changed, body)}).encode()
        path.write_bytes(b"# " + line + b"\n" + body)
        if columns == {"item": []}:
            assert list(load_table(path, "test")[0]["item"]) == list(frame["item"])
            continue
        with pytest.raises(FormatError, match=r"header does not fit its rows"):
            load_table(path, "test")


def of_schema(schema: int, content: bytes) -> bytes:
    """A table as schema 1 or 2 wrote it, whose checksum is of the CSV alone."""
    first, _, body = content.partition(b"\n")
    header = {**json.loads(first[2:]), "lens_steer": schema, "sha256": hashlib.sha256(body).hexdigest()}
    return b"# " + json.dumps(header, sort_keys=True).encode() + b"\n" + body


def test_no_changed_bit_of_header_or_rows_goes_unnoticed(tmp_path: Path, frame: pd.DataFrame) -> None:
    facts = {"layers": {9: "a", 10: "b"}, "rate": 0.1}
    path, rng = save_table(tmp_path / "t.csv", "test", frame, facts), random.Random(0)
    content = path.read_bytes()
    assert load_table(path, "test")[1] == {"layers": {"9": "a", "10": "b"}, "rate": 0.1}
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(FormatError):
            load_table(path, "test")
    path.write_bytes(of_schema(2, content))
    pd.testing.assert_frame_equal(load_table(path, "test")[0], frame, check_exact=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid(Tables):
    """A result of two tables."""

    kind = "grid"
    configurations: pd.DataFrame
    retained: pd.DataFrame


def test_tables_of_two_results_are_no_result(tmp_path: Path, frame: pd.DataFrame) -> None:
    for seed in (0, 1):
        Grid(configurations=frame, retained=frame, facts={"seed": seed}).save(tmp_path / str(seed))
    assert Grid.load(tmp_path / "1").facts == {"seed": 1}
    (tmp_path / "0" / "retained.csv").replace(tmp_path / "1" / "retained.csv")
    with pytest.raises(FormatError, match=r"configurations.csv and retained.csv are of different results"):
        Grid.load(tmp_path / "1")


def test_tables_of_schema_1_are_read_under_todays_names(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        {"cell": [0], "letter_mass": [0.9], "part": ["test"], "reading": ["faithful"], "damage_low": 1.0}
    )
    kept = pd.DataFrame({"kept": [0.5], "text_kept_low": [0.4], "partial": ["cellar"]})
    for name, frame in (("cells", cells), ("kept", kept)):
        path = save_table(tmp_path / f"{name}.csv", f"grid {name}", frame, {"settings": {"cells": 3, "sites": ["a"]}})
        path.write_bytes(of_schema(1, path.read_bytes()))
    found = Grid.load(tmp_path)
    columns = ["configuration", "answer_probability", "split", "reading", "side_effect_low"]
    assert list(found.configurations.columns) == columns
    assert list(found.configurations.iloc[0]) == [0, 0.9, "test", "as_published", 1.0]
    assert list(found.retained.columns) == ["retained", "text_retained_low", "partial"]
    assert found.facts == {"settings": {"configurations": 3, "sites": ["a"]}}
    Grid(configurations=found.configurations, retained=found.retained, facts=found.facts).save(tmp_path / "new")
    assert list(Grid.load(tmp_path / "new").configurations.columns) == columns
