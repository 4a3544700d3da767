"""The settings of the study of reliability, and the places that they allow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.evaluation.prompts import Scoring
from lens_steer.experiments.plan import evenly_spaced
from lens_steer.experiments.reliability.measure import Place
from lens_steer.hooks import Scale
from lens_steer.hooks.sites import sites_of
from lens_steer.model import SteerableModel

N_SITES = 4


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How the reliability of steering is studied; strengths are those of Tan et al. 2024.

    `sites` and `positions` are the places among which each vector's is chosen on validation, at the strength
    `reference`; where there are no sites, four are spread evenly over the layers. `answer` is where the vector is read:
    at the answer's letter, or at the end of its text. `n_random` random directions and `n_shuffled` vectors of shuffled
    labels are the controls. `shifted` is the most test items that are asked in other prompt settings, `varied` in
    variants; 0 leaves them out. `personas` gives two sentences of a behaviour, its own and its opposite's.
    `checkpoint` is a folder in which finished passes are kept, so that a run that was ended goes on.
    """

    sites: tuple[str, ...] = ()
    positions: tuple[str, ...] = ("all",)
    strengths: tuple[float, ...] = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)
    reference: float = 1.0
    scale: Scale = "raw"
    answer: Literal["letter", "text"] = "text"
    n_random: int = 20
    n_shuffled: int = 20
    shifted: int = 20
    varied: int = 30
    personas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64
    resamples: int = 2000
    checkpoint: str | None = None
    seed: int = 0


def places_of(model: SteerableModel, settings: Reliability) -> list[Place]:
    """Every site with every position rule of the settings."""
    wanted = settings.sites or evenly_spaced(int(model.cfg.n_layers), N_SITES)
    return [Place(site, rule) for rule in settings.positions for site in sites_of(model, wanted)]
