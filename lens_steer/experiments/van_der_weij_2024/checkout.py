"""A checkout of the paper's repository: its files by name, their JSON, and the items its answers were scored on.

    split    random.seed(13) once, then each behaviour's file shuffled, in the order of `BEHAVIOURS`
             first 500 items: the vector;   next 200: validation;   the rest: test

Source: van der Weij, Poesio & Schoots 2024 (arXiv 2403.05767), github.com/TeunvdWeij/extending-activation-addition.
Files are found by name wherever below `results` or `data` they stand, because folders were renamed between commits.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lens_steer.errors import DataError, FormatError

BEHAVIOURS = ("myopic", "wealth_seeking", "sycophancy", "agreeableness", "anti_immigration")
"""In the order in which their files were shuffled."""
YES_NO = ("agreeableness", "anti_immigration")
SPLIT_SEED, N_TRAIN, N_VALIDATION = 13, 500, 200
REPOSITORY = "github.com/TeunvdWeij/extending-activation-addition"
PARTS = ("results", "data")
"""The folders of the checkout that are read."""


@dataclass(frozen=True, kw_only=True)
class Gold:
    """The answers that match a behaviour, as the paper's seed shuffled them."""

    answers: tuple[str, ...]

    @property
    def validation(self) -> tuple[str, ...]:
        """Of the items on which strengths were searched."""
        return self.answers[N_TRAIN : N_TRAIN + N_VALIDATION]

    @property
    def test(self) -> tuple[str, ...]:
        """Of the items on which results were reported."""
        return self.answers[N_TRAIN + N_VALIDATION :]

    @property
    def held_out(self) -> tuple[str, ...]:
        """Of all items but those of the vector; the unsteered score of the search was taken on them."""
        return self.answers[N_TRAIN:]


def options(behaviour: str) -> tuple[str, str]:
    """The two answers that a behaviour's questions offer."""
    return ("Yes", "No") if behaviour in YES_NO else ("A", "B")


def existing(folder: str | Path) -> Path:
    """The folder of a checkout.

    Raises:
        FormatError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise FormatError(
            f"{folder}: there is no such folder; expected a checkout of {REPOSITORY}, with its results and data."
        )
    return Path(folder)


def find(folder: str | Path, name: str) -> Path:
    """The file of a name, wherever in the checkout's results and data it stands.

    Args:
        folder: the checkout.
        name: of the file, without folders.

    Returns:
        Its path; of copies with the same content, the first.

    Raises:
        FormatError: the folder or the file is missing, or there are several files of this name that differ.
    """
    folder = existing(folder)
    found = sorted(path for split in PARTS for path in (folder / split).rglob(name))
    if not found:
        lacking = [f"its folder {split} is missing" for split in PARTS if not (folder / split).is_dir()]
        raise FormatError(
            f"{folder}: holds no {name} below results or data{''.join(f', {said}' for said in lacking)}; give a whole "
            "checkout of the paper's repository."
        )
    if len({path.read_bytes() for path in found}) > 1:
        raise FormatError(f"{folder}: holds {name} {len(found)} times, with different contents; keep one of them.")
    return found[0]


def read_results(folder: str | Path, name: str) -> dict[str, Any]:
    """The result file of a name.

    Args:
        folder: the checkout.
        name: of the file, without folders.

    Returns:
        What its JSON says.

    Raises:
        FormatError: as `find`; or the file is truncated, or no JSON object.
    """
    path = find(folder, name)
    content = _json(path)
    if not isinstance(content, dict):
        raise FormatError(
            f"{path}: holds a JSON {type(content).__name__}; expected an object. Check the file out again."
        )
    return content


def entry(holder: Any, key: str, where: str) -> Any:
    """What stands under a key of a JSON object.

    Args:
        holder: the object.
        key: which entry.
        where: the object's place, for the message.

    Returns:
        The entry.

    Raises:
        FormatError: it is not there.
    """
    if not isinstance(holder, dict) or key not in holder:
        have = ", ".join(map(str, holder)) if isinstance(holder, dict) else f"a {type(holder).__name__}"
        raise FormatError(f"{where}: no {key!r} among {have}; the file was changed, check it out again.")
    return holder[key]


def group(holder: Any, key: str, where: str) -> dict[str, Any]:
    """As `entry`, of an entry that holds others.

    Raises:
        FormatError: it is not there, or is no object.
    """
    found = entry(holder, key, where)
    if not isinstance(found, dict):
        raise FormatError(f"{where}: {key!r} is a {type(found).__name__}, not an object; check the file out again.")
    return found


def numbers(holder: Any, key: str, where: str) -> list[float | int]:
    """As `entry`, of a list of finite numbers.

    Raises:
        FormatError: it is not there, or is anything else.
    """
    found = entry(holder, key, where)
    if not isinstance(found, list) or not found or not all(_finite(number) for number in found):
        raise FormatError(f"{where}: {key} must be a list of finite numbers, at least one; check the file out again.")
    return found


def number_after(prefix: str, key: str, where: str) -> float:
    """The number behind a key such as `layer_10`.

    Raises:
        FormatError: the key is not the prefix and a finite number.
    """
    try:
        number = float(key.removeprefix(prefix)) if key.startswith(prefix) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(f"{where}: {key!r} is not {prefix} and a number; the file was changed.")
    return number


def gold_answers(folder: str | Path) -> Mapping[str, Gold] | None:
    """The answers that match each behaviour, shuffled by the paper's seed.

    One generator goes through all files, so that the order of each depends on the lengths of those before it.

    Args:
        folder: the checkout.

    Returns:
        By behaviour; None where the checkout has no data/datasets.

    Raises:
        FormatError: the checkout, or a behaviour's file, is missing; or a file is truncated or of another form.
        DataError: a file has no test item, or knows one matching answer only.
    """
    if not (existing(folder) / "data" / "datasets").is_dir():
        return None
    generator, found = random.Random(SPLIT_SEED), {}
    for behaviour in BEHAVIOURS:
        path = find(folder, f"{behaviour}.json")
        rows = _json(path)
        if not isinstance(rows, list):
            raise FormatError(f"{path}: holds a JSON {type(rows).__name__}; expected a list of items.")
        key = "answer_matching_behavior"
        answers = [entry(row, key, f"{path}, item {index}") for index, row in enumerate(rows)]
        if set(answers) != set(options(behaviour)) or len(answers) <= N_TRAIN + N_VALIDATION:
            raise DataError(
                f"{path}: {len(answers)} items with the matching answers {sorted(set(map(str, answers)))}; expected "
                f"both of {list(options(behaviour))}, and more than {N_TRAIN + N_VALIDATION} items."
            )
        generator.shuffle(answers)
        found[behaviour] = Gold(answers=tuple(answers))
    return found


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _json(path: Path) -> Any:
    """What a JSON file says."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: truncated, or not JSON ({error}); check the file out again.") from error
