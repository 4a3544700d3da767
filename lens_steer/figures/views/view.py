"""`View`: CircuitsVis drawings of plain values, with the script that renders them.

    page = an empty element per drawing + one script: CircuitsVis' source, then one call per drawing

CircuitsVis' own display first tries the network and does not close its element, so that a view would contain the next
one. Here the script shipped with the package is called directly. Its token elements insert tokens as HTML; `as_text`
ensures that a token such as `<script>` stays text.
"""

import json
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from lens_steer._util.files import write_whole
from lens_steer._util.printable import printable
from lens_steer._util.templates import fill

PACKAGE = "lens_steer.figures.views"
LONGEST = 40
"""Tokens are shortened to this many characters; some vocabularies have tokens of several hundred."""
_BREAK, _TAB, _JOINER = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{RIGHTWARDS ARROW TO BAR}", "\N{WORD JOINER}"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A CircuitsVis element by name, with its properties (lists, numbers, texts), title and maximal width in pixels."""

    element: str
    properties: Mapping[str, Any]
    title: str = ""
    width: int | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """Drawings one below another, displayed by Jupyter or saved as a page."""

    drawings: tuple[Drawing, ...]

    def places(self, name: str) -> str:
        """The empty elements for the drawings, each under its title.

        Args:
            name: prefix of their ids; must be unique on a page.

        Returns:
            HTML.
        """
        return fill(PACKAGE, "places.html", {"drawings": self.drawings, "name": name})

    def calls(self, name: str) -> str:
        """The script that fills the elements; `circuits_vis` must precede it.

        Args:
            name: as for `places`.

        Returns:
            JavaScript, escaped so that no text can end the script element.
        """
        return "\n".join(
            f'CircuitsVis.render("{name}-{index}", CircuitsVis.{drawing.element}, {_json(drawing.properties)});'
            for index, drawing in enumerate(self.drawings)
        )

    def to_html(self, name: str = "view") -> str:
        """Elements and script together.

        Args:
            name: as for `places`.

        Returns:
            Self-contained HTML, about 1.3 MB.
        """
        return self._filled("view.html", name)

    def save(self, path: str | Path) -> Path:
        """Saves the view as a page of its own.

        Args:
            path: the file, usually ending in `.html`.

        Returns:
            The path written. The same view gives the same bytes.
        """
        return write_whole(path, self._filled("page.html", "view").encode())

    def _repr_html_(self) -> str:
        """HTML for Jupyter; the ids are new each time, because a notebook may show the same view twice."""
        return self.to_html(f"view-{uuid.uuid4().hex}")

    def _filled(self, template: str, name: str) -> str:
        values = {"places": self.places(name), "circuits_vis": circuits_vis(), "calls": self.calls(name)}
        return fill(PACKAGE, template, values)


@cache
def circuits_vis() -> str:
    """The script of the circuitsvis package, escaped so that it cannot end the script element around it."""
    source = (files("circuitsvis") / "dist" / "cdn" / "iife.js").read_text(encoding="utf-8")
    return source.rpartition("//# sourceMappingURL=")[0].replace("</script", "<\\/script")


def visible(token: str) -> str:
    """A token in visible, distinguishable characters.

    Args:
        token: its text.

    Returns:
        The token with arrows for tabs and line breaks (which still break the line), other unprintable characters
        escaped, a lone accent on a dotted circle, and an empty-set sign for no characters; at most `LONGEST` long.
    """
    if not token:
        return "\N{EMPTY SET}"
    cut = token if len(token) <= LONGEST else f"{token[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    shown = printable(cut, {"\n": f"{_BREAK}\n", "\t": _TAB})
    return f"\N{DOTTED CIRCLE}{shown}" if unicodedata.combining(shown[0]) else shown


def as_text(token: str) -> str:
    """A visible token for elements that insert tokens as HTML: it looks the same and cannot start markup."""
    return visible(token).replace("<", f"<{_JOINER}").replace("&", f"&{_JOINER}")


def _json(value: Mapping[str, Any]) -> str:
    """JSON without `<`, so that it cannot end the script element around it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
