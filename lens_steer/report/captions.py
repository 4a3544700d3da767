"""Captions: what a figure's own `NAME.md` or `NAME.txt` says; else a sentence where it is known, and facts of its data.

facts    strength's scale, controls, intervals, rows: read from the columns of `NAME.csv`
"""

from pathlib import PurePosixPath

import pandas as pd

from lens_steer.report.folder import Results

OWN = (".md", ".txt")
KNOWN = {
    "steering_curves": "Matching rate on test items over strength, each behaviour at the point chosen on validation "
    "items, over the band of random directions of the same norm; crosses are collapsed points.",
    "layer_strength_map": "Matching rate on validation items of every layer and strength; a cross marks a collapsed "
    "cell, a square the chosen point.",
    "cosine_map": "Cosines between the vectors of the behaviours at their chosen sites.",
    "logit_lens": "The tokens that each vector raises and lowers most, read through the unembedding.",
    "selectivity": "What text keeps against what the steered skill keeps, over strengths, on test documents; above the "
    "diagonal steering is selective.",
    "text_kept": "What text keeps where each skill has been brought down to a share of its top-1 accuracy, on test "
    "documents, beside the range of random directions of the same norm.",
    "collapse": "Diagnostics of collapse over strength, for answers (above) and generated text (below); shaded where "
    "the rule says collapsed, bars are the intervals of the onset.",
    "methods": "Half the move of the logit difference between added and subtracted vectors of each method, at the same "
    "KL on neutral text; the last row is the largest random direction.",
    "sweep_cost": "Cost of the exact sweep against layers, strengths and prompt length.",
}


def caption(results: Results, name: str) -> str:
    """The caption of a figure.

    Args:
        results: its folder.
        name: its path below the folder.

    Returns:
        Plain text.
    """
    path = PurePosixPath(name)
    for suffix in OWN:
        own = results.folder / path.with_suffix(suffix)
        if own.is_file():
            return " ".join(own.read_text(encoding="utf-8").split())
    known = KNOWN.get(path.stem, f"{path.stem.replace('_', ' ').capitalize()}.")
    data = results.tables.get(str(path.with_suffix(".csv")))
    return known if data is None else f"{known} {_facts(data.frame)}".strip()


def _facts(frame: pd.DataFrame) -> str:
    """What the columns say of intervals, controls and scale."""
    said = []
    if "scale" in frame.columns:
        said.append(f"Strength: {', '.join(map(str, frame['scale'].unique()))}.")
    names = {str(name) for column in ("vector", "method") if column in frame.columns for name in frame[column].unique()}
    for control in ("random", "permuted"):
        count = sum(name.startswith(f"{control} ") for name in names)
        said += [f"Controls: {count} {control} directions."] if count else []
    if any(str(name).endswith("low") and "random" not in str(name) for name in frame.columns):
        said.append("Intervals: 95 % bootstrap.")
    return " ".join(said)
