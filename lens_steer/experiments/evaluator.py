"""Configurations measured on behaviours and corpora: the one place in which studies score what they steer.

    configuration   interventions that act together, such as those of a `compose.Assignment`
    m               score(matching option) - score(other), of each item and option order           natural-log units
    change          mean over items of m under the configuration - m unsteered                     paired by item
    hit             the first letter is chosen where the matching option stands first              signal detection
    false alarm     the first letter is chosen where it stands second

The items of all behaviours are forwarded together: unsteered once, and for each configuration from the first edited
token and block on. The numbers of every item and document are returned, so that everything is paired and can be
resampled. A collapsed configuration is a row like any other.

Position rules that speak of a prompt or of its end (`last`, `after_prompt`, ...) mean nothing on a document, of which
they would edit one token or none and so find no side effects. There they edit all tokens; all other rules stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import DataError
from lens_steer.evaluation.grid import Configuration
from lens_steer.evaluation.score import ChoiceScores, ScoringOptions, score_grid
from lens_steer.evaluation.side_effects import SideEffects, side_effect_grid
from lens_steer.hooks import Intervention, require_unsteered
from lens_steer.hooks.positions import Positions
from lens_steer.metrics.collapse import Collapse
from lens_steer.metrics.statistics import mean_interval, rate_interval
from lens_steer.model import SteerableModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The answers to the items of each behaviour."""

    scores: tuple[ChoiceScores, ...]

    @property
    def differences(self) -> Float[Tensor, "behaviour item order"]:
        """Score of the matching option minus that of the other, nats."""
        return torch.stack([scores.logit_differences for scores in self.scores]).double()

    def collapse(self, behaviour: int) -> Collapse:
        """The collapse rule's verdict on one behaviour's answers."""
        return self.scores[behaviour].collapse


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """Answers unsteered and under each configuration, and the side effects of each on neutral text.

    `path` says how the answers were computed: `reused`, or `naive` and why.
    """

    behaviours: tuple[str, ...]
    unsteered: Answers
    configurations: tuple[Answers, ...]
    side_effects: tuple[SideEffects, ...]
    path: str

    def between(self, start: int, stop: int) -> "Measurements":
        """Some of the configurations, in order."""
        return replace(self, configurations=self.configurations[start:stop], side_effects=self.side_effects[start:stop])

    def changes(self, configuration: int) -> Float[Tensor, "behaviour item"]:
        """The change of each item's logit difference under a configuration, mean of both option orders; nats."""
        return (self.configurations[configuration].differences - self.unsteered.differences).mean(dim=2)

    def targeted(self, configuration: int, targets: Mapping[str, float]) -> Float[Tensor, " item"]:
        """The objective, by item: its mean over items is the mean over behaviours of target x change.

        Args:
            configuration: which.
            targets: +1 or -1 (or a weight) for each behaviour; 0 leaves one out.

        Returns:
            sum_b t_b change_b / sum_b |t_b| of the i-th items of all behaviours, nats.
        """
        signs = torch.tensor([targets[name] for name in self.behaviours], dtype=torch.float64, device="cpu")
        return signs @ self.changes(configuration) / signs.abs().sum()

    def collapsed(self, configuration: int) -> bool:
        """Whether any behaviour's answers have collapsed under a configuration."""
        return any(self._collapsed(self.configurations[configuration]))

    def newly_collapsed(self, configuration: int) -> bool:
        """Whether any behaviour's answers have collapsed under a configuration, and not unsteered."""
        pairs = zip(self._collapsed(self.configurations[configuration]), self._collapsed(self.unsteered), strict=True)
        return any(steered and not before for steered, before in pairs)

    def to_frame(self, resamples: int = 0, seed: int = 0) -> pd.DataFrame:
        """One row a configuration and behaviour.

        Args:
            resamples: of the intervals (95 %) of changes; 0 leaves these out (NaN).
            seed: of the bootstrap.

        Returns:
            Columns: configuration, behaviour, logit_difference, change and matching_rate, both with `_low`, `_high` and
            `_why` (why there is no interval), position_bias, hit_rate, false_alarm_rate, d_prime, criterion,
            modal_letter_share, modal_text_share, answer_probability, faulty_share, collapsed, reason; and of the whole
            configuration relative_top1, relative_perplexity, kl.
        """
        rows = [
            {
                "configuration": configuration,
                "behaviour": name,
                **self._row(configuration, index, resamples, seed),
                **side_effect_columns(side_effect),
            }
            for configuration, side_effect in enumerate(self.side_effects)
            for index, name in enumerate(self.behaviours)
        ]
        return pd.DataFrame(rows)

    def _collapsed(self, answers: Answers) -> list[bool]:
        """Of each behaviour, whether the collapse rule says collapsed."""
        return [answers.collapse(behaviour).collapsed for behaviour in range(len(self.behaviours))]

    def _row(self, configuration: int, behaviour: int, resamples: int, seed: int) -> dict[str, object]:
        """One configuration and behaviour."""
        scores, changes = self.configurations[configuration].scores[behaviour], self.changes(configuration)[behaviour]
        verdict, detected = scores.collapse, scores.detection
        rate = rate_interval(scores.matches)
        return {
            "logit_difference": float(scores.logit_differences.double().mean()),
            **mean_interval(changes, resamples=resamples, seed=seed).columns("change"),
            **rate.columns("matching_rate"),
            "position_bias": scores.position_bias,
            "hit_rate": detected.hit_rate,
            "false_alarm_rate": detected.false_alarm_rate,
            "d_prime": detected.d_prime,
            "criterion": detected.criterion,
            "modal_letter_share": verdict.modal_letter_share,
            "modal_text_share": verdict.modal_text_share,
            "answer_probability": float(scores.answer_probability.double().mean()),
            "faulty_share": verdict.faulty_share,
            "collapsed": verdict.collapsed,
            "reason": verdict.reason,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """The model, the items of behaviours and the documents of corpora on which configurations are compared.

    `items` and `corpora` are by name and of one split; `neutral` is the corpus on which `measure` reads side effects.

    Raises:
        DataError: behaviours of unequal size, or fewer than two items of each.
    """

    model: SteerableModel
    items: Mapping[str, Sequence[ChoiceItem]] = field(default_factory=dict)
    corpora: Mapping[str, Sequence[str]]
    neutral: str = "text"
    options: ScoringOptions = field(default_factory=ScoringOptions)
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        sizes = {name: len(items) for name, items in self.items.items()}
        if sizes and (len(set(sizes.values())) != 1 or min(sizes.values()) < 2):
            raise DataError(
                f"items of each behaviour: {sizes}; give each behaviour the same number, at least two, so that "
                "behaviours weigh the same."
            )

    def side_effects(self, configurations: Sequence[Configuration], corpus: str = "") -> tuple[SideEffects, ...]:
        """Predicts every document of a corpus, the neutral one where none is named, under each configuration.

        Raises:
            SteeringError: an intervention selects no token of any document.
            DataError: no documents, or a document of fewer than two tokens.
        """
        documents = self.corpora[corpus or self.neutral]
        written = [[of_document(entry) for entry in configuration] for configuration in configurations]
        return side_effect_grid(self.model, documents, written, self.options, self.max_tokens)

    def measure(self, configurations: Sequence[Configuration]) -> Measurements:
        """Scores every item of every behaviour, and every neutral document, under each configuration.

        Args:
            configurations: interventions that act together; a configuration without any is unsteered.

        Returns:
            The numbers of each item and document.

        Raises:
            OptionTokenError: the letters are not one token each after some prompt.
            SteeringError: an intervention selects no token of any prompt or document, or a steering context is open.
            DataError: no behaviours, no neutral documents, or a document of fewer than two tokens.
        """
        require_unsteered(self.model, "measuring configurations", "put its interventions first in every configuration")
        if not self.items:
            raise DataError("items of no behaviour; give each behaviour the same number, at least two.")
        prompts = self.options.prepare(self.model, [item for items in self.items.values() for item in items])
        table = score_grid(self.model, prompts, configurations, self.options)
        unsteered, *steered = (self._answers(scores) for scores in (table.unsteered, *table.configurations))
        return Measurements(
            behaviours=tuple(self.items),
            unsteered=unsteered,
            configurations=tuple(steered),
            side_effects=self.side_effects(configurations),
            path=table.path,
        )

    def _answers(self, scores: ChoiceScores) -> Answers:
        """The answers to all items, behaviour by behaviour."""
        n = len(next(iter(self.items.values())))
        return Answers(scores=tuple(scores.part(n * index, n * (index + 1)) for index in range(len(self.items))))


def of_document(entry: Intervention) -> Intervention:
    """The intervention as it edits a document: every token, where its rule speaks of a prompt or of an end."""
    speaks = entry.positions.needs_prompt_lengths or entry.positions.needs_total_lengths
    return replace(entry, positions=Positions.parse("all")) if speaks else entry


def scoring_options(settings: Any) -> ScoringOptions:
    """How a study's settings ask questions: those of their fields that `ScoringOptions` has too."""
    shared = (field.name for field in fields(ScoringOptions) if hasattr(settings, field.name))
    return ScoringOptions(**{name: getattr(settings, name) for name in shared})


def side_effect_columns(side_effect: SideEffects) -> dict[str, float]:
    """The side effects of a configuration in three numbers."""
    return {name: float(getattr(side_effect, name)) for name in ("relative_top1", "relative_perplexity", "kl")}
