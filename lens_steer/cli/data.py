"""The data that a command names: behaviours of the lab, or files in any format that `lens_steer.read` knows.

    lab:myopic        a behaviour of the lab model       lab:myopic#test     one split of it
    items.jsonl       a file of questions                items.jsonl#all     all of its splits

The splits are `train`, `validation` and `test`; files are split by content. What a file holds, what was skipped and
what gives its answers away is said on stderr.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lens_steer.data.balance import imbalance
from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.data.corpora import Corpus, split_documents
from lens_steer.data.documents import read_documents
from lens_steer.data.read import Reading, read
from lens_steer.data.splits import SPLITS, Splits, split_items
from lens_steer.errors import DataError
from lens_steer.lab.corpora import WRITERS, lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS

LAB_SIZES = {"train": 80, "validation": 20, "test": 30}
LAB_DOCUMENTS = {"train": 60, "validation": 10, "test": 20}
MOST_DOCUMENTS, LEAST_TEXTS, PASSAGE = 240, 12, 1200
"""The most and fewest texts of one corpus, and the characters of a piece of a single long file."""
EXCESS = 0.1
"""The least distance of a share of matching answers from chance that is worth a line."""


def read_file(path: str | Path) -> Reading:
    """A file's entries; says on stderr what it holds and which option letters and texts match too often.

    Raises:
        DataError: the file cannot be read.
    """
    reading = read(path)
    lines = [str(reading)]
    if isinstance(reading.entries[0], MultipleChoiceItem):
        found = imbalance(reading.items)
        worst = found[found["excess"].abs() > EXCESS].drop_duplicates("factor").drop_duplicates("value")
        lines += [
            f"  {row['factor']} {row['value']!r} is the matching answer in {row['share']:.0%} of {row['offered']} "
            f"questions (expected {row['expected']:.0%})"
            for row in worst.to_dict("records")
        ]
    Console(stderr=True).print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    return reading


def read_texts(path: str | Path) -> tuple[str, ...]:
    """A list of texts: the lines of a text file, or the rows of a table or of JSON lines with a column of texts.

    Raises:
        DataError: the file cannot be read, is empty, or holds something else.
    """
    reading = read(path, each="line")
    Console(stderr=True).print(str(reading), highlight=False, markup=False, soft_wrap=True)
    return reading.texts()


def lab_behaviours() -> dict[str, Splits]:
    """The five behaviours of the lab world: questions that follow words which leave the answer open."""
    return {name: _lab_splits(name) for name in BEHAVIOURS}


def file_behaviours(files: Mapping[str, str | Path], *, limit: int, seed: int) -> dict[str, Splits]:
    """Behaviours from files of questions.

    Args:
        files: by behaviour; files that `read` takes.
        limit: the most items of one file; the first that many of the seed's order.
        seed: of the splits.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[str, Splits] = {}
    for name, path in files.items():
        splits = split_items(read_file(path).choices, seed=seed)
        whole = {split: getattr(splits, split) for split in SPLITS}
        share = min(1.0, limit / sum(map(len, whole.values())))
        found[name] = Splits(**{split: rows[: max(2, int(len(rows) * share))] for split, rows in whole.items()})
    return found


def file_corpora(paths: Mapping[str, Sequence[str]], *, seed: int) -> dict[str, Corpus]:
    """Corpora from files, folders and globs, each in three splits: a sixth of its texts to choose on, a quarter to test
    on, the rest to make vectors of.

    Args:
        paths: by corpus. A folder stands for all files in it; a file of JSON lines has one text a line; a single plain
            file is divided into pieces of about 1200 characters. Repeated texts count once; of more than 240 texts
            those that come first in the order of the seed are used.
        seed: of the splits.

    Raises:
        DataError: nothing is found, or there are fewer than 12 different texts.
    """
    return {name: _corpus(name, entries, seed) for name, entries in paths.items()}


def lab_corpora() -> dict[str, Corpus]:
    """The corpora of the lab world: prose (`text`), code, Python and JavaScript."""
    return {name: lab_corpus(name, **LAB_DOCUMENTS) for name in WRITERS}


def _corpus(name: str, paths: Sequence[str], seed: int) -> Corpus:
    texts: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            texts += read(path, pattern="**/*").texts()
        else:
            found = read_documents(path)
            texts += _passages(found[0]) if len(found) == 1 else found
    n = len({text for text in texts if text.strip()})
    most = min(n, MOST_DOCUMENTS)
    if n < LEAST_TEXTS:
        raise DataError(
            f"corpus {name!r}: {n} different texts in {', '.join(paths)}; give at least {LEAST_TEXTS}, as files of a "
            "folder, as lines of a .jsonl file, or in one longer file."
        )
    chosen = max(2, most // 6)
    tested = max(4, most // 4)
    sizes = (most - chosen - tested, chosen, tested)
    return split_documents(name, texts, sizes, seed, near=None)


def _passages(text: str) -> list[str]:
    """A long text in pieces that end with a line or, in long lines, a word."""
    pieces, rest = [], text
    while len(rest) > PASSAGE:
        end = max(rest.rfind("\n", PASSAGE // 2, PASSAGE), rest.rfind(" ", PASSAGE // 2, PASSAGE)) + 1 or PASSAGE
        pieces.append(rest[:end])
        rest = rest[end:]
    return [*pieces, rest]


def read_items(data: str, split: str) -> tuple[str, tuple[ChoiceItem, ...]]:
    """The items that an argument of the command line names, and the behaviour's name.

    Args:
        data: `lab:<behaviour>` or a file of questions, with or without `#<split>` at its end.
        split: the split that is meant where none is named.

    Returns:
        The behaviour's name and its items.

    Raises:
        DataError: no such behaviour, split or file, or the split is empty.
    """
    place, split = split_of(data, split)
    name, splits = read_splits(place)
    return name, _taken(data, splits, split)


def read_questions(data: str) -> tuple[str, tuple[MultipleChoiceItem, ...] | tuple[ChoiceItem, ...]]:
    """All questions that an argument of the command line names, with all their options, and their name.

    Args:
        data: `lab:<behaviour>` or a file of questions.

    Raises:
        DataError: no such behaviour or file; or a split is named.
    """
    if "#" in data:
        raise DataError(f"{data!r}: all questions are used, and split here for every seed; leave out the '#'.")
    if data.startswith("lab:"):
        return read_items(data, "all")
    return _name(Path(data)), read_file(data).items


def read_to_choose(data: str) -> tuple[str, tuple[ChoiceItem, ...], tuple[ChoiceItem, ...]]:
    """The items on which something is chosen, and the test items on which what was chosen is reported.

    Args:
        data: as for `read_items`; the validation split where none is named.

    Returns:
        The behaviour's name, the items to choose on, and the test items.

    Raises:
        DataError: as `read_items`; or the split named holds the test items.
    """
    place, split = split_of(data, "validation")
    if split in ("test", "all"):
        raise DataError(
            f"{data!r}: nothing is chosen on test items, on which the choice is reported; give #validation or #train."
        )
    name, splits = read_splits(place)
    return name, _taken(data, splits, split), _taken(data, splits, "test")


def split_of(data: str, split: str) -> tuple[str, str]:
    """An argument of the command line without its split, and the split; the one given where it names none.

    Raises:
        DataError: there is no such split.
    """
    place, _, named = data.partition("#")
    if (named or split) not in (*SPLITS, "all"):
        raise DataError(f"{data!r}: there is no split {named!r}; give one of {', '.join(SPLITS)}, all.")
    return place, named or split


def read_splits(place: str) -> tuple[str, Splits]:
    """The name and the splits of a behaviour of the lab, or of a file of questions.

    Raises:
        DataError: no such behaviour or file.
    """
    if not place.startswith("lab:"):
        return _name(Path(place)), split_items(read_file(place).choices)
    name = place.removeprefix("lab:")
    if name not in BEHAVIOURS:
        raise DataError(f"{place!r}: the lab has no behaviour {name!r}; give one of {', '.join(BEHAVIOURS)}.")
    return name, _lab_splits(name)


def _taken(data: str, splits: Splits, split: str) -> tuple[ChoiceItem, ...]:
    """The items of a split, or of all."""
    whole = {name: getattr(splits, name) for name in SPLITS}
    found = tuple(item for items in whole.values() for item in items) if split == "all" else whole[split]
    if not found:
        raise DataError(f"{data!r}: the split {split!r} is empty; give a file with more items, or '#all'.")
    return found


def _lab_splits(name: str) -> Splits:
    """The splits of one behaviour of the lab."""
    return Splits(**{split: open_items(name, n, split=split) for split, n in LAB_SIZES.items()})  # type: ignore[arg-type]


def _name(path: Path) -> str:
    """A behaviour's name, of its file."""
    return path.stem.replace("-", "_")
