"""An optimiser over sites and strengths for several behaviours at once, beside the published schemes at equal damage.

    effect      mean_b t_b change_b, or min_b t_b change_b, over behaviours b with target t_b = +1 or -1;  nats
    objective   effect - interference x mean_b |change_b| over behaviours with target 0
    wanted      the assignment of largest objective with damage <= budget among the sound ones
    damage      KL(unsteered || steered) on neutral text, nats a token; or 1 - relative top-1
    sound       no targeted behaviour's answers have collapsed, and no other's that had not unsteered

change_b is the mean over items of the logit difference (both option orders) minus that of the unsteered model. The
search (`optimiser_search`) starts from the first-order sweep and takes slopes again where it has come to. The schemes
are those of van der Weij et al. 2024 (arXiv 2403.05767): `simultaneous`, the vectors on consecutive sites, and
`combined`, all at one site, both with one global strength of either sign; and the same two with each behaviour's sign
given by its target (`signed`). All get as many cells. Points are chosen on validation items and texts, and reported on
test. It does not say that an optimum is global, nor that it holds for other items than these kinds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from lens_steer.cells import Running
from lens_steer.compose import Assignment, Dose, require_behaviours
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.errors import ScoreError
from lens_steer.experiments.behaviour_bench import BehaviourBench, Measured
from lens_steer.experiments.optimiser_rows import Chosen, cell_rows, dose_rows, gain_rows, test_rows
from lens_steer.experiments.optimiser_schemes import SCHEMES, random_cells, scheme_points
from lens_steer.experiments.optimiser_search import Outcome, Tried, best, front, search
from lens_steer.experiments.optimiser_surrogate import Aim, Goal, Point
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.score import Asking
from lens_steer.sites import Site, parse_sites
from lens_steer.steer import Intervention, Scale
from lens_steer.sweep import first_order
from lens_steer.tables import load_table, save_table
from lens_steer.vector import SteeringVector

FRAMES = ("cells", "doses", "tested", "gains")
OPTIMISED, RANDOM = "optimised", "random"
SHARES = (0.25, 0.5, 1.0)
"""Parts of the budget at which schemes are compared."""


@dataclass(frozen=True, kw_only=True)
class Optimise:
    """How an assignment is looked for; `budget` is what `simultaneous` spends at its chosen point where absent.

    `cells` is what the search and each scheme may spend. `positions`, one rule for all, are the tokens that are edited.
    `checkpoint` is a folder in which measured cells are kept, so that a search that was ended goes on.
    """

    sites: str | tuple[str, ...] = "resid_post@*"
    positions: str = "all"
    scale: Scale = "raw"
    damage: Literal["kl", "top1_loss"] = "kl"
    budget: float | None = None
    goal: Goal = "mean"
    interference: float = 0.5
    cells: int = 80
    schemes: tuple[str, ...] = SCHEMES
    most: float = 2.0
    n_random: int = 20
    max_tokens: int | None = None
    batch_size: int = 64
    checkpoint: str | Path | None = None
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimiseResult:
    """Everything that was tried, as tidy frames; `best` is the chosen assignment.

    `cells`: one row a scheme (`optimised` among them) and cell on validation, collapsed ones included, with `front`
    (on the scheme's Pareto front) and `chosen`. `doses`: one row a cell and dose. `tested`: the fronts and the random
    directions of the chosen cell on test, with intervals. `gains`: at parts of the budget, the objective of `optimised`
    minus that of each scheme on test, paired by item.
    """

    best: Assignment
    cells: pd.DataFrame
    doses: pd.DataFrame
    tested: pd.DataFrame
    gains: pd.DataFrame
    facts: Mapping[str, Any]

    def save(self, folder: str | Path) -> list[Path]:
        """Writes one file a frame, and each vector of the chosen assignment; `OptimiseResult.load` reads them back."""
        folder, facts = Path(folder), dict(self.facts)
        doses = [[dose.behaviour, str(dose.site), dose.strength] for dose in self.best.doses]
        written = [
            save_table(folder / f"{name}.csv", f"optimiser {name}", getattr(self, name), facts | {"best": doses})
            for name in FRAMES
        ]
        return written + [
            dose.vector.save(folder / "vectors" / f"{dose.behaviour}.safetensors") for dose in self.best.doses
        ]

    @classmethod
    def load(cls, folder: str | Path) -> "OptimiseResult":
        """Reads what `save` wrote.

        Raises:
            FormatError: a file is missing, truncated, edited, foreign or of a newer schema.
        """
        folder = Path(folder)
        read = {name: load_table(folder / f"{name}.csv", f"optimiser {name}") for name in FRAMES}
        facts = dict(read["cells"][1])
        doses = tuple(
            Dose(
                behaviour=name,
                vector=SteeringVector.load(folder / "vectors" / f"{name}.safetensors"),
                site=Site.parse(site),
                strength=strength,
            )
            for name, site, strength in facts.pop("best")
        )
        return cls(best=Assignment(doses), **{name: frame for name, (frame, _) in read.items()}, facts=facts)


def optimise_assignment(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    behaviours: Mapping[str, Splits],
    texts: Corpus,
    targets: Mapping[str, int],
    settings: Optimise | None = None,
    progress: bool = False,
) -> OptimiseResult:
    """Looks for the sites and strengths that move several behaviours as wanted within a budget of damage.

    Args:
        model: a loaded model.
        vectors: one a behaviour, made of its training items or of others than these.
        behaviours: the items of the same behaviours.
        texts: neutral documents on which damage is measured.
        targets: of each behaviour: +1 add, -1 subtract, 0 leave alone.
        settings: sites, budget, goal, cells, controls; the defaults where absent.
        progress: draw a bar for each round.

    Returns:
        The chosen assignment, and tidy frames of everything.

    Raises:
        ScoreError: vectors or targets of other behaviours than the items', a target that is not +1, -1 or 0, nothing
            targeted, an unknown scheme, no budget and no scheme to take it from, or too few cells.
        DataError: behaviours of unequal size, or texts that are too short.
        SiteError: a vector lacks a site.
    """
    settings = settings or Optimise()
    _check(vectors, behaviours, targets, settings)
    task = _Task(
        vectors=vectors,
        sites=tuple(parse_sites(settings.sites, int(model.cfg.n_layers), int(model.cfg.n_heads))),
        targets={name: int(targets[name]) for name in behaviours},
        settings=settings,
        validation=_bench(model, behaviours, texts, "validation", settings, progress),
    )
    tried: dict[str, tuple[Tried, ...]] = {}
    for scheme in settings.schemes:
        tried[scheme] = task.measured(scheme_points(scheme, task.sites, task.signs, settings.cells, settings.most))
    aim = task.aim(tried)
    task.budget = aim.budget
    found = search(aim, task.gram(), task.outcomes, task.slopes, settings.cells)
    tried = {OPTIMISED: found, **tried}
    fronts = {scheme: front(entries, aim) for scheme, entries in tried.items()}
    chosen = _chosen(tried, aim)
    ...
