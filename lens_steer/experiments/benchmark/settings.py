"""The settings of the common benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.errors import SettingsError
from lens_steer.evaluation.prompts import Scoring
from lens_steer.extraction.finetune import Tuning
from lens_steer.extraction.optimise import Descent


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """What all contenders share: place, budgets, data and seeds.

    `methods`: names of contenders; all of them where empty. `site`: where activations are read and edited; where empty,
    the best of four for the reference, on validation items. `positions`: the tokens edited; `position`: the token read.
    `kl`: the budget by which contenders are ranked, nats a token; `multiples` of it make the fronts, 1 among them.
    `seeds`: everything that is drawn is drawn anew with each: the training items, where there are more than `n_train`
    (all are used where 0), examples, first weights, random directions. `n_texts` neutral documents, cut to `max_tokens`
    tokens, calibrate, and as many others report side effects. `shots`: answered examples of few-shot prompting.
    `personas`: of a behaviour, what is said to show it and its opposite.

    Raises:
        SettingsError: a number out of range, or 1 is not among the multiples.
    """

    methods: tuple[str, ...] = ()
    site: str = ""
    positions: str = "all"
    position: str = "last"
    kl: float = 0.2
    multiples: tuple[float, ...] = (0.25, 1.0, 4.0)
    seeds: tuple[int, ...] = (0,)
    n_train: int = 0
    n_texts: int = 12
    max_tokens: int = 64
    n_random: int = 5
    shots: int = 4
    personas: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    descent: Descent = field(default_factory=lambda: Descent(objective="contrast"))
    tuning: Tuning = field(default_factory=Tuning)
    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64

    def __post_init__(self) -> None:
        numbers = {"kl": self.kl, "n_texts": self.n_texts, "shots": self.shots, "seeds": len(self.seeds)}
        wrong = {name: value for name, value in numbers.items() if not value > 0}
        if wrong or 1.0 not in self.multiples or min(self.multiples) <= 0 or self.n_random < 0:
            raise SettingsError(
                f"benchmark: {wrong or {'multiples': self.multiples, 'n_random': self.n_random}}; give numbers above "
                "0, at least one seed, and 1 among the multiples of the budget."
            )

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budgets of the fronts, in order; `kl` is one of them."""
        return tuple(self.kl * multiple for multiple in sorted(self.multiples))
