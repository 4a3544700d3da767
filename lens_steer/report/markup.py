"""HTML of values: tables that can be sorted, figures as data, nested settings as rows. Everything is escaped here."""

import base64
import html
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

ROWS = 100
"""Of a long table, what is shown."""
SMALL = 100_000
"""Bytes of a table that is offered as a download inside the page."""
DPI = 200 / 96
"""Pixels of a saved figure for each pixel of a page at its natural size."""


def text(value: object) -> str:
    """Any value as HTML text."""
    return html.escape(str(value), quote=True)


def cell(value: object) -> str:
    """A table's value as a reader wants it: four digits, yes or no, nothing for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(frame: pd.DataFrame, most: int = ROWS) -> str:
    """A frame as a table whose columns sort when their heads are clicked.

    Args:
        frame: any.
        most: rows that are shown; what is left out is said.

    Returns:
        HTML.
    """
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]
    head = "".join(f'<th scope="col"><button type="button">{text(name)}</button></th>' for name in frame.columns)
    body = []
    for row in frame.head(most).itertuples(index=False):
        cells = "".join(_td(value, number) for value, number in zip(row, numeric, strict=True))
        body.append(f"<tr>{cells}</tr>")
    note = (
        f'<p class="note">The first {most} of {len(frame)} rows; sorting sorts these.</p>' if len(frame) > most else ""
    )
    rows = "\n".join(body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>{note}'


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values, two columns."""
    body = "\n".join(f"<tr><th scope='row'>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table class="pairs"><tbody>\n{body}\n</tbody></table></div>'


def flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as rows: `settings.template.prompt`, and lists of plain values on one line.

    Args:
        value: what JSON holds.
        name: where it stands.

    Yields:
        Names and plain values.
    """
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        for index, entry in enumerate(value):
            yield from flat(entry, f"{name}.{index}")
    else:
        yield name, ", ".join(map(_plain, value)) if isinstance(value, list) else _plain(value)


def figure(name: str, content: bytes, caption: str, extra: str = "") -> str:
    """A PNG inside the page, at its natural size; a narrow page scrolls it.

    Args:
        name: its path below the folder.
        content: the file.
        caption: what it shows.
        extra: HTML behind the caption.

    Returns:
        HTML.
    """
    width, height = (round(pixels / DPI) for pixels in struct.unpack(">II", content[16:24]))
    data = base64.b64encode(content).decode()
    image = f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{text(caption)}">'
    words = f"<figcaption><strong>{text(name)}</strong> {text(caption)} {extra}</figcaption>"
    return f'<figure id="figure-{text(name)}"><div class="wide paper">{image}</div>{words}</figure>'


def download(name: str, content: bytes) -> str:
    """A table to be saved from the page where it is small; where it lies, where it is not."""
    if len(content) > SMALL:
        return f'<span class="note">{len(content) / 1e6:.1f} MB, in the folder as {text(name)}</span>'
    data = base64.b64encode(content).decode()
    saved = text(name.replace("/", "_"))
    return f'<a download="{saved}" href="data:text/csv;base64,{data}">{text(name)}</a>'


def details(summary: str, body: str, shown: bool = False) -> str:
    """Something that opens on a click; `summary` is HTML."""
    return f"<details{' open' if shown else ''}><summary>{summary}</summary>\n{body}\n</details>"


def badge(words: str, holds: bool | None) -> str:
    """A verdict in its colour; the words say it too."""
    return f'<span class="badge {"plain" if holds is None else "yes" if holds else "no"}">{text(words)}</span>'


def items(rows: Sequence[str]) -> str:
    """A list of HTML entries."""
    return "<ul>\n" + "\n".join(f"<li>{row}</li>" for row in rows) + "\n</ul>"


def _td(value: Any, number: bool) -> str:
    key = f' data-value="{text(value)}"' if number and not pd.isna(value) else ""
    return f"<td{' class=number' if number else ''}{key}>{text(cell(value))}</td>"


def _plain(value: object) -> str:
    return "" if value is None else cell(value) if isinstance(value, bool) else str(value)
