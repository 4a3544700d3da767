"""Values as the templates of the page take them: rows of a table, settings as rows, a figure with its size.

Nothing here is HTML, and nothing is escaped; the templates do both.
"""

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from lens_steer._util.printable import printable
from lens_steer._util.values import numeric, readable
from lens_steer.errors import FormatError

ROWS = 100
"""The most rows of a table that are shown."""
SMALL = 100_000
"""Bytes of the largest table that can be saved from the page; a larger one is only named."""
LEAST, BEYOND = 1e-9, 1e6
"""The least value of full colour, and the largest number of a step: an edit of an activation of norm 0 is infinite."""
DPI = 200 / 96
"""Pixels of a saved figure for each pixel of a page at its natural size."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value as text; `number`: it is one; `key`: what its column is sorted by, where that is not the text."""

    text: str
    number: bool
    key: str


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """The rows of a frame that are shown, and how many it has."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings as rows of name and value: plain ones, and nested ones behind their names."""

    plain: tuple[tuple[str, str], ...]
    nested: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure inside the page; `data` names the table behind it, or is empty."""

    name: str
    png: str
    width: int
    height: int
    caption: str
    data: str


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A token as text; `edit` and `apart` are its edit and its KL as shares of the largest of all, 0 to 1."""

    text: str
    said: str
    generated: bool
    edit: float
    apart: float


@dataclass(frozen=True, kw_only=True)
class Strength:
    """The continuations at one strength, their mean KL (nats a token), and why they count as collapsed, if they do."""

    strength: float
    scale: str
    kl: str
    collapsed: str
    texts: tuple[tuple[Piece, ...], ...]


def table_rows(frame: pd.DataFrame, most: int = ROWS) -> TableRows:
    """The first rows of a frame as text.

    Args:
        frame: any.
        most: rows that are shown.
    """
    numbers = [numeric(pd.Series(frame[name])) for name in frame.columns]
    rows = tuple(
        tuple(_cell(value, number) for value, number in zip(row, numbers, strict=True))
        for row in frame.head(most).itertuples(index=False)
    )
    return TableRows(columns=tuple(map(str, frame.columns)), rows=rows, total=len(frame))


def settings(said: Mapping[str, object]) -> Settings:
    """Plain values as they are, nested ones behind their names.

    Args:
        said: what a JSON object holds.
    """
    plain = {key: value for key, value in said.items() if not isinstance(value, Mapping)}
    nested = [(key, tuple(_flat(value))) for key, value in said.items() if isinstance(value, Mapping) and value]
    return Settings(plain=tuple(_flat(plain)) if plain else (), nested=tuple(nested))


def picture(name: str, content: bytes, caption: str, data: str) -> Picture:
    """A PNG at its natural size.

    Args:
        name: what it is called on the page.
        content: the file.
        caption: what it shows.
        data: the table behind it; empty where there is none.
    """
    width, height = (round(pixels / DPI) for pixels in struct.unpack(">II", content[16:24]))
    return Picture(name=name, png=base64_text(content), width=width, height=height, caption=caption, data=data)


def strengths(frame: pd.DataFrame) -> tuple[Strength, ...]:
    """Continuations at several strengths, in rising order.

    Args:
        frame: rows of `lens_steer.generation.steps` with `prompt`, `strength` and `collapsed`.

    Raises:
        FormatError: a strength, an edit or a KL is no number.
    """
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in ("strength", "change", "kl", "position")}
    if any(numbers[name].isna().any() for name in ("strength", "change", "position")):
        raise FormatError(
            "a table of steps holds a strength, a change or a position that is no number; write it again."
        )
    rows = pd.DataFrame(numbers).clip(-BEYOND, BEYOND).fillna({"kl": 0.0})
    rows = rows.assign(**{name: frame[name] for name in frame.columns if name not in numbers})
    most = {name: max(float(rows[name].abs().max()), LEAST) for name in ("change", "kl")}
    return tuple(_strength(float(str(s)), pd.DataFrame(own), most) for s, own in rows.groupby("strength"))


def _strength(strength: float, rows: pd.DataFrame, most: Mapping[str, float]) -> Strength:
    """One strength; `most` is what full colour stands for. A text begins where its position is 0."""
    reason = str(rows["reason"].iloc[0]) if "reason" in rows.columns else ""
    new = rows["generated"].astype(bool)
    texts = []
    for _, text in rows.groupby(rows["position"].eq(0).cumsum()):
        columns = (text["piece"].fillna(""), text["generated"], text["change"], text["kl"])
        texts.append(
            tuple(_piece(str(a), bool(b), float(c), float(d), most) for a, b, c, d in zip(*columns, strict=True))
        )
    return Strength(
        strength=strength,
        scale=str(rows["scale"].iloc[0]) if "scale" in rows.columns else "",
        kl=readable(float(rows["kl"][new].mean())),
        collapsed=(reason or "collapsed") if bool(rows["collapsed"].iloc[0]) else "",
        texts=tuple(texts),
    )


def _piece(text: str, generated: bool, change: float, kl: float, most: Mapping[str, float]) -> Piece:
    said = f"edit {change:.2g} of the activation's norm" + (f", KL {kl:.2g} nats" if generated else "")
    edit, apart = (round(min(abs(value) / most[name], 1.0), 3) for name, value in (("change", change), ("kl", kl)))
    shown = printable(text, {"\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n", "\t": "\t"})
    return Piece(text=shown, said=said, generated=generated, edit=edit, apart=apart)


def base64_text(content: bytes) -> str:
    """Bytes as a data address holds them."""
    return base64.b64encode(content).decode()


def _cell(value: object, number: bool) -> Cell:
    text = readable(value)
    return Cell(text=text, number=number, key=str(value) if number and text else "")


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as rows: `settings.template.prompt`; a list of plain values is one row."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        for index, entry in enumerate(value):
            yield from _flat(entry, f"{name}.{index}")
    else:
        yield name, ", ".join(map(_exactly, value)) if isinstance(value, list) else _exactly(value)


def _exactly(value: object) -> str:
    """A setting: numbers with all their digits."""
    return str(value) if isinstance(value, float) else readable(value)
