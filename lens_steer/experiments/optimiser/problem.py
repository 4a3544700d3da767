"""The search's problem on a model: points as assignments, their outcomes and slopes.

point[i, l]  =  strength of behaviour i's vector at site l
slope        =  d change_b / d point[i, l], the mean over items of `first_order` around the point's assignment
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from einops import reduce
from jaxtyping import Float

from lens_steer.evaluation.sweep import first_order
from lens_steer.experiments.evaluator import Evaluator, Measurements
from lens_steer.experiments.optimiser.search import Outcome
from lens_steer.experiments.optimiser.surrogate import Strengths
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import Site
from lens_steer.vector import SteeringVector
from lens_steer.vector.compose import Assignment, Placement

SideEffectKind = Literal["kl", "top1_loss"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchProblem:
    """The vectors of the evaluator's behaviours, in its order, with their sites, targets and side effects."""

    evaluator: Evaluator
    vectors: Mapping[str, SteeringVector]
    sites: tuple[Site, ...]
    targets: tuple[int, ...]
    positions: str
    scale: Scale
    side_effect: SideEffectKind

    def assignment(self, point: Strengths) -> Assignment:
        """The strengths of a point; vectors of strength 0 have none.

        Raises:
            ScoreError: all strengths are 0.
        """
        names = list(self.vectors)
        return Assignment(
            tuple(
                Placement(
                    behaviour=names[vector],
                    vector=self.vectors[names[vector]],
                    site=self.sites[site],
                    strength=float(point[vector, site]),
                )
                for vector, site in zip(*np.nonzero(point), strict=True)
            )
        )

    def configuration(self, point: Strengths) -> list[Intervention]:
        """The interventions at a point; none where all strengths are 0."""
        return self.assignment(point).interventions(self.positions, self.scale) if np.any(point) else []

    def outcomes(self, points: Sequence[Strengths]) -> list[Outcome]:
        """The outcomes of points on the evaluator's items and texts."""
        measured = self.evaluator.measure([self.configuration(point) for point in points])
        return [self.outcome(measured, index) for index in range(len(points))]

    def outcome(self, measured: Measurements, configuration: int) -> Outcome:
        """One configuration of a measurement as the search reads it; a change that is not finite makes it collapsed."""
        frame = measured.to_frame()
        change = measured.changes(configuration).mean(dim=1).numpy()
        side_effect = measured.side_effects[configuration]
        return Outcome(
            change=np.nan_to_num(change, nan=0.0, posinf=0.0, neginf=0.0),
            side_effect=side_effect.kl if self.side_effect == "kl" else 1 - side_effect.relative_top1,
            valid=not any(self._fallen(measured, configuration, index) for index in range(len(self.targets))),
            rows=pd.DataFrame(frame[frame["configuration"] == configuration]).drop(columns="configuration"),
        )

    def _fallen(self, measured: Measurements, configuration: int, behaviour: int) -> bool:
        """Whether answers have collapsed; of a behaviour left alone, whether they had not collapsed unsteered."""
        before = not self.targets[behaviour] and bool(measured.unsteered.collapse(behaviour).collapsed)
        return measured.configurations[configuration].collapse(behaviour).collapsed and not before

    def slopes(self, point: Strengths) -> Float[np.ndarray, "behaviour vector site"]:
        """The slope of every behaviour's mean logit difference over every strength, at a point."""
        evaluator = self.evaluator
        items = [item for rows in evaluator.items.values() for item in rows]
        vectors = list(self.vectors.values())
        frame = first_order(
            evaluator.model,
            vectors,
            items,
            self.sites,
            self.positions,
            self.scale,
            evaluator.options,
            self.configuration(point),
        )
        named = "(vector site behaviour item) -> behaviour vector site"
        sizes = {"vector": len(vectors), "site": len(self.sites), "behaviour": len(self.targets)}
        return reduce(frame["slope"].to_numpy(dtype=float), named, "mean", **sizes)

    def gram(self) -> Float[np.ndarray, "site vector vector"]:
        """Inner products of the vectors at each site, in units of the site's activation norm."""
        found = []
        for site in self.sites:
            rows = [
                Intervention.of(vector, site, 1.0, self.scale).direction.double() / vector.activation_norm(site)
                for vector in self.vectors.values()
            ]
            stacked = torch.stack(rows)
            found.append((stacked @ stacked.T).numpy())
        return np.stack(found)
