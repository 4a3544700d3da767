"""Readers of texts: one field of each row, a file, its lines, or the files of a folder.

    open-ended questions (CAA), prompts, labelled texts    text, question, prompt, content, ...; label
    plain text                                             one document a file, or one a line
    folders of prose or source code                        pattern="**/*.py", or ("**/*.py", "!**/tests")

A pattern that begins with ! leaves out files, and folders with all that is in them. Files of a folder that are empty or
not text are skipped and listed; hidden files are ignored.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lens_steer.data.files import Record, Rows, Skipped, decode, lines, read_bytes, with_plain_ends
from lens_steer.data.readers.core import Document, Format, Row
from lens_steer.errors import DataError

TEXT = ("text", "question", "prompt", "content", "sentence", "document", "instruction", "statement", "goal", "input")
LABEL = ("label", "is_toxic", "group", "category", "class", "subdomain", "domain", "kind")


def _document(row: Row) -> Document:
    """A row as a text, with its label."""
    return Document(id=row.id, text=row.text(*TEXT), group=row.label(*LABEL))


def plain_rows(text: str, each: str) -> Rows:
    """A text as one document, or as one document per non-empty line.

    Args:
        text: of a file.
        each: "file" or "line".
    """
    if each == "file":
        return Rows("plain text", (Record(1, 1, with_plain_ends(text)),) if text.strip() else ())
    found = [(number, line) for number, line in enumerate(lines(text), 1) if line.strip()]
    return Rows("lines of text", tuple(Record(number, number, line) for number, line in found))


def folder(path: Path, patterns: Sequence[str]) -> tuple[tuple[Document, ...], tuple[Skipped, ...], str]:
    """The texts of a folder's files, the skipped files, and a hash of the contents.

    Args:
        path: the folder.
        patterns: which files, such as `"**/*.py"`; `"!**/tests"` leaves files or folders out.

    Returns:
        One document a file, in the order of their names, grouped by suffix; skipped files have line 0.

    Raises:
        DataError: no file matches, or none is a text.
    """
    left_out = {file for one in patterns if one.startswith("!") for file in path.glob(one[1:])}
    files = sorted(
        file
        for file in {file for one in patterns if not one.startswith("!") for file in path.glob(one)} - left_out
        if file.is_file()
        and left_out.isdisjoint(file.parents)
        and not any(name.startswith(".") for name in file.relative_to(path).parts)
    )
    if not files:
        given = ", ".join(map(repr, patterns))
        raise DataError(f"{path}: no file matches {given}; give another pattern, such as '**/*.txt'.")
    found, skipped, digest = [], [], hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix()
        try:
            data = read_bytes(file)
            text = decode(data, name)
        except DataError as error:
            skipped.append(Skipped(0, "not a text", str(error)))
            continue
        if not text.strip():
            skipped.append(Skipped(0, "empty", f"{name}: empty"))
            continue
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
        found.append(Document(id=name, text=with_plain_ends(text), group=file.suffix))
    if not found:
        raise DataError(f"{path}: none of {len(files)} files is a text ({skipped[0].detail}).")
    return tuple(found), tuple(skipped), digest.hexdigest()


FORMAT = Format("texts", "texts", (TEXT,), _document)
