"""Batches, progress, whole files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lens_steer._util.files import write_whole
from lens_steer._util.progress import track
from lens_steer.errors import DataError
from lens_steer.model.batching import length_buckets


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
