"""The sentiment data of the examples, and the vectors that are made of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer import ChoiceItem, ChoiceTemplate, SteeringVector, extract, read
from lens_steer.data.contrast import ContrastSet, as_contrast, shuffled_labels
from lens_steer.data.corpora import TextContrast
from lens_steer.data.splits import Splits
from lens_steer.model import SteerableModel

DATA, RESULTS = Path(__file__).parent / "data", Path(__file__).parent / "results"
TEMPLATE = ChoiceTemplate(question="{stem}")
"""A beginning and its continuation, with nothing between them."""
N_SHUFFLED = 4


def sentences() -> ContrastSet | TextContrast:
    """The sentences that the vector is made of."""
    found = read(DATA / "sentences.csv")
    return as_contrast(found.texts("positive"), found.texts("negative"), paired=True)


def vectors(model: SteerableModel) -> tuple[SteeringVector, list[SteeringVector]]:
    """Positive minus negative sentences at every layer, and the same of shuffled labels."""
    contrast = sentences()
    return extract(model, contrast), [extract(model, shuffled_labels(contrast, seed)) for seed in range(N_SHUFFLED)]


def continuations() -> Splits[ChoiceItem]:
    """Neutral beginnings with a positive and a negative continuation: 20 to choose by, 28 to report on."""
    items = read(DATA / "continuations.csv").choices
    return Splits(train=(), validation=items[:20], test=items[20:])


def operating_point() -> tuple[str, float]:
    """The site and strength that likelihood.py chose."""
    row: Any = pd.read_csv(RESULTS / "chosen.csv").set_index("vector").loc["steering"]
    return str(row["site"]), float(row["strength"])


def lines(name: str) -> tuple[str, ...]:
    """The lines of a text file."""
    return read(DATA / name, each="line").texts()


def judged() -> TextContrast:
    """Sentences of known label on which the judge is tested."""
    texts = read(DATA / "judged.csv")
    return TextContrast(name="judged", positive=texts.texts("positive"), negative=texts.texts("negative"))
