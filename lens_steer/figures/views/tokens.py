"""Coloured tokens: changes by steering, projections of a text on vectors, and the tokens of a lens.

    colour = value / bound, clipped to +-1; blue above 0, red below, white at 0     title: +-bound, in units of the
    values

All vectors of one drawing share the bound, so that their colours are comparable. The tokens of a lens are drawn as
coloured tokens, one row per direction, because CircuitsVis' table of top tokens leaves negative values white.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from lens_steer.errors import DataError
from lens_steer.figures.views.view import Drawing, View, as_text, visible
from lens_steer.generation.trace import Trace

LEAST = 1e-5
"""The smallest bound: CircuitsVis rounds bounds to six decimals."""


def audit_view(trace: Trace, relative: bool = False) -> View:
    """The tokens of a generation, coloured by how much each intervention changed their activations.

    Args:
        trace: from `lens_steer.generation.trace.trace`.
        relative: colour by the change as a fraction of the activation's norm instead of by the change itself.

    Returns:
        The view; a selector chooses the intervention, and tokens that it did not edit have the value 0.
    """
    what = "relative" if relative else "change"
    values = [[0.0] * len(trace.interventions) for _ in trace.tokens]
    rows = trace.to_frame()[["position", "intervention", what]]
    for position, intervention, size in rows.itertuples(index=False):
        values[position][intervention] = size
    return View(drawings=(coloured(what, trace.pieces, values, trace.interventions),))


def projection_view(
    frame: pd.DataFrame,
    by: Sequence[str] = ("text", "site", "steered"),
    label: str = "vector",
    value: str = "projection",
    bound: float | None = None,
) -> View:
    """Texts with tokens coloured by their projection on a vector; several vectors can be selected.

    Args:
        frame: from `lens_steer.analysis.projections`, of one map or of several concatenated: one row for each token
            and vector, with `position`, `piece` (the token's text) and the columns named below.
        by: columns whose combinations are separate drawings; columns missing in the frame are ignored.
        label: the column with the name of the vector.
        value: the column that gives the colour: `projection`, `cosine`, or `z`.
        bound: the value of full colour; where absent the largest absolute value of each text without position 0,
            where activations (usually of BOS) may be a hundred times larger.

    Returns:
        The view, one drawing per text.

    Raises:
        DataError: the frame is empty, lacks a column, or does not have one finite value per token and vector.
    """
    require(frame, ("position", "piece", label, value), "a projection")
    drawings = []
    for title, rows in _groups(frame, by):
        labels, n_tokens = list(rows[label].unique()), rows["position"].nunique()
        if rows.duplicated(["position", label]).any() or len(rows) != n_tokens * len(labels):
            raise DataError(
                f"projections{title and f' of {title}'}: some token has not one value for each {label}; give all of "
                "them, and name in `by` every column that tells texts apart."
            )
        table = rows.pivot(index="position", columns=label, values=value)[labels].astype(float)
        texts = rows.drop_duplicates("position").sort_values("position")["piece"]
        later = table[table.index > 0]
        most = bound if bound is not None else float((later if len(later) else table).abs().to_numpy().max())
        drawings.append(coloured(title, list(texts), table.to_numpy().tolist(), list(map(str, labels)), most))
    return View(drawings=tuple(drawings))


def lens_view(frame: pd.DataFrame, by: Sequence[str] = ("behaviour", "vector", "site", "reading")) -> View:
    """The tokens that directions promote and suppress most, in descending order of value.

    Args:
        frame: from `lens_steer.analysis.lens`: `end` (top or bottom), `rank`, `token` (its text), `value` or `logit`,
            and columns of `by`.
        by: columns whose combinations are separate rows; columns missing in the frame are ignored.

    Returns:
        The view, one drawing per direction.

    Raises:
        DataError: the frame is empty, lacks a column, or has a value that is not finite.
    """
    value = "value" if "value" in frame.columns else "logit"
    require(frame, ("end", "rank", "token", value), "a lens")
    drawings = []
    for title, rows in _groups(frame, by):
        ordered = rows.sort_values(value, ascending=False, kind="stable")
        numbers = [[float(number)] for number in ordered[value]]
        drawings.append(coloured(title, [_entry(token) for token in ordered["token"]], numbers, (value,)))
    return View(drawings=tuple(drawings))


def coloured(
    title: str,
    tokens: Sequence[str],
    values: Sequence[Sequence[float]],
    labels: Sequence[str],
    bound: float | None = None,
) -> Drawing:
    """Tokens coloured by one list of values, or by several with a selector.

    Args:
        title: what is shown; the bound is written after it.
        tokens: their texts.
        values: for each token, one value for each label.
        labels: what the values are.
        bound: the value of full colour; the largest absolute value where absent.

    Returns:
        The drawing.

    Raises:
        DataError: there are no tokens, or a value is not finite.
    """
    if not tokens or not labels:
        raise DataError(f"{title or 'tokens'}: {len(tokens)} tokens and {len(labels)} labels; give at least one each.")
    if not all(math.isfinite(value) for row in values for value in row):
        raise DataError(f"{title or 'tokens'}: a value is NaN or infinite; colours need numbers.")
    most = max(LEAST, bound if bound is not None else max(abs(value) for row in values for value in row))
    said = f"{title} (full colour: \N{PLUS-MINUS SIGN}{most:.3g})".strip()
    texts = [as_text(token) for token in tokens]
    if len(labels) == 1:
        column = {"values": [row[0] for row in values], "minValue": -most, "maxValue": most, "paddingBottom": 4}
        return Drawing(element="ColoredTokens", properties={"tokens": texts, **column}, title=said)
    bounds = {"positiveBounds": [most] * len(labels), "negativeBounds": [-most] * len(labels)}
    properties = {"tokens": texts, "values": [list(row) for row in values], "labels": list(labels), **bounds}
    return Drawing(element="ColoredTokensMulti", properties=properties, title=said)


def require(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raises where a view cannot be drawn from a frame.

    Args:
        frame: the frame given.
        columns: the required columns.
        what: the expected kind of result, for the message.

    Raises:
        DataError: a column is missing, or there are no rows.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing or frame.empty:
        given = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(
            f"{len(frame)} rows with columns {given}; give the frame of {what}, with {', '.join(columns)} and rows."
        )


def _groups(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each combination of columns, with a title without repeated parts."""
    columns = [name for name in by if name in frame.columns]
    if not columns:
        yield "", frame
        return
    for key, rows in frame.groupby(columns, sort=False):
        parts = zip(columns, key if isinstance(key, tuple) else (key,), strict=True)
        yield " \N{MIDDLE DOT} ".join(dict.fromkeys(_said(name, part) for name, part in parts)), pd.DataFrame(rows)


def _entry(token: object) -> str:
    """A token as a list entry: on one line, with visible spaces and a space on both sides."""
    shown = str(token).replace(" ", "\N{MIDDLE DOT}")
    return f" {visible(shown)} ".replace("\n", "")


def _said(name: str, value: object) -> str:
    """A value as part of a title: `resid_post@3`, `text 0`, `unsteered`."""
    if isinstance(value, bool | np.bool_):
        return name if value else f"un{name}"
    return value if isinstance(value, str) else f"{name} {value}"
