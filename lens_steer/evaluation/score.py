"""Choice items scored by a model: one forward pass for each item and option order, read right before the letter.

    m = logit(letter of the matching option) - logit(letter of the other)         p(A) + p(B) = the answer probability

Only the letter token is scored, at the last token of the prompt, so that the logit difference is the difference of
log-probabilities (Tan et al. 2024, arXiv 2407.12404, sum the closing bracket too). Both option orders are always asked.
It is proved for every prompt that prompt + letter is the prompt's tokens and one more, another one for each letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.data.choices import ORDERS, ChoiceItem, ChoiceTemplate
from lens_steer.errors import OptionTokenError, ScoreError
from lens_steer.evaluation.grid import Configuration, GridOptions, GridTokens, Numbers, run_grid
from lens_steer.hooks import Interventions, as_interventions, require_unsteered, steer
from lens_steer.metrics.collapse import Collapse, collapse
from lens_steer.model import SteerableModel, logits_after, require_model, tokenize
from lens_steer.model.batching import length_buckets


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(GridOptions):
    """How items are asked, once or at every point of a grid: `template` is how they are written."""

    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """Tokenised questions, ready to be asked any number of times: row 2 i + order is item i in one option order."""

    items: tuple[str, ...]
    letters: tuple[str, str]
    rows: tuple[tuple[int, ...], ...]
    matching_tokens: Int[Tensor, " item"]
    other_tokens: Int[Tensor, " item"]


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class ChoiceScores:
    """The answers of a model to items in both option orders (column 0: matching option first, under the first letter).

    Logits and log-probabilities of the two letters, in natural-log units.
    """

    items: tuple[str, ...]
    letters: tuple[str, str]
    logit_matching: Float[Tensor, "item order"]
    logit_other: Float[Tensor, "item order"]
    log_prob_matching: Float[Tensor, "item order"]
    log_prob_other: Float[Tensor, "item order"]

    @property
    def logit_differences(self) -> Float[Tensor, "item order"]:
        """Logit of the matching letter minus logit of the other."""
        return self.logit_matching - self.logit_other

    @property
    def answer_probability(self) -> Float[Tensor, "item order"]:
        """p(A) + p(B), of the whole vocabulary."""
        return self.log_prob_matching.exp() + self.log_prob_other.exp()

    @property
    def item_differences(self) -> Float[Tensor, " item"]:
        """The logit difference of each item, averaged over its two orders: position bias cancels."""
        return self.logit_differences.mean(dim=1)

    @property
    def matches(self) -> Bool[Tensor, "item order"]:
        """Whether the matching letter is preferred; a tie does not match."""
        return self.logit_differences > 0

    @property
    def chose_first(self) -> Bool[Tensor, "item order"]:
        """Whether the first letter is the answer."""
        return self.matches == torch.tensor(ORDERS, device="cpu")

    @property
    def collapse(self) -> Collapse:
        """The collapse rule's verdict on these answers."""
        return collapse(self.chose_first, self.answer_probability)

    def to_frame(self) -> pd.DataFrame:
        """One row for each item and option order."""
        n = len(self.items)

        def column(answers: Tensor) -> list[bool] | list[float]:
            return rearrange(answers, "item order -> (item order)").tolist()

        columns = {
            "item": [item for item in self.items for _ in ORDERS],
            "order": ["matching_first", "other_first"] * n,
            "matching_letter": list(self.letters) * n,
            "chosen_letter": [self.letters[0 if first else 1] for first in column(self.chose_first)],
            "logit_matching": column(self.logit_matching),
            "logit_other": column(self.logit_other),
            "log_prob_matching": column(self.log_prob_matching),
            "log_prob_other": column(self.log_prob_other),
            "logit_difference": column(self.logit_differences),
            "answer_probability": column(self.answer_probability),
            "matches": column(self.matches),
        }
        return pd.DataFrame(columns)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class GridScores:
    """The answers unsteered and under each configuration of a grid; `path` says how: `reused`, or `naive` and why."""

    unsteered: ChoiceScores
    configurations: tuple[ChoiceScores, ...]
    path: str


def score_choices(
    model: SteerableModel,
    items: Sequence[ChoiceItem],
    interventions: Interventions = (),
    template: ChoiceTemplate | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> ChoiceScores:
    """Asks every item in both option orders and reads the letters' logits.

    Args:
        model: a loaded model.
        items: the questions.
        interventions: what steers the model while it is asked, one or several; none asks the model as it stands, which
            is steered where a steering context is open. The prompt is the whole sequence, so `last` and `last_prompt`
            are the same token and `after_prompt` selects nothing (and is refused).
        template: how items are written; the default template where absent.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.

    Returns:
        The answers.

    Raises:
        ScoreError: there are no items.
        OptionTokenError: the letters are not one token each, or the same token, after some prompt.
        SteeringError: an intervention edited nothing.

    Example:
        >>> from lens_steer import load_model, score_choices
        >>> from lens_steer.lab.items import persona_items
        >>> scores = score_choices(load_model("lab"), persona_items("myopic", True, 10, split="test"))
        >>> scores.matches.shape, bool(scores.answer_probability.mean() > 0.9)
        (torch.Size([10, 2]), True)
    """
    require_model(model, "score_choices(model, items, interventions)", items, interventions)
    prompts = prepare_choices(model, items, template)
    return score_prompts(model, prompts, interventions, batch_size=batch_size, progress=progress)


def prepare_choices(
    model: SteerableModel, items: Sequence[ChoiceItem], template: ChoiceTemplate | None = None
) -> Prompts:
    """Writes and tokenises items in both option orders, and proves that each letter is one token.

    Args:
        model: a loaded model.
        items: the questions.
        template: how they are written; the default template where absent.

    Returns:
        What `score_prompts` asks, as often as wanted.

    Raises:
        ScoreError: there are no items.
        OptionTokenError: the letters are not one token each, or the same token, after some prompt.
    """
    if not items:
        raise ScoreError("no items to score; give at least one.")
    template = template or ChoiceTemplate()
    asked = [(item, order) for item in items for order in ORDERS]
    texts = [template.render(item, order) for item, order in asked]
    rows = tokenize(model, texts)
    tokens = []
    for side in (True, False):
        letters = [template.letter(order, side) for _, order in asked]
        longer = tokenize(model, [text + letter for text, letter in zip(texts, letters, strict=True)])
        tokens.append([_letter_token(*entry) for entry in zip(asked, rows, longer, letters, strict=True)])
    for (item, _), matching, other in zip(asked, *tokens, strict=True):
        if matching == other:
            raise OptionTokenError(
                f"item {item.id!r}: both letters {template.letters} become token {matching} after the prompt; choose "
                "letters that the tokenizer tells apart there."
            )
    return Prompts(
        items=tuple(item.id for item in items),
        letters=template.letters,
        rows=tuple(tuple(row) for row in rows),
        matching_tokens=torch.tensor(tokens[0], device="cpu"),
        other_tokens=torch.tensor(tokens[1], device="cpu"),
    )


def score_prompts(
    model: SteerableModel,
    prompts: Prompts,
    interventions: Interventions = (),
    batch_size: int = 64,
    progress: bool = False,
) -> ChoiceScores:
    """Asks prepared prompts; see `score_choices`.

    Args:
        model: the model they were prepared for.
        prompts: from `prepare_choices`.
        interventions: what steers the model while it is asked; none asks the model as it stands.
        batch_size: prompts in one forward pass.
        progress: draw a progress bar.

    Returns:
        The answers.

    Raises:
        SteeringError: an intervention edited nothing.
    """
    lengths = [len(row) for row in prompts.rows]
    batches = length_buckets(lengths, batch_size)
    found = torch.empty(len(lengths), 4, dtype=torch.float32, device="cpu")
    with steer(model, *as_interventions(interventions), prompt_lengths=lengths[:1]) as steering:
        for batch in track(batches, "scoring", len(batches), progress):
            steering.set_prompt_lengths([lengths[index] for index in batch])
            logits = logits_after(model, [prompts.rows[index] for index in batch], of=batch)
            found[batch] = logits.read(lambda chunk, part, batch=batch: _letters(prompts, batch[part], chunk)).cpu()
    return _scores(prompts, found)


def score_grid(
    model: SteerableModel,
    prompts: Prompts,
    configurations: Sequence[Configuration],
    options: GridOptions | None = None,
) -> GridScores:
    """Asks prepared prompts unsteered and under each configuration of a grid; see `lens_steer.evaluation.grid`.

    Args:
        model: the model they were prepared for.
        prompts: from `prepare_choices`.
        configurations: what steers the model while it is asked, point by point.
        options: batch size, reuse, checkpoint and progress bar; the defaults where absent.

    Returns:
        The answers of each configuration, and those of the unhooked model, bit for bit what `score_prompts` gives.

    Raises:
        SteeringError: an intervention selects no token of any prompt, or a steering context is open.
    """
    require_unsteered(model, "a grid of configurations", "put its interventions first in every configuration")
    meaning = f"letters {prompts.matching_tokens.tolist()} {prompts.other_tokens.tolist()}"

    def read(rows: list[int], _tokens: GridTokens) -> Numbers:
        return lambda logits: _letters(prompts, rows, logits)

    table = run_grid(model, prompts.rows, configurations, read, options, meaning=meaning)
    unsteered, *steered = (_scores(prompts, numbers.float()) for numbers in (table.unsteered, *table.configurations))
    return GridScores(unsteered=unsteered, configurations=tuple(steered), path=table.path)


def _letters(prompts: Prompts, rows: Sequence[int], logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n 4"]:
    """Logits, then log-probabilities, of the matching and the other letter after some prompts."""
    letters = torch.stack([prompts.matching_tokens[rows], prompts.other_tokens[rows]], dim=1).to(logits.device)
    pair = logits.gather(1, letters)
    return torch.cat([pair, pair - logits.logsumexp(dim=1, keepdim=True)], dim=1)


def _scores(prompts: Prompts, letters: Float[Tensor, "n 4"]) -> ChoiceScores:
    """The answers, of `_letters` of all prompts."""
    columns = rearrange(letters, "(item order) number -> number item order", order=len(ORDERS))
    return ChoiceScores(
        items=prompts.items,
        letters=prompts.letters,
        logit_matching=columns[0],
        logit_other=columns[1],
        log_prob_matching=columns[2],
        log_prob_other=columns[3],
    )


def _letter_token(asked: tuple[ChoiceItem, bool], prompt: list[int], longer: list[int], letter: str) -> int:
    """The one token by which prompt + letter is longer than the prompt."""
    if longer[:-1] != prompt:
        raise OptionTokenError(
            f"item {asked[0].id!r}: the letter {letter!r} is not one token of its own after the prompt (the prompt has "
            f"{len(prompt)} tokens, with the letter {len(longer)}, and the first {len(prompt)} must stay the "
            "same); end the template's prompt with a character that does not merge with the letter, such as '('."
        )
    return longer[-1]
