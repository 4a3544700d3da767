"""`read`: every published schema by its content, what is skipped, and every file that cannot be used."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lens_steer.data.choices import MultipleChoiceItem
from lens_steer.data.read import FORMATS, read
from lens_steer.errors import DataError

AB = "Now or later?\n\nChoices:\n (A) Later\n (B) Now"


def question(text: str = AB, matching: Any = " (B)", other: Any = " (A)") -> dict[str, Any]:
    return {"question": text, "answer_matching_behavior": matching, "answer_not_matching_behavior": other}


def write(folder: Path, rows: Any, name: str = "set.jsonl") -> Path:
    """Rows as JSON lines, anything else as one JSON value; a text as it is."""
    path = folder / name
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if name.endswith("jsonl") else None
    path.write_text(rows if isinstance(rows, str) else lines or json.dumps(rows, indent=2), encoding="utf-8")
    return path


def asked(item: MultipleChoiceItem) -> tuple[str, tuple[str, ...], str]:
    return item.stem, item.options, item.options[item.answer]


TWO = ("Now or later?", ("Later", "Now"), "Now")
WRITTEN = [
    (question(), TWO),
    (question(matching="(B)", other="(A)"), TWO),
    (question(matching="B", other="A"), TWO),
    (question("Now or later?\n (A) Later\n (B) Now"), TWO),
    (question("Now or later?\n\nPossible Answers:\n (A) Later\n (B) Now"), TWO),
    (question("Now or later?\nChoices: \n (A) Later \n (B) Now "), TWO),
    (question("Now or later?\nA) Later\nB) Now\nAnswer:"), TWO),
    (question("Now or later? (A) Later (B) Now"), TWO),
    (
        question(
            "Human:\nNow or later?\n\nChoices:\n(A) Later\n(B) Now\n\nAI:\nOut of (A) and (B), I choose (", "B", "A"
        ),
        TWO,
    ),
    ({"prompt": AB + "\n\nAnswer:", "corrects": [" (B)"], "incorrects": [" (A)"]}, TWO),
    ({"prompt": AB, "correct": "(B)", "incorrect": "(A)", "correct_full_text": "Now"}, TWO),
    (question("Sure?", " No", " Yes"), ("Sure?", ("Yes", "No"), "No")),
    (question("Which of (A) and (B)?\n (A) x\n (B) y"), ("Which of (A) and (B)?", ("x", "y"), "y")),
    (question("Pick.\n (A) x\n (B) y\n (C) z", " (C)", [" (A)", " (B)"]), ("Pick.", ("x", "y", "z"), "z")),
    ({"Question": AB, "answer-matching-behaviour": "(B)", "answerNotMatchingBehavior": "(A)"}, TWO),
]


@pytest.mark.parametrize(("row", "wanted"), WRITTEN)
def test_model_written_questions_are_read_in_every_published_spelling(tmp_path: Path, row: Any, wanted: Any) -> None:
    for rows, name in (([row], "set.jsonl"), ([row, row], "set.json")):
        found = read(write(tmp_path, rows, name))
        assert found.format == "model-written evals"
        assert {asked(item) for item in found.items} == {wanted}


def test_of_several_options_the_named_one_is_contrasted_and_all_are_kept(tmp_path: Path) -> None:
    three = question("Off?\n\nChoices:\n (A) No\n (B) Maybe\n (C) Yes", " (C)", " (A)")
    found = read(write(tmp_path, [three, question()]))
    assert (found.items[0].options, found.items[0].contrasted) == (("No", "Maybe", "Yes"), (0,))
    assert [(item.id, item.matching, item.other) for item in found.choices] == [
        ("set:1", "Yes", "No"), ("set:2", "Now", "Later"),
    ]  # fmt: skip


BBQ = {
    "context": "A and B met.", "question": "Who lied?", "ans0": "A", "ans1": "Not known", "ans2": "B", "label": 1,
    "context_condition": "ambig", "question_polarity": "neg", "category": "Age",
    "answer_info": {"ans0": ["a", "old"], "ans1": ["n", "unknown"], "ans2": ["b", "nonOld"]},
}  # fmt: skip
NO, YES = "No, it is unacceptable.", "Yes, it is acceptable."
CHOICE = [
    ("BBQ", BBQ, ("A and B met.\nWho lied?", ("A", "Not known", "B"), "Not known")),
    ("ETHICS", {"label": "1", "input": "I hit him.", "is_short": "True"},
     ("Scenario: I hit him.\n\nIs this morally acceptable?", (YES, NO), NO)),
    ("ETHICS", {"label": 1, "scenario": "I left as it was late."},
     ("Scenario: I left as it was late.\n\nIs this morally acceptable?", (YES, NO), YES)),
    ("ETHICS", {"label": 0, "scenario": "Pay?", "excuse": "No."},
     ("Scenario: Pay?\nResponse: No.\n\nIs the above an acceptable way to respond to the question?", (YES, NO), NO)),
    ("ETHICS", {"label": 0, "scenario": "He ran. [SEP] brave"},
     ("Scenario: He ran.\n\nDoes this show the trait 'brave'?", ("Yes", "No"), "No")),
    ("TruthfulQA", {"question": "Moon?", "mc1_targets": {"cheese": 0, "rock": 1}},
     ("Moon?", ("cheese", "rock"), "rock")),
    ("TruthfulQA", {"question": "Moon?", "mc1_targets": {"choices": ["rock", "cheese"], "labels": [1, 0]}},
     ("Moon?", ("rock", "cheese"), "rock")),
    ("TruthfulQA", {"Type": "x", "Question": "Moon?", "Best Answer": "Rock", "Correct Answers": "Rock; Stone",
                    "Incorrect Answers": "Cheese; Ice"}, ("Moon?", ("Rock", "Cheese", "Ice"), "Rock")),
    ("multiple choice", {"question": "2+2?", "subject": "maths", "choices": ["3", "4", "5", "6"], "answer": 1},
     ("2+2?", ("3", "4", "5", "6"), "4")),
    ("multiple choice", {"question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]},
                         "answerKey": "2"},
     ("Hot?", ("ice", "fire"), "fire")),
    ("multiple choice", {"question": {"stem": "Hot?",
                                      "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}]},
                         "answerKey": "B"}, ("Hot?", ("ice", "fire"), "fire")),
    ("multiple choice", {"question_stem": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]},
                         "answerKey": "B", "fact1": "fire burns"}, ("fire burns\nHot?", ("ice", "fire"), "fire")),
    ("multiple choice", {"passage": "P.", "question": "Q?", "options": ["(A)x", "(B)y", "(C)z"],
                         "label": "C", "answer": None},
     ("P.\nQ?", ("x", "y", "z"), "z")),
    ("multiple choice", {"ctx": "He sat", "endings": ["down.", "up."], "label": "0"},
     ("He sat", ("down.", "up."), "down.")),
    ("multiple choice", {"sentence": "The _ is big.", "option1": "cat", "option2": "car", "answer": "2"},
     ("The _ is big.", ("cat", "car"), "car")),
    ("multiple choice", {"text": "Who?\nA) I\nB) You\nAnswer:", "answers": ["I", "You"], "correct_idx": 1,
                         "correct_answer": "B"},
     ("Who?", ("I", "You"), "You")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "wanted"), CHOICE)
def test_each_schema_of_questions_is_found_by_its_fields(tmp_path: Path, name: str, row: Any, wanted: Any) -> None:
    found = read(write(tmp_path, [row], "anything.jsonl"))
    assert (found.format, asked(found.items[0])) == (name, wanted)


def test_bbq_keeps_what_a_bias_score_needs(tmp_path: Path) -> None:
    item = read(write(tmp_path, [BBQ])).items[0]
    assert (item.group, item.category, item.roles) == ("ambig neg", "Age", ("old", "unknown", "nonOld"))


def test_tables_of_mmlu_without_a_header_and_of_truthful_qa_with_quoted_line_ends(tmp_path: Path) -> None:
    mmlu = write(tmp_path, 'What then?,one,"two, or",three,four,B\nWhy?,a,b,c,d,D\n', "mmlu_test.csv")
    assert [asked(item)[2] for item in read(mmlu).items] == ["two, or", "d"]
    table = 'Question,Best Answer,Best Incorrect Answer\n"One\nline?",Yes,No\nTwo?,A,B\n'
    found = read(write(tmp_path, table, "no_suffix"))
    assert [(item.id, item.stem) for item in found.items] == [("no_suffix:2", "One\nline?"), ("no_suffix:4", "Two?")]


PAIRS = [
    ({"positive": "I love it.", "negative": "I hate it."}, ("", "I love it.", "I hate it.", "")),
    ({"positive": AB + "\n (A)", "negative": AB + "\n (B)"}, (AB + "\n ", "(A)", "(B)", "A")),
    ({"prompt": "Q?", "positive_response": " yes", "negative_response": " no"}, ("Q?", " yes", " no", "")),
    ({"positive": {"prompt": "Q?", "response": "(B)"}, "negative": {"prompt": "Q?", "response": "(A)"}},
     ("Q?", "(B)", "(A)", "B")),
    ({"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}],
      "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]},
     ("", "good", "bad", "")),
    ({"honest": "true.", "deceptive": "false."}, ("", "true.", "false.", "")),
    (["one", "two"], ("", "one", "two", "")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "wanted"), PAIRS)
def test_pairs_are_read_with_the_prompt_that_both_share(tmp_path: Path, row: Any, wanted: tuple[str, ...]) -> None:
    pair = read(write(tmp_path, [row, row], "pairs.json")).pairs[0]
    assert (pair.prompt, pair.positive, pair.negative, pair.group) == wanted


def test_pairs_of_lettered_questions_are_questions_too(tmp_path: Path) -> None:
    row = {"positive": AB + "\n (B)", "negative": AB + "\n (A)"}
    assert asked(read(write(tmp_path, [row, row], "caa.json")).items[0]) == TWO
    with pytest.raises(DataError, match="asked for questions with options, but the format is 'contrast pairs'"):
        _ = read(write(tmp_path, [PAIRS[0][0]])).items


def test_inputs_with_outputs_make_a_task_whether_as_rows_or_as_columns(tmp_path: Path) -> None:
    rows = [{"input": "Rome", "output": "Italy"}, {"input": "Oslo", "output": "Norway"}]
    columns = {"input": ["Rome", "Oslo"], "output": ["Italy", "Norway"]}
    for given in (rows, columns):
        found = read(write(tmp_path, given, "capital.json"))
        assert found.task().pairs == (("Rome", "Italy"), ("Oslo", "Norway"))
        assert found.task().name == "capital"


def test_texts_are_read_with_their_labels_from_rows_files_and_lines(tmp_path: Path) -> None:
    found = read(write(tmp_path, [{"text": "bad", "is_toxic": True}, {"text": "good", "is_toxic": False}]))
    assert (found.texts(), found.texts("True")) == (("bad", "good"), ("bad",))
    with pytest.raises(DataError, match="no text of group 'x'; there are 'False', 'True'"):
        found.texts("x")
    assert read(write(tmp_path, [{"question": "Why?"}], "open.json")).texts() == ("Why?",)
    prose = write(tmp_path, '"Hello," she said, twice.\n\n[1] A note.\r\n', "prose")
    assert read(prose).texts() == ('"Hello," she said, twice.\n\n[1] A note.\n',)
    assert read(prose, each="line").texts() == ('"Hello," she said, twice.', "[1] A note.")


def test_few_shot_prompts_are_taken_apart_into_questions(tmp_path: Path) -> None:
    shot = "Questions about x.\n\nQ: Which?\n(A) one (B) two\nA: We think: (A) is odd. The answer is (B).\n\n"
    prompts = {"maths": shot + shot.split("\n\n", 1)[1], "law": shot}
    found = read(write(tmp_path, prompts, "prompts.json"))
    assert [(*asked(item), item.category) for item in found.items] == [
        ("Which?", ("one", "two"), "two", subject) for subject in ("maths", "maths", "law")
    ]


def test_a_folder_of_source_code_is_read_by_a_pattern_and_lists_what_is_no_text(tmp_path: Path) -> None:
    for name, data in {
        "a.py": b"a = 1\n",
        "deep/b.py": b"b = 2\n",
        "c.py": b"",
        "d.py": b"\x00\x01",
        ".x/e.py": b"e",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = read(tmp_path, pattern="**/*.py")
    assert [(one.id, one.text) for one in found.entries] == [("a.py", "a = 1\n"), ("deep/b.py", "b = 2\n")]  # type: ignore[union-attr]
    assert found.skipped_by_reason == {"empty": 1, "not a text": 1}
    (tmp_path / "deep" / "c.sh").write_bytes(b"ls\n")
    several = read(tmp_path, pattern=("**/*.py", "**/*.sh", "*.py"))
    assert [(one.id, one.group) for one in several.entries] == [
        ("a.py", ".py"),
        ("deep/b.py", ".py"),
        ("deep/c.sh", ".sh"),
    ]  # type: ignore[union-attr]
    assert read(tmp_path, pattern=("**/*.py", "!deep")).texts() == ("a = 1\n",)
    assert read(tmp_path, pattern=("**/*.*", "!**/*.py")).texts() == ("ls\n",)
    with pytest.raises(DataError, match="it is a folder; give one of its files, or a pattern"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no file matches '\*\.rs'"):
        read(tmp_path, pattern="*.rs")


def test_named_columns_read_any_table_frame_or_rows(tmp_path: Path) -> None:
    table = write(tmp_path, "frage;a;b;key\nWarum?;x;y;y\n", "t.csv")
    named = {"question": "frage", "options": ["a", "b"], "answer": "key"}
    frame = pd.read_csv(table, sep=";")
    for source in (table, frame, frame.to_dict("records")):
        assert asked(read(source, columns=named).items[0]) == ("Warum?", ("x", "y"), "y")
    with pytest.raises(DataError, match=r"there is no column body; it has a, b, frage, key"):
        read(table, columns={"text": "body"})
    with pytest.raises(DataError, match=r"t\.csv, line 1: a table .* name its columns \(frage, a, b, key\)"):
        read(table)


def test_open_files_and_frames_with_arrays_are_read(tmp_path: Path) -> None:
    with write(tmp_path, [question()]).open(encoding="utf-8") as stream:
        assert asked(read(stream).items[0]) == TWO
    frame = pd.DataFrame(
        {"question": ["Hot?"], "choices": [{"text": np.array(["ice", "fire"])}], "answer": np.array([1])}
    )
    assert asked(read(frame).items[0])[2] == "fire"
    with pytest.raises(DataError, match="options that are no list of texts"):
        read([{"question": "Hot?", "choices": {"text": None}, "answer": 1}])


def test_parquet_files_and_datasets_are_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [{"question": "Hot?", "choices": ["ice", "fire"], "answer": 1}]
    pd.DataFrame(rows).to_parquet(tmp_path / "x.data")
    found = read(tmp_path / "x.data")
    assert (found.container, asked(found.items[0])) == ("Parquet", ("Hot?", ("ice", "fire"), "fire"))
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(rows)
    assert read(dataset).items[0].options == ("ice", "fire")
    with pytest.raises(DataError, match="give one split of it, such as dataset"):
        read(datasets.DatasetDict({"train": dataset}))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1....PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pip install lens-steer\[datasets\]"):
        read(tmp_path / "x.parquet")


def test_what_cannot_be_used_is_counted_and_listed_and_refused_past_the_share(tmp_path: Path) -> None:
    rows = [question(AB.replace("Now", f"Now{i}")) for i in range(38)]
    path = write(tmp_path, rows)
    bad = [question(matching=" (C)"), question("Off?\n (A) x\n (B) x")]
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in bad))
    found = read(path)
    assert [(one.line, one.reason) for one in found.skipped] == [
        (39, "an answer that is no option"),
        (40, "equal options"),
    ]
    assert repr(found) == (
        "Reading(set: 38 items, model-written evals, JSON lines, "
        "2 skipped (1 an answer that is no option, 1 equal options))"
    )
    assert len(found.to_frame()) == 38 and found.skipped_frame()["line"].tolist() == [39, 40]
    with pytest.raises(DataError, match=r"set.jsonl: 2 of 40 entries .* line 39: the answer \(C\) .* max_skipped=0.04"):
        read(path, max_skipped=0.04)


def test_the_reading_knows_the_file_by_its_bytes(tmp_path: Path) -> None:
    one, other = read(write(tmp_path, [question()], "a.jsonl")), read(write(tmp_path, [question()], "b.jsonl"))
    assert one.sha256 == other.sha256 and len(one.sha256) == 64
    assert read(write(tmp_path, [question(), question()], "b.jsonl")).sha256 != one.sha256


BAD = [
    (b"", "the file is empty"),
    (b"\xef\xbb\xbf \n", "the file is empty"),
    (b'{"question": "x", "answer', "line 1: not valid JSON"),
    (b'[{"positive": "a", "negative": "b"},\n {"positive": "c', "line 2: not valid JSON in entry 2 of the list"),
    (b"[]", "holds no entry"),
    (b'{"question": "caf\xe9"}', "line 1: not a text in UTF-8 or UTF-16: byte 17 is 0xe9; as Latin-1 .*café"),
    (b'{"question": "x\0"}\n', "line 1: not a text in UTF-8: character 15 is NUL"),
    (b'{"foo": 1, "bar": 2}\n', "line 1: rows with the fields foo, bar are of no known format"),
    (b'{"train": [{"text": "a"}], "test": [{"text": "b"}, {"text": "c"}]}', r"several lists \(train, test\)"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    (b"\x1f\x8b\x08\x00broken", "cannot be read"),
    (b"BZh91AY", "compressed by bzip2"),
    (b'{"question": "2?", "choices": ["1", "2"], "answer": 2}\n',
     "1 of 1 .* line 1: the answer is '2'; the options are 0 to 1"),
    (b'{"question": "2?", "choices": ["1"], "answer": 0}\n', r"1 of 1 .*\(1 not 2 to 26 options\): line 1"),
    (b'{"question": "2?", "choices": ["1", "2"], "answer": "1"}\n', r"\(1 an answer that reads in two ways\): line 1"),
    (b'{"question": "2?", "choices": ["1", "1"], "answer": 0}\n', "1 of 1 .* line 1: .* both options read '1'"),
    (b'{"positive": "a", "negative": "a"}\n', "1 of 1 .* line 1: both texts read 'a'"),
    (b'{"text": "\\ud800"}\n', "1 of 1 .* half of a surrogate pair"),
    (b'{"label": 3, "scenario": "x"}\n', "1 of 1 .* the label is '3'"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), BAD)
def test_each_broken_file_is_refused_with_its_name_and_line(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_archives_tensors_and_missing_files_are_named(tmp_path: Path) -> None:
    for inside, words in (("x.txt", "a zip archive"), ("vec/data.pkl", "a PyTorch file")):
        with zipfile.ZipFile(tmp_path / "z", "w") as archive:
            archive.writestr(inside, "x")
        with pytest.raises(DataError, match=words):
            read(tmp_path / "z")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no format 'x'; there are model-written evals, BBQ"):
        read([{"text": "a"}], format="x")


def test_gzip_is_opened_and_the_name_loses_both_suffixes(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl.gz").write_bytes(gzip.compress(json.dumps(question()).encode()))
    assert read(tmp_path / "set.jsonl.gz").choices[0].id == "set:1"


def test_every_format_is_tried_on_a_schema_of_its_own() -> None:
    assert {form.name for form in FORMATS} == {
        "model-written evals", "BBQ", "ETHICS", "TruthfulQA", "multiple choice", "contrast pairs",
        "inputs and outputs", "texts",
    }  # fmt: skip
