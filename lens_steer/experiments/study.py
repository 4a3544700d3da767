"""What a study gives to the commands and the report: what it needs, its settings, its run, its figures and questions.

needs       behaviours and corpora without which it cannot be run, and what to give
setup       settings and limits of the data on any model; `lab`: those for the lab's own data
work        what it will forward at given settings and lengths, counted before anything is run
reduced     settings that are smaller, as a budget demands
run         from a context to a result; absent where another command runs the study
figures     by file name, the function that draws and its arguments of the result; the first one is the data
questions   what the tables of the study answer, in words
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import SPLITS, Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import DataError, SiteError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.experiments.finding import Question
from lens_steer.experiments.individual_steering import IndividualResult
from lens_steer.experiments.plan import Extent, Sizes, Work
from lens_steer.figures.style import Figure
from lens_steer.hooks.sites import Site
from lens_steer.model import SteerableModel

Drawing = tuple[Callable[..., Figure], Callable[[Any], tuple[Any, ...] | None]]
"""A figure function, and its arguments as a function of the study's result; the first argument is the data drawn. None
where the result has nothing to draw."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of a study, and the most items of a behaviour and documents of a corpus, by split (else all)."""

    settings: Any
    items: Mapping[str, int] = field(default_factory=dict)
    documents: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """How many behaviours, whether the neutral corpus, and how many further corpora a study cannot do without."""

    behaviours: int = 0
    neutral: bool = False
    skills: int = 0

    def missing(self, behaviours: int, corpora: tuple[str, ...], neutral: str) -> str:
        """What is missing and how to give it; empty where nothing is.

        Args:
            behaviours: how many there are.
            corpora: the names of those that there are.
            neutral: the name of the one on which side effects are measured.
        """
        wanted = []
        if behaviours < self.behaviours:
            more = "at least one behaviour" if self.behaviours == 1 else f"at least {self.behaviours} behaviours"
            wanted.append(f"{more}, such as --data NAME=FILE")
        if self.neutral and neutral not in corpora:
            wanted.append(f"--text {neutral}=PATH, on which side effects are measured")
        if len([name for name in corpora if name != neutral]) < self.skills:
            wanted.append("a corpus of a skill, such as --text code=PATH")
        return f"needs {', and '.join(wanted)}" if wanted else ""


@dataclass(frozen=True, kw_only=True)
class StudyContext:
    """What a study is run on: the model, the data cut to its limits, its settings, and what individual steering found.

    `checkpoint` is the folder in which finished passes are kept; nothing is kept where it is absent.
    """

    model: SteerableModel
    behaviours: Mapping[str, Splits]
    corpora: Mapping[str, Corpus]
    neutral: str
    settings: Any
    found: IndividualResult | None = None
    checkpoint: Path | None = None
    progress: bool = False

    @property
    def individual(self) -> IndividualResult:
        """What individual steering found.

        Raises:
            DataError: it has not been run.
        """
        if self.found is None:
            raise DataError("individual steering has not been run, whose vectors and points this study takes.")
        return self.found

    @property
    def grid(self) -> GridOptions:
        """How configurations are run, for studies that take it."""
        return GridOptions(checkpoint=self.checkpoint, progress=self.progress)

    @property
    def place(self) -> tuple[str, str]:
        """The site and position rule at which most behaviours are steered best."""
        points = self.individual.points.values()
        (site, positions), _ = Counter((str(point.site), str(point.positions)) for point in points).most_common(1)[0]
        return site, positions

    @property
    def steered(self) -> str:
        """The behaviour that is steered furthest beyond its controls, a valid point before all others."""
        points = self.individual.points
        return max(points, key=lambda name: (points[name].valid, points[name].beyond))

    @property
    def equal(self) -> dict[str, Splits]:
        """The behaviours with the same number of items each, the smallest that any has, so that they weigh the same."""
        least = {split: min(len(getattr(rows, split)) for rows in self.behaviours.values()) for split in SPLITS}
        return {
            name: Splits(train=rows.train, **{split: getattr(rows, split)[: least[split]] for split in SPLITS[1:]})
            for name, rows in self.behaviours.items()
        }

    @property
    def texts(self) -> Corpus:
        """The neutral documents."""
        return self.corpora[self.neutral]

    def consecutive(self, n: int) -> list[str]:
        """n consecutive sites of the vectors, from the one at which most behaviours are steered best where there is
        room behind it.

        Raises:
            SiteError: the vectors have fewer sites.
        """
        sites = next(iter(self.individual.vectors.values())).sites
        kind = Site.parse(self.place[0]).kind
        names = [str(site) for site in sites if site.kind == kind and site.head is None]
        first = min(names.index(self.place[0]), len(names) - n)
        if first < 0:
            raise SiteError(f"{len(names)} sites of {kind} for {n} behaviours; a site for each is needed.")
        return names[first : first + n]


def _unchanged(settings: Any, _sizes: Sizes) -> Any:
    return settings


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study; `name` is its entry in `run.json`, `title` its name in words.

    `folder`, below that of the results, is where its tables are: the name where absent. `result` reads them back.
    """

    name: str
    title: str
    questions: tuple[Question, ...]
    figures: Mapping[str, Drawing] = field(default_factory=dict)
    run: Callable[[StudyContext], Any] | None = None
    setup: Setup = field(default_factory=lambda: Setup(settings=None))
    lab: Setup | None = None
    needs: Needs = field(default_factory=Needs)
    work: Callable[[Any, Extent], Work] = lambda _settings, _extent: Work()
    reduced: Callable[[Any, Sizes], Any] = _unchanged
    result: type[Tables] | None = None
    after_individual: bool = False

    @property
    def folder(self) -> str:
        """The folder of its tables, below that of the results: individual steering's is that of the results itself."""
        return self.name if self.result else "."

    def drawn(self, result: Any) -> dict[str, tuple[Figure, pd.DataFrame]]:
        """Every figure of a result with the data behind it, by file name."""
        given = {name: (draw, arguments(result)) for name, (draw, arguments) in self.figures.items()}
        return {name: (draw(*found), found[0]) for name, (draw, found) in given.items() if found is not None}
