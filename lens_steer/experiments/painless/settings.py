"""The settings of the study of vectors that are made and chosen automatically."""

from dataclasses import dataclass, replace

from lens_steer.data.own_answers import OwnAnswers
from lens_steer.errors import SettingsError
from lens_steer.evaluation.automatic import SelectOptions
from lens_steer.evaluation.painless import PainlessOptions
from lens_steer.evaluation.prompts import Scoring
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.experiments.plan import evenly_spaced
from lens_steer.hooks import Scale
from lens_steer.model import SteerableModel


@dataclass(frozen=True, kw_only=True)
class PainlessTasks:
    """How tasks become vectors.

    `sites`, `strengths`, `positions`, `places`: what is tried, as in `evaluation.automatic.SelectOptions`; where there
    are no sites, six are spread evenly over the layers. `seeds`: how many splits. `n_random`: random vectors a seed.
    `sizes`: numbers of training items at which `sized` methods are made again. `shots`: examples of a prefix, of items
    that the model gets wrong; none where 0. `tuned_seeds`: on how many of the seeds an adapter is trained on the
    training items, in `tuning_steps` steps, and the vector made on top of it; none where 0. `full_grid`: on how many of
    the seeds the paper's full grid is searched beside, at all of `sites`; none where 0. `knowledge`: how many questions
    about facts of the lab's world are a task of their own, and are asked before and after steering; `asked` names
    a task whose questions are, for the other tasks, to see what is forgotten.

    Raises:
        SettingsError: no strengths or seeds, or a strength that is not above 0.
    """

    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    scale: Scale = "relative"
    positions: str = "last"
    places: int = 3
    ranked: int = 16
    methods: tuple[OwnAnswers, ...] = ("pas_full", "ipas_all", "ipas_wrong_only", "caa")
    seeds: int = 5
    n_random: int = 2
    near: float | None = 0.8
    sizes: tuple[int, ...] = (8, 16, 32)
    sized: tuple[OwnAnswers, ...] = ("ipas_wrong_only", "caa")
    shots: int = 4
    tuned_seeds: int = 0
    tuning_steps: int = 60
    full_grid: int = 0
    knowledge: int = 0
    asked: str = ""
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64
    checkpoint: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.strengths or min(self.strengths) <= 0:
            raise SettingsError(
                f"painless: strengths {list(self.strengths)}, {self.seeds} seeds; give strengths above 0 (0 is always "
                "tried, and a vector that is to be subtracted is not chosen) and at least one seed."
            )


def options_of(model: SteerableModel, settings: PainlessTasks) -> PainlessOptions:
    """The settings as `painless` takes them.

    Args:
        model: says how many layers there are.
        settings: of the study.
    """
    select = SelectOptions(
        sites=settings.sites or evenly_spaced(int(model.cfg.n_layers), N_SITES),
        strengths=settings.strengths,
        scale=settings.scale,
        positions=settings.positions,
        places=settings.places,
        ranked=settings.ranked,
        scoring=ScoringOptions(
            scoring=settings.scoring,
            chat=settings.chat,
            batch_size=settings.batch_size,
            checkpoint=settings.checkpoint,
        ),
    )
    return PainlessOptions(
        methods=settings.methods,
        seeds=tuple(range(settings.seed, settings.seed + settings.seeds)),
        near=settings.near,
        n_random=settings.n_random,
        select=select,
    )


def at_size(options: PainlessOptions, settings: PainlessTasks, n_train: int) -> PainlessOptions:
    """The same with fewer training items, of the methods that are made again."""
    return replace(options, n_train=n_train, methods=settings.sized, n_random=0, fewest=1)


N_SITES = 6
