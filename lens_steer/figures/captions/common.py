# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""What captions have in common: names, controls and scales as a frame gives them."""

import pandas as pd

NO_STRENGTH = "none: directions are read, nothing is steered"
UNKNOWN = "not in the data"


def names(column: pd.Series) -> str:
    """The different entries of a column, in order."""
    return ", ".join(map(str, column.unique()))


def of_model(frame: pd.DataFrame) -> str:
    """` of lab`, or nothing where the frame does not name its model."""
    return f" of {names(frame['model'])}" if "model" in frame.columns else ""


def scale(frame: pd.DataFrame) -> str:
    """What strength 1 means."""
    return names(frame["scale"]) if "scale" in frame.columns else UNKNOWN


def compared(frame: pd.DataFrame, what: str) -> str:
    """The random directions whose number is in the column `n_random`, and what is made of them."""
    return directions(int(frame["n_random"].max()), what)


def steered(frame: pd.DataFrame, what: str) -> str:
    """The random directions that have rows of their own, as `vector` names them, and what is made of them."""
    vectors = frame["vector"].astype(str)
    return directions(vectors[vectors.str.startswith("random")].nunique(), what)


def directions(count: int, what: str) -> str:
    """So many random directions, or none."""
    return f"{count} random directions of the same norm, {what}" if count else "none"
