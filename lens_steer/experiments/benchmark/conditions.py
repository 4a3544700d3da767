"""The three ways in which a contender changes a model: edits of activations, words in front, an adapter of weights.

Each of them asks items and predicts texts by the same functions, so that effects and side effects are the same numbers
for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lens_steer.data.choices import ChoiceItem
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.evaluation.score import ChoiceScores, ScoringOptions, score_prompts
from lens_steer.evaluation.side_effects import SideEffects
from lens_steer.experiments.evaluator import of_document
from lens_steer.hooks import Intervention
from lens_steer.model import Adapter, SteerableModel, adapted


class Condition(Protocol):
    """What a model is asked under."""

    def scores(self, model: SteerableModel, items: Sequence[ChoiceItem], options: ScoringOptions) -> ChoiceScores:
        """The answers to items."""
        ...

    def side_effects(self, texts: PredictedTexts) -> SideEffects:
        """What becomes of texts."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Edited:
    """Interventions; on texts, rules that speak of a prompt or its end edit every token."""

    edits: tuple[Intervention, ...]

    def scores(self, model: SteerableModel, items: Sequence[ChoiceItem], options: ScoringOptions) -> ChoiceScores:
        """The answers of the steered model."""
        return score_prompts(model, options.prepare(model, items), self.edits, options.batch_size)

    def side_effects(self, texts: PredictedTexts) -> SideEffects:
        """The texts under the interventions."""
        return texts.under([of_document(edit) for edit in self.edits])


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompted:
    """Words of the system, and words before each question; both stand before a text as plain text."""

    system: str = ""
    before: str = ""

    def scores(self, model: SteerableModel, items: Sequence[ChoiceItem], options: ScoringOptions) -> ChoiceScores:
        """The answers to the items behind the words."""
        template = replace(options.template, system=self.system) if self.system else options.template
        asked = [replace(item, stem=self.before + item.stem) for item in items]
        prompts = replace(options, template=template).prepare(model, asked)
        return score_prompts(model, prompts, batch_size=options.batch_size)

    def side_effects(self, texts: PredictedTexts) -> SideEffects:
        """The texts behind the words."""
        return texts.under(before=(f"{self.system}\n" if self.system else "") + self.before)


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """An adapter at some strength."""

    adapter: Adapter
    strength: float

    def scores(self, model: SteerableModel, items: Sequence[ChoiceItem], options: ScoringOptions) -> ChoiceScores:
        """The answers of the adapted model."""
        prompts = options.prepare(model, items)
        with adapted(model, self.adapter, self.strength):
            return score_prompts(model, prompts, batch_size=options.batch_size)

    def side_effects(self, texts: PredictedTexts) -> SideEffects:
        """The texts under the adapter."""
        with adapted(texts.model, self.adapter, self.strength):
            return texts.under()
