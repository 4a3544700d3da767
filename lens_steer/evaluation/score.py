"""Choice items scored by a model: by the letter of each option in every order, or by the likelihood of its text.

    m = score(matching option) - score(best other option)      letter: the difference of the letters' logits
    content   mean of m over the orders                        position   how far the first place is preferred

Of a letter only its own token is scored, at the last token of the prompt, so that the logit difference is the
difference of log-probabilities (Tan et al. 2024, arXiv 2407.12404, sum the closing bracket too). On small models
letters follow the place alone; the text of an option has no place. `evaluation.prompts` has the formulas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceTemplate
from lens_steer.evaluation.grid import Configuration, GridOptions, GridTokens, Numbers, of_prompt, run_grid
from lens_steer.evaluation.prompts import (
    Item,
    Prompts,
    Scoring,
    following_likelihoods,
    log_likelihoods,
    prepare_choices,
)
from lens_steer.hooks import Interventions, as_interventions, require_unsteered, steer
from lens_steer.metrics.collapse import Collapse, collapse
from lens_steer.metrics.detection import NOT_DETECTABLE, Detection, detection, detection_of_choices
from lens_steer.model import SteerableModel, logits_after, require_model
from lens_steer.model.batching import length_buckets, within_memory


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(GridOptions):
    """How items are asked, once or at every point of a grid.

    `template` is how they are written, `scoring` what is scored (`letter`, `option_sum`, `option_token`, `option_byte`
    or `option_pmi`), `chat` whether the model's chat template writes the question.
    """

    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False

    def prepare(self, model: SteerableModel, items: Sequence[Item]) -> Prompts:
        """The items as these options ask them; arguments and errors of `prepare_choices`."""
        return prepare_choices(model, items, self.template, self.scoring, self.chat)


@shown("to_frame")
@dataclass(frozen=True, kw_only=True, eq=False)
class ChoiceScores:
    """The answers of a model to items in every order in which their options were shown.

    Option 0 of an item is the matching one; in order r, option j stands at place (j + r) mod k. `scores` are logits of
    letters or (normalised) log-likelihoods of texts, `log_probs` the log-probabilities of the letters or of the whole
    texts; natural-log units. `faulty`: the likeliest next token is none of the letters (False for texts).
    """

    items: tuple[str, ...]
    scoring: Scoring
    letters: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    scores: Float[Tensor, "item order option"]
    log_probs: Float[Tensor, "item order option"]
    faulty: Bool[Tensor, "item order"]

    @property
    def by_letter(self) -> bool:
        """Whether letters were scored, so that options had places."""
        return self.scoring == "letter"

    @property
    def logit_differences(self) -> Float[Tensor, "item order"]:
        """Score of the matching option minus that of the best other."""
        return self.scores[:, :, 0] - self.scores[:, :, 1:].amax(dim=2)

    @property
    def answer_probability(self) -> Float[Tensor, "item order"]:
        """The probability of the options together: p(A) + p(B) of the next token, or of the whole texts."""
        return self.log_probs.exp().sum(dim=2)

    @property
    def item_differences(self) -> Float[Tensor, " item"]:
        """The difference of each item, averaged over its orders: position bias cancels."""
        return self.logit_differences.mean(dim=1)

    @property
    def matches(self) -> Bool[Tensor, "item order"]:
        """Whether the matching option is preferred; a tie does not match."""
        return self.logit_differences > 0

    @property
    def chosen(self) -> Int[Tensor, "item order"]:
        """The option that is the answer; 0 is the matching one."""
        return torch.where(self.matches, 0, 1 + self.scores[:, :, 1:].argmax(dim=2))

    @property
    def chosen_place(self) -> Int[Tensor, "item order"]:
        """Where the answer stood among the options as they were shown; letters only."""
        return (self.chosen + torch.arange(self.chosen.shape[1], device="cpu")) % len(self.letters)

    @property
    def chose_first(self) -> Bool[Tensor, "item order"]:
        """Whether the first letter is the answer."""
        return self.chosen_place == 0

    @property
    def position_bias(self) -> float:
        """Mean score of the first place minus mean score of the other places, nats; 0 where options have no place.

        Of two options it is the part of the difference that follows the order, (m of order 0 - m of order 1) / 2.
        """
        if not self.by_letter:
            return 0.0
        orders, k = self.scores.shape[1:]
        first = (-torch.arange(orders, device="cpu")) % k
        here = self.scores[:, torch.arange(orders, device="cpu"), first]
        return float((here - (self.scores.sum(dim=2) - here) / (k - 1)).double().mean())

    @cached_property
    def shared_texts(self) -> bool:
        """Whether all items have the same options, such as Yes and No, in whatever roles."""
        return len({tuple(sorted(entry)) for entry in self.options}) == 1 and len(self.items) > 1

    @property
    def collapse(self) -> Collapse:
        """The collapse rule's verdict on these answers."""
        return self.collapse_of(range(len(self.items)))

    def collapse_of(self, items: Sequence[int]) -> Collapse:
        """The collapse rule's verdict on the answers to some items, which may be drawn more than once."""
        texts, rows = None, list(items)
        if self.shared_texts:
            chosen = self.chosen.tolist()
            texts = (
                [self.options[i][j] for i in rows for j in chosen[i]],
                [self.options[i][0] for i in rows for _ in chosen[i]],
            )
        if self.by_letter:
            return collapse(self.chosen_place[rows], self.answer_probability[rows], self.faulty[rows], texts)
        return collapse(None, None, None, texts)

    @property
    def detection(self) -> Detection:
        """Signal detection of the first letter, or of the first of two texts that all items share; NaN without.

        The signal are the cases in which it matches.
        """
        if self.by_letter and len(self.letters) == 2:
            return detection_of_choices(self.chose_first)
        if not self.by_letter and len(self.letters) == 2 and self.shared_texts:
            text = min(self.options[0])
            signal = torch.tensor([own[0] == text for own in self.options], device="cpu")
            said = torch.where(signal, self.matches[:, 0], ~self.matches[:, 0])
            if bool(signal.any()) and not bool(signal.all()):
                counts = (int(said[signal].sum()), int(signal.sum()), int(said[~signal].sum()), int((~signal).sum()))
                return detection(*counts)
        return NOT_DETECTABLE

    def part(self, start: int, stop: int) -> "ChoiceScores":
        """The answers to some of the items."""
        columns = ("items", "options", "scores", "log_probs", "faulty")
        return replace(self, **{name: getattr(self, name)[start:stop] for name in columns})

    def to_frame(self) -> pd.DataFrame:
        """One row for each item and order.

        Columns: item, order (`matching_first`, `other_first`; of more options the matching one's place, `matching_1`,
        `matching_2`, ...; `none` for texts), matching_letter, chosen_letter, matching_text, chosen_text (empty where
        items have texts of their own),
        score_matching, score_other (the best other), log_prob_matching, log_prob_other, logit_difference,
        answer_probability, faulty, matches.
        """
        n, orders = self.chosen.shape
        best = 1 + self.scores[:, :, 1:].argmax(dim=2, keepdim=True)
        texts = self.options if self.shared_texts else [("",) * len(self.letters)] * n
        chosen = self.chosen.tolist()

        def column(values: Tensor) -> list[Any]:
            return rearrange(values, "item order -> (item order)").tolist()

        columns = {
            "item": [item for item in self.items for _ in range(orders)],
            "order": [self._order(order) for order in range(orders)] * n,
            "matching_letter": [self.letters[order] if self.by_letter else "" for order in range(orders)] * n,
            "chosen_letter": [self.letters[place] if self.by_letter else "" for place in column(self.chosen_place)],
            "matching_text": [own[0] for own in texts for _ in range(orders)],
            "chosen_text": [own[i] for own, row in zip(texts, chosen, strict=True) for i in row],
            "score_matching": column(self.scores[:, :, 0]),
            "score_other": column(self.scores.gather(2, best)[:, :, 0]),
            "log_prob_matching": column(self.log_probs[:, :, 0]),
            "log_prob_other": column(self.log_probs.gather(2, best)[:, :, 0]),
            "logit_difference": column(self.logit_differences),
            "answer_probability": column(self.answer_probability),
            "faulty": column(self.faulty),
            "matches": column(self.matches),
        }
        return pd.DataFrame(columns)

    def _order(self, order: int) -> str:
        """The name of an order."""
        if not self.by_letter:
            return "none"
        if len(self.letters) == 2:
            return ("matching_first", "other_first")[order]
        return f"matching_{order + 1}"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class GridScores:
    """The answers unsteered and under each configuration of a grid; `path` says how: `reused`, or `naive` and why."""

    unsteered: ChoiceScores
    configurations: tuple[ChoiceScores, ...]
    path: str


def score_choices(
    model: SteerableModel,
    items: Sequence[Item],
    interventions: Interventions = (),
    template: ChoiceTemplate | None = None,
    batch_size: int = 64,
    progress: bool = False,
    scoring: Scoring = "letter",
    chat: bool = False,
) -> ChoiceScores:
    """Asks every item and scores its options.

    Args:
        model: a loaded model.
        items: the questions, two-choice or with more options, all with the same number of options.
        interventions: what steers the model while it is asked, one or several; none asks the model as it stands, which
            is steered where a steering context is open. A question is a prompt, and what follows it is an option's
            text: letters have nothing behind the prompt, so that `after_prompt` selects nothing (and is refused).
            `last` is the last token of the prompt.
        template: how items are written; the default template where absent.
        batch_size: rows in one forward pass.
        progress: draw a progress bar.
        scoring: `letter`: the letter of each option, in every order; `option_sum`, `option_token`, `option_byte`,
            `option_pmi`: the log-likelihood of each option's text, summed, per token, per byte, or beyond its own.
        chat: write the question by the model's chat template.

    Returns:
        The answers.

    Raises:
        ScoreError: there are no items, their numbers of options differ, or an unknown scoring.
        OptionTokenError: a letter is not one token of its own after some prompt, or an option's text changes the tokens
            of the prompt.
        SteeringError: an intervention edited nothing; or `option_pmi` in an open steering context.

    Example:
        >>> from lens_steer import load_model, score_choices
        >>> from lens_steer.lab.items import persona_items
        >>> scores = score_choices(load_model("lab"), persona_items("myopic", True, 10, split="test"))
        >>> scores.matches.shape, bool(scores.answer_probability.mean() > 0.9)
        (torch.Size([10, 2]), True)
    """
    require_model(model, "score_choices(model, items, interventions)", items, interventions)
    prompts = prepare_choices(model, items, template, scoring, chat)
    return score_prompts(model, prompts, interventions, batch_size=batch_size, progress=progress)


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
        batch_size: rows in one forward pass.
        progress: draw a progress bar.

    Returns:
        The answers.

    Raises:
        SteeringError: an intervention edited nothing.
    """
    lengths = [len(row) for row in prompts.rows]
    batches = length_buckets(lengths, batch_size)
    found = torch.empty(
        len(lengths), 2 * len(prompts.letters) + 1 if prompts.by_letter else 1, dtype=torch.float32, device="cpu"
    )
    edits = [of_prompt(entry) for entry in as_interventions(interventions)]
    with steer(model, *edits, prompt_lengths=prompts.lengths[:1]) as steering:

        def ask(batch: Sequence[int]) -> None:
            steering.set_prompt_lengths([prompts.lengths[index] for index in batch])
            if prompts.by_letter:
                logits = logits_after(model, [prompts.rows[index] for index in batch], of=batch)
                read = logits.read(lambda chunk, part: _letters(prompts, batch[part], chunk))
            else:
                read = log_likelihoods(model, prompts.rows, prompts.lengths, batch)[:, None]
            found[list(batch)] = read.cpu()

        for batch in track(batches, "scoring", len(batches), progress):
            within_memory(ask, batch)
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
        The answers of each configuration, and those of the unhooked model, by letter bit for bit what `score_prompts`
        gives.

    Raises:
        SteeringError: an intervention selects no token of any prompt, or a steering context is open.
    """
    require_unsteered(model, "a grid of configurations", "put its interventions first in every configuration")

    table = run_grid(
        model,
        prompts.rows,
        configurations,
        partial(_by_letter, prompts) if prompts.by_letter else partial(following_likelihoods, prompts.rows),
        options,
        scored="last" if prompts.by_letter else "continuation",
        meaning=prompts.meaning,
        prompt_lengths=None if prompts.by_letter else prompts.lengths,
    )
    unsteered, *steered = (_scores(prompts, numbers.float()) for numbers in (table.unsteered, *table.configurations))
    return GridScores(unsteered=unsteered, configurations=tuple(steered), path=table.path)


def _by_letter(prompts: Prompts, rows: list[int], _tokens: GridTokens) -> Numbers:
    """What makes the numbers of letters after some prompts."""
    return lambda logits: _letters(prompts, rows, logits)


def _letters(prompts: Prompts, rows: Sequence[int], logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n number"]:
    """Logits, then log-probabilities, of the letters after some prompts; then whether another token is likelier."""
    letters = prompts.tokens[rows].to(logits.device)
    own = logits.gather(1, letters)
    faulty = (logits.argmax(dim=1, keepdim=True) != letters).all(dim=1, keepdim=True)
    return torch.cat([own, own - logits.logsumexp(dim=1, keepdim=True), faulty.to(own.dtype)], dim=1)


def _scores(prompts: Prompts, numbers: Float[Tensor, "row number"]) -> ChoiceScores:
    """The answers, of the numbers of all rows."""
    k = len(prompts.letters)
    if prompts.by_letter:
        table = rearrange(numbers, "(item order) number -> item order number", order=k)
        scores, log_probs, faulty = table[..., :k], table[..., k : 2 * k], table[..., 2 * k] > 0
    else:
        normed = (numbers[:, 0] - prompts.priors) / prompts.units
        scores, log_probs = (
            rearrange(values, "(item option) -> item 1 option", option=k) for values in (normed, numbers[:, 0])
        )
        faulty = torch.zeros(scores.shape[:2], dtype=torch.bool, device="cpu")
    return ChoiceScores(
        items=prompts.items,
        scoring=prompts.scoring,
        letters=prompts.letters,
        options=prompts.options,
        scores=scores,
        log_probs=log_probs,
        faulty=faulty,
    )
