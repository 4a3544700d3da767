"""Captions of figures: the text of `NAME.md` or `NAME.txt`; without either, the name and what its data say.

`NAME.md` is the author's own and comes first; `save_figure` writes `NAME.txt`. The data, `NAME.csv`, tell the scale of
the strengths, how many random controls there are, and whether there are intervals.
"""

from pathlib import PurePosixPath

import pandas as pd

from lens_steer.experiments.folder import ResultFolder

OWN = (".md", ".txt")


def caption(results: ResultFolder, name: str) -> str:
    """The caption of a figure.

    Args:
        results: the folder of the figure.
        name: the figure's path below the folder.

    Returns:
        Plain text.
    """
    path = PurePosixPath(name)
    for suffix in OWN:
        own = results.folder / path.with_suffix(suffix)
        if own.is_file():
            return " ".join(own.read_text(encoding="utf-8").split())
    title = f"{path.stem.replace('_', ' ').capitalize()}."
    data = results.tables.get(str(path.with_suffix(".csv")))
    return title if data is None else f"{title} {_facts(data.frame)}".strip()


def _facts(frame: pd.DataFrame) -> str:
    """What the columns say about scale, controls and intervals."""
    said = []
    if "scale" in frame.columns:
        said.append(f"Strength: {', '.join(map(str, frame['scale'].unique()))}.")
    names = {str(name) for column in ("vector", "method") if column in frame.columns for name in frame[column].unique()}
    for control in ("random", "permuted"):
        count = sum(name.startswith(f"{control} ") for name in names)
        said += [f"Controls: {count} {control} directions."] if count else []
    if any(str(name).endswith("low") and "random" not in str(name) for name in frame.columns):
        said.append("Intervals: 95 %.")
    return " ".join(said)
