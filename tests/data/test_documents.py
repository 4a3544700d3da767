"""Documents from files and from datasets, and corpora of them."""

import json
import random
import sys
from pathlib import Path

import pytest

from lens_steer.data.corpora import SPLITS, Corpus, join_corpora, passage, split_documents
from lens_steer.data.documents import hub_documents, read_documents
from lens_steer.errors import DataError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def dataset(folder: Path, n: int = 40) -> str:
    rows = [{"content": f"document {i % (n // 2)}", "kind": "code" if i % 2 else "prose"} for i in range(n)]
    write(folder / "train.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    return str(folder)


def test_files_and_globs_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "b.py", "b = 1\n")
    write(tmp_path / "deep" / "a.py", "a = 1\n")
    write(tmp_path / "empty.py", " \n")
    assert read_documents(tmp_path / "b.py") == ("b = 1\n",)
    assert read_documents(str(tmp_path / "**" / "*.py")) == ("b = 1\n", "a = 1\n")
    lines = write(tmp_path / "x.jsonl", '{"content": "one"}\n\n{"content": "two"}\n')
    assert read_documents([lines, tmp_path / "b.py"], field="content") == ("one", "two", "b = 1\n")


def test_a_relative_glob_is_read_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "src" / "a.txt", "a")
    monkeypatch.chdir(tmp_path)
    assert read_documents("src/*.txt") == ("a",)


def test_files_that_are_not_there_or_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_documents(str(tmp_path / "*.txt"))
    (tmp_path / "raw.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text in UTF-8"):
        read_documents(tmp_path / "raw.txt")
    lines = write(tmp_path / "x.jsonl", '{"text": "one"}\n')
    with pytest.raises(DataError, match=r"row 0: no text in field 'content' \(it has text\)"):
        read_documents(lines, field="content")
    with pytest.raises(DataError, match="not JSON lines"):
        read_documents(write(tmp_path / "y.jsonl", "{"))


def test_a_dataset_is_streamed_once_into_the_same_documents_each_time(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    name = dataset(tmp_path / "set")
    first = hub_documents(name, 8, field="content")
    assert len(set(first)) == 8 and first == hub_documents(name, 8, field="content")
    assert first != hub_documents(name, 8, field="content", seed=1)
    code = hub_documents(name, 10, field="content", keep=lambda row: row["kind"] == "code")
    assert all(int(text.split()[1]) % 2 for text in code)


def test_a_dataset_that_is_too_small_foreign_or_missing_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    name = dataset(tmp_path / "set")
    with pytest.raises(DataError, match="20 distinct documents, fewer than n=21"):
        hub_documents(name, 21, field="content")
    with pytest.raises(DataError, match="no text in field 'text'"):
        hub_documents(name, 3)
    with pytest.raises(DataError, match="cannot be read"):
        hub_documents(name, 3, field="content", split="nowhere")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install lens-steer\[datasets\]"):
        hub_documents("some/set", 3)


def test_a_corpus_is_split_by_content_whatever_the_order() -> None:
    texts = [f"text {i}" for i in range(20)]
    corpus = split_documents("t", [*texts, "text 3", " "], (10, 4, 6))
    again = split_documents("t", texts[::-1], (10, 4, 6))
    assert corpus == again and corpus.hash == again.hash
    assert {*corpus.train, *corpus.validation, *corpus.test} == set(texts)
    assert split_documents("t", texts, (10, 4, 6), seed=1).train != corpus.train
    with pytest.raises(DataError, match="20 different documents for splits"):
        split_documents("t", texts, (10, 5, 6))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": ()}, "the train split has no documents"),
        ({"test": ("c", " ")}, "test document 1 is empty"),
        ({"test": ("a",)}, "test document 0 repeats train document 0"),
    ],
)
def test_a_corpus_with_an_empty_part_or_a_document_twice_is_refused(parts: dict[str, tuple], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Corpus(**{"name": "x", "train": ("a",), "validation": ("b",), "test": ("c",)} | parts)  # pyright: ignore


def test_near_duplicates_of_a_document_never_stand_in_two_splits() -> None:
    draw = random.Random(0)
    words = [f"word{i}" for i in range(400)]
    texts = [" ".join(draw.sample(words, 30)) for _ in range(20)]
    copies = [f"{text.upper()}!!" for text in texts] + [text + " besides" for text in texts]
    corpus = split_documents("t", [*texts, *copies], (10, 4, 6))
    assert corpus.near_duplicates == 40
    found = [text.lower().removesuffix("!!").removesuffix(" besides") for text in (*corpus.train, *corpus.test)]
    assert len(set(found)) == 16
    with pytest.raises(DataError, match="40 near duplicates are left out"):
        split_documents("t", [*texts, *copies], (10, 5, 6))
    assert len(split_documents("t", [*texts, *copies], (30, 10, 20), near=None).train) == 30


def files(n: int) -> list[str]:
    """Source files that all open with the same licence, as long as what follows."""
    licence = "# Permission is hereby granted, free of charge, to any person\n" * 20
    return [licence + "".join(f"value_{i}_{line} = call({i}, {line})\n" for line in range(40)) for i in range(n)]


def test_a_passage_is_as_long_as_asked_begins_with_a_line_and_is_drawn_from_all_of_the_document() -> None:
    document = "".join(f"line {i}\n" for i in range(1000))
    found = [passage(document, 60, seed) for seed in range(40)]
    starts = [document.index(text) for text in found]
    assert all(len(text) == 60 and text.startswith("line ") for text in found)
    assert min(starts) < len(document) / 4 < 3 * len(document) / 4 < max(starts)
    assert passage(document, 60, 3) == found[3] and passage("a short one", 60) == "a short one"
    words = " ".join(f"word{i}" for i in range(1000))
    begun = [passage(words, 60, seed) for seed in range(20)]
    assert all(text.startswith("word") for text in begun) and len(set(begun)) > 10
    with pytest.raises(DataError, match="passages of 0 characters; give at least one"):
        passage(document, 0)


def test_passages_are_cut_after_the_split_so_that_no_file_is_in_two_splits() -> None:
    texts = files(30)
    corpus = split_documents("code", texts, (8, 4, 6), near=None, characters=400)
    of = {
        name: {next(t for t in texts if p in t and "value" in p) for p in getattr(corpus, name) if "value" in p}
        for name in SPLITS
    }
    assert all(of.values()) and not of["train"] & of["test"] and not of["train"] & of["validation"]
    assert all(len(text) == 400 for text in (*corpus.train, *corpus.test))


def test_passages_of_one_licence_are_near_duplicates_though_their_files_are_not() -> None:
    corpus = split_documents("code", files(30), (8, 2, 2), characters=200)
    found = [*corpus.train, *corpus.validation, *corpus.test]
    assert sum("Permission" in text and "value" not in text for text in found) <= 1 <= corpus.near_duplicates


def test_corpora_are_joined_split_by_split_and_refused_where_one_trains_on_what_another_tests() -> None:
    first, second = (split_documents(name, [f"{name} {i}" for i in range(6)], (3, 1, 2)) for name in ("c", "perl"))
    joint = join_corpora("code", [first, second])
    assert joint.name == "code" and joint.train == (*first.train, *second.train)
    assert joint.test == (*first.test, *second.test) and len(joint.validation) == 2
    crossed = Corpus(name="x", train=first.test, validation=("v",), test=("t",))
    with pytest.raises(DataError, match="corpus 'code': test document 0 repeats train document 3"):
        join_corpora("code", [first, crossed])
    with pytest.raises(DataError, match="the train split has no documents"):
        join_corpora("code", [])
