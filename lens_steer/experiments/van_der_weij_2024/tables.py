"""All tables of the paper at once, from one checkout.

Source: van der Weij, Poesio & Schoots 2024 (arXiv 2403.05767), github.com/TeunvdWeij/extending-activation-addition.
The answers of simultaneous steering and its alignment tax were released in two files; both are read.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lens_steer.experiments.van_der_weij_2024.alignment_tax import published_alignment_tax
from lens_steer.experiments.van_der_weij_2024.behaviours import PublishedBehaviours, published_behaviours
from lens_steer.experiments.van_der_weij_2024.skills import PublishedSkills, published_skills
from lens_steer.experiments.van_der_weij_2024.vectors import PublishedVectors, published_vectors


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedTables:
    """The paper's numbers on broad skills, on behaviours, on the vectors of both, and the alignment tax of simultaneous
    steering (`published_alignment_tax`)."""

    skills: PublishedSkills
    behaviours: PublishedBehaviours
    vectors: PublishedVectors
    alignment_tax: pd.DataFrame


def published_tables(folder: str | Path) -> PublishedTables:
    """Rebuilds every table of the paper that its released files allow.

    Args:
        folder: a checkout of the paper's repository, with its results and data.

    Returns:
        Frozen groups of tidy frames; each group can be had alone from `published_skills`, `published_behaviours`,
        `published_vectors` and `published_alignment_tax`.

    Raises:
        FormatError: a file is missing, truncated, or not what its name says; the file is named.
        DataError: stored numbers do not follow from what they were counted from; the cell is named.
    """
    return PublishedTables(
        skills=published_skills(folder),
        behaviours=published_behaviours(folder),
        vectors=published_vectors(folder),
        alignment_tax=published_alignment_tax(folder),
    )
