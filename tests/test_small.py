"""Batches, progress, whole files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_tensors

from lens_steer._util.files import write_whole
from lens_steer._util.progress import track
from lens_steer.cli.reproduce.settings import merged
from lens_steer.data.tables import load_table
from lens_steer.errors import DataError, FormatError
from lens_steer.experiments.folder import read_results
from lens_steer.model.batching import length_buckets
from lens_steer.vector import SteeringVector


def test_every_sequence_stands_in_exactly_one_batch_of_like_length() -> None:
    lengths = [9, 2, 5, 2, 7]
    batches = length_buckets(lengths, 2)
    assert batches == [[1, 3], [2, 4], [0]]
    assert sorted(index for batch in batches for index in batch) == list(range(5))


@pytest.mark.parametrize("size", [0, 1.5, "2"])
def test_a_batch_size_that_is_no_whole_number_from_one_on_is_refused(size: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(DataError, match=f"batch_size is {size}; give 1 or more"):
        length_buckets([1], size)


def test_progress_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], "counting", 2, False)) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_passes_every_step_through_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], "counting", 2, True)) == [1, 2]
    assert capsys.readouterr().out == ""


def test_progress_counts_what_a_step_holds() -> None:
    assert list(track([[1, 2], [3]], "counting", 3, True, len)) == [[1, 2], [3]]


def test_a_file_is_written_whole_and_leaves_no_temporary_behind(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "deep" / "file.bin", b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "file.bin", b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(f"disk full on the way from {self} to {target}")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_files_nested_without_end_are_refused_by_name(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    toml, record, table, vector = (tmp_path / name for name in ("a.toml", "run.json", "t.csv", "v.safetensors"))
    toml.write_text(f"a = {deep}")
    record.write_text(deep)
    table.write_text(f"# {deep}\na,b\n")
    vector.write_bytes(save_tensors({"resid_post@0": torch.ones(3)}, metadata={"lens_steer": deep}))
    for read in (
        lambda: merged([toml], {}),
        lambda: merged([record], {}),
        lambda: read_results(tmp_path),
        lambda: load_table(table, "sweep"),
        lambda: SteeringVector.load(vector),
    ):
        with pytest.raises(FormatError, match=str(tmp_path)):
            read()
