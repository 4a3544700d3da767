r"""Result tables as LaTeX, for papers: `booktabs` rules, `longtable` where a table is longer than a page.

    0.123456 -> 0.123    0.5 -> 0.500    1234.5 -> 1234    a value with `_low` and `_high` -> 0.520 [0.410, 0.630]
    a value without an interval, with `_why` there is none -> 0.520 (few)

Numbers have three significant digits, from 1000 on no decimals. Columns with one value for all rows are said in the
caption instead. The preamble needs `\usepackage{booktabs, longtable}`; tokens of other scripts need LuaLaTeX.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lens_steer._util.files import write_whole
from lens_steer._util.values import numeric, readable
from lens_steer.figures.captions.common import NO_SIDE_EFFECTS, counted, scale, steered
from lens_steer.figures.style import Caption, drawable, words

PAGE = 40
"""Rows; a longer table is a `longtable`."""
SIDE_EFFECTS = ("kl", "relative_perplexity", "relative_top1", "relative_top10")
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL)))


def to_latex(frame: pd.DataFrame, caption: Caption, label: str) -> str:
    r"""A result table as LaTeX.

    Args:
        frame: tidy rows.
        caption: what is shown, n, interval, control and strength scale; side effects are added from the columns.
        label: after `tab:`, for `\ref`.

    Returns:
        A `table`, or a `longtable` where it has more than 40 rows.

    Raises:
        ScoreError: the frame is empty.

    Example:
        >>> frame = pd.DataFrame({"site": ["z@1.0", "z@2.0"], "rate": [0.51234, -1.0]})
        >>> print(to_latex(frame, table_caption("Rates", frame), "rates").splitlines()[-5])
        z@1.0 & $0.512$ \\
    """
    shown, constant = _without_constant(drawable(frame, ()))
    told = replace(caption, side_effects=_side_effects(frame))
    said = told.text().strip() + " Numbers: three significant digits."
    if constant:
        said += " All rows: " + "; ".join(f"{words(name)} {readable(value)}" for name, value in constant.items()) + "."
    columns = _with_intervals(shown)
    align = "".join("r" if numeric(pd.Series(shown[name])) else "l" for name in columns)
    cells = pd.DataFrame({escape(words(str(name))): column for name, column in columns.items()}, dtype=object)
    said = escape(said)
    table = cells.to_latex(
        index=False, escape=False, longtable=len(cells) > PAGE, column_format=align, caption=said, label=f"tab:{label}"
    )
    return table.replace(rf"\caption[]{{{said}}}", r"\caption[]{(continued)}")


def write_latex(path: Path, frame: pd.DataFrame, caption: Caption) -> Path:
    """Writes a table as LaTeX beside its CSV.

    Args:
        path: of the CSV.
        frame: its rows.
        caption: as `to_latex`.

    Returns:
        The path written: that of the CSV with the ending `.tex`.
    """
    return write_whole(path.with_suffix(".tex"), to_latex(frame, caption, path.stem).encode())


def table_caption(title: str, frame: pd.DataFrame) -> Caption:
    """The caption of a table without a figure, from its columns.

    Args:
        title: what the table is, without a full stop.
        frame: its rows.

    Returns:
        The caption.
    """
    columns = list(map(str, frame.columns))
    banded = [name for name in columns if name.startswith("random_")]
    control = "none: the table has no random directions"
    if banded:
        control = f"random directions ({', '.join(map(words, banded))})"
    elif "vector" in columns and frame["vector"].astype(str).str.startswith("random").any():
        control = steered(frame, "in rows of their own")
    intervals = any(name.endswith("low") and name not in banded for name in columns)
    return Caption(
        shown=f"{title}.",
        n=counted(len(frame), "row"),
        interval="95 %, in brackets or in the columns low and high; where there is none, why"
        if intervals
        else "none: one value a row",
        control=control,
        strength_scale=scale(frame),
    )


def escape(text: str) -> str:
    r"""A text whose special characters LaTeX prints as they are; line ends become spaces.

    Example:
        >>> escape("50 % of resid_post")
        '50 \\% of resid\\_post'
    """
    return _SPECIAL.sub(lambda match: SPECIAL[match[0]], text.replace("\n", " "))


def _without_constant(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The columns that differ between rows, and the single value of each other one."""
    if len(frame) == 1:
        return frame, {}
    single = [name for name in frame.columns if frame[name].astype(str).nunique(dropna=False) == 1]
    kept = [name for name in frame.columns if name not in single] or list(frame.columns)[:1]
    facts = {str(name): frame[name].iloc[0] for name in single if name not in kept}
    return pd.DataFrame(frame[kept]), {name: value for name, value in facts.items() if readable(value)}


def _with_intervals(frame: pd.DataFrame) -> dict[str, Sequence[str]]:
    """The cells of each column, an interval beside its value."""
    names = set(map(str, frame.columns))
    bounded = {name for name in names if {f"{name}_low", f"{name}_high"} <= names}
    ends = {f"{name}{end}" for name in bounded for end in ("_low", "_high", "_why")}
    cells = {}
    for name in frame.columns:
        if name in ends:
            continue
        cells[name] = [_cell(value) for value in frame[name]]
        if name in bounded:
            low, high = ([_cell(value) for value in frame[f"{name}{end}"]] for end in ("_low", "_high"))
            why = [readable(value) for value in frame[f"{name}_why"]] if f"{name}_why" in names else [""] * len(frame)
            cells[name] = [_bracketed(*four) for four in zip(cells[name], low, high, why, strict=True)]
    return cells


def _bracketed(value: str, low: str, high: str, why: str) -> str:
    """A value with its interval, or with the word that says why there is none."""
    if low == high == "--":
        return f"{value} ({why})" if why else value
    return f"{value} [{low}, {high}]"


def _cell(value: Any) -> str:
    """One value in LaTeX; `--` where there is none."""
    if not isinstance(value, bool | np.bool_) and isinstance(value, int | float | np.number) and np.isfinite(value):
        mantissa, _, exponent = _digits(value).partition("e")
        return f"${mantissa}$" if not exponent else rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return escape(readable(value)) or "--"


def _digits(value: Any) -> str:
    """Three significant digits; whole numbers, and the whole part of large ones, in full."""
    return f"{value + 0:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:#.3g}"


def _side_effects(frame: pd.DataFrame) -> str:
    found = [words(name) for name in SIDE_EFFECTS if name in frame.columns]
    return f"on neutral text, in the columns {', '.join(found)}" if found else NO_SIDE_EFFECTS
