"""Text files of the world: marks, encodings, line ends, and the ways in which JSON and tables are kept."""

import codecs
import json
from pathlib import Path

import pytest

from lens_steer.data.documents import read_documents
from lens_steer.data.files import decode, json_rows, table_rows
from lens_steer.data.read import read
from lens_steer.data.readers.model_written import read_model_written
from lens_steer.errors import DataError

QUESTION = {"question": "So?", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No"}


def values(text: str) -> list[object]:
    rows = json_rows(text, "f")
    assert rows is not None and not rows.skipped
    return [record.value for record in rows.records]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_separators_inside_json_strings_are_no_line_ends(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "d.jsonl"
    text = f"one{separator}two"
    path.write_text(
        "".join(json.dumps({"text": text}, ensure_ascii=ord(separator) < 32) + "\n" for _ in "ab"), encoding="utf-8"
    )
    assert read_documents(path) == read(path).texts() == (text, text)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE),
     ("utf-32-le", codecs.BOM_UTF32_LE), ("utf-8", b"")],
)  # fmt: skip
def test_byte_order_marks_are_read_and_never_kept(tmp_path: Path, encoding: str, mark: bytes) -> None:
    for name, text in {"q.jsonl": json.dumps(QUESTION), "t.txt": "Hé\n", "c.csv": "text,label\nHé,1\n"}.items():
        (tmp_path / name).write_bytes(mark + text.encode(encoding))
    assert read_model_written(tmp_path / "q.jsonl")[0].matching == "Yes"
    assert read_documents(tmp_path / "t.txt") == read(tmp_path / "t.txt").texts() == ("Hé\n",)
    assert read(tmp_path / "c.csv").texts() == ("Hé",)


def test_bytes_of_another_encoding_are_named_with_their_place() -> None:
    with pytest.raises(DataError, match=r"f, line 2: .* byte 7 is 0xe9; as Latin-1 it would read 'café'"):
        decode(b"abc\ncaf\xe9", "f")
    with pytest.raises(DataError, match=r"line 1: .* NUL; it is a binary file, or UTF-16 without byte order mark"):
        decode("abc".encode("utf-16-le"), "f")
    assert decode(b"a\r\nb\rc", "f") == "a\r\nb\rc"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\r\n\r\n{"a": 2}\r\n',
        '{"a": 1}\r{"a": 2}\r',
        '{"a": 1}{"a": 2}',
        '{"a": 1} {"a": 2}\n',
        '{\n "a": 1\n}\n{\n "a": 2\n}\n',
        '[{"a": 1}, {"a": 2}]',
        '\n[\n  {"a": 1},\n  {"a": 2}\n]\n',
        '{"a": [1, 2]}',
        '{"meta": 1, "rows": [{"a": 1}, {"a": 2}]}',
    ],
)
def test_json_is_read_however_it_is_kept(text: str) -> None:
    assert values(text) == [{"a": 1}, {"a": 2}]


def test_each_value_of_a_list_knows_its_line_and_a_line_of_a_file_its_number() -> None:
    rows = json_rows('[\n {"a":\n 1},\n\n {"a": 2}]', "f")
    assert rows and [(one.number, one.line) for one in rows.records] == [(1, 2), (2, 5)]
    rows = json_rows('{"a": 1}\n\n{"a": \n{"a": 3}\n', "f")
    assert rows and [(one.number, one.line) for one in rows.records] == [(1, 1), (4, 4)]
    assert [(one.line, one.reason) for one in rows.skipped] == [(3, "not valid JSON")]


def test_what_follows_the_end_of_a_list_is_not_passed_over() -> None:
    for rest in ('{"a": 3}]', "{{", '\n{\n "a": 3}\n]', "x"):
        with pytest.raises(DataError, match=r"f, line 2: not valid JSON: the list ends there, and the file does not"):
            json_rows('[{"a": 1},\n{"a": 2},]' + rest, "f")
    assert values('[{"a": 1},\n{"a": 2},]\n') == [{"a": 1}, {"a": 2}]


def test_what_only_looks_like_json_is_text() -> None:
    for text in ('"Hello," she said.', "[1] A note.\nMore.", "[link](there)", "Plain.", ""):
        assert json_rows(text, "f") is None


def test_deep_nesting_and_long_numbers_are_bad_json_not_a_crash(tmp_path: Path) -> None:
    deep = ['{"a": ' * depth + "1" + "}" * depth for depth in range(100, 1_000, 90)]
    for text in ("[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "9" * 10_000 + "}", *deep):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(DataError, match=r"x\.jsonl"):
            read(tmp_path / "x.jsonl")


def test_ragged_rows_of_a_table_are_listed_and_quoted_cells_keep_their_line_ends() -> None:
    rows = table_rows('a,b\n"x\ny",1\nonly\nz,2\n', "f")
    assert rows is not None
    assert [(one.line, one.value["a"]) for one in rows.records] == [(2, "x\ny"), (5, "z")]
    assert [(one.line, one.reason) for one in rows.skipped] == [(4, "another number of cells")]


def test_broken_lines_of_documents_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text"\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: not JSON lines"):
        read_documents(tmp_path / "x.jsonl")
