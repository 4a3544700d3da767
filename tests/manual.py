"""The pages of the manual that hold code: each block runs on the lab, and what it prints stands behind it.

python tests/manual.py      runs the pages and writes what their blocks print
"""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGES = sorted((Path(__file__).parents[1] / "docs" / "questions").glob("*.md"))
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<text>.*?)```\n)?", re.DOTALL)


def printed(page: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each block of code of a page, in order and with the names of those before it, and what it prints."""
    names: dict[str, object] = {}
    for block in BLOCK.finditer(page):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block["code"], "page", "exec"), names)
        yield block, said.getvalue()


def with_printed(page: str) -> str:
    """A page with what its blocks print behind them."""
    parts, end = [], 0
    for block, said in printed(page):
        shown = f"\n```text\n{said.rstrip()}\n```\n" if said else ""
        parts += [page[end : block.start()], f"```python\n{block['code']}```\n{shown}"]
        end = block.end()
    return "".join([*parts, page[end:]])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path in PAGES:
            path.write_text(with_printed(path.read_text(encoding="utf-8")), encoding="utf-8")
