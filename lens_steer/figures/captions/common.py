"""Shared parts of captions: names, sample sizes, controls and strength scales, from a frame."""

import pandas as pd

NO_STRENGTH = "none: directions are read, nothing is steered"
IN_FACTS = "counted in the result's facts, not row by row"
NO_SIDE_EFFECTS = "none measured for these rows"
OF_THE_EDIT = "that of the measured edit, which this table does not name"


def names(column: pd.Series) -> str:
    """The different entries of a column, in order."""
    return ", ".join(map(str, column.unique()))


def of_model(frame: pd.DataFrame) -> str:
    """` of lab`, or nothing where the frame does not name its model."""
    return f" of {names(frame['model'])}" if "model" in frame.columns else ""


def counted(count: int, what: str) -> str:
    """`1 site`, `3 sites`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def sample(frame: pd.DataFrame, what: str, column: str = "n") -> str:
    """The number of items, documents, ... of each row, from a column."""
    if column not in frame.columns:
        return f"{what}s not counted: the table has no column {column}"
    least, most = int(frame[column].min()), int(frame[column].max())
    return counted(least, what) if least == most else f"{least} to {most} {what}s"


def interval(frame: pd.DataFrame, over: str, name: str = "") -> str:
    """The interval of a column `name` (without one: of `low` and `high`), or the words that say why there is none."""
    low, why = (f"{name}_{end}" if name else end for end in ("low", "why"))
    if low in frame.columns and frame[low].notna().any():
        return f"95 % over {over}"
    reasons = frame[why].dropna().astype(str).unique() if why in frame.columns else []
    return f"none: {', '.join(filter(None, reasons)) or 'the table has values alone'}"


def scale(frame: pd.DataFrame) -> str:
    """The strength scale of the frame."""
    return names(frame["scale"]) if "scale" in frame.columns else "not named: the table has no column scale"


def compared(frame: pd.DataFrame, what: str) -> str:
    """The control, from the number of random directions in the column `n_random`."""
    return directions(int(frame["n_random"].max()), what)


def steered(frame: pd.DataFrame, what: str) -> str:
    """The control, from the random directions and vectors of shuffled labels that have their own rows (`vector`)."""
    vectors = frame["vector"].astype(str)
    random, shuffled = (vectors[vectors.str.startswith(kind)].nunique() for kind in ("random", "shuffled"))
    return directions(random, what, shuffled)


def directions(count: int, what: str, shuffled: int = 0) -> str:
    """A control of `count` random directions, and of vectors of shuffled labels; none for 0, and why."""
    if not count + shuffled:
        return "none: no random directions in the table"
    kinds = [counted(count, "random direction")] * bool(count)
    kinds += [f"{counted(shuffled, 'vector')} of shuffled labels"] * bool(shuffled)
    return f"{' and '.join(kinds)} of the same norm, {what}"
