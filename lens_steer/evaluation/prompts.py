"""Choice items as token rows, ready to be asked: one row a letter prompt, or one row an option's text.

    letter          prompt with all options listed, in k rotated orders;  the letters' logits after it
    option_sum      question + option:  sum over the option's tokens of log p(token | all before)
    option_token    option_sum / number of the option's tokens
    option_byte     option_sum / number of the option's UTF-8 bytes
    option_pmi      option_sum - option_sum behind the answer-only prompt, of the unsteered model

It is proved for every prompt that what follows leaves its tokens as they are: a letter adds one token, another one for
each letter; an option's text adds at least one. Order r shows option j at place (j + r) mod k, the matching one being
option 0. Where options are scored by their text, none is listed, and there is one order.

Source: per byte, lm-evaluation-harness' `acc_norm` (Gao et al. 2021); per token, Brown et al. 2020, section 2.4;
PMI_DC, Holtzman et al. 2021 (arXiv 2104.08315), equation 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.data.choices import ChoiceItem, ChoiceTemplate, MultipleChoiceItem
from lens_steer.errors import OptionTokenError, ScoreError
from lens_steer.evaluation.grid import GridTokens, Numbers, followed_tokens
from lens_steer.hooks import require_unsteered
from lens_steer.model import SteerableModel, pad, pass_logits, tokenize
from lens_steer.model.batching import length_buckets
from lens_steer.model.chat import chat_text
from lens_steer.model.tokens import token_ids

Scoring = Literal["letter", "option_sum", "option_token", "option_byte", "option_pmi"]
Item = ChoiceItem | MultipleChoiceItem


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """Tokenised questions, ready to be asked any number of times.

    By letter, row (item, order) is a prompt, and `tokens` are the letters' tokens after it, option 0 the matching one.
    By text, row (item, option) is a question with an option behind its first `lengths` tokens; its score is
    (log-likelihood of the option - `prior`) / `unit`.
    """

    items: tuple[str, ...]
    scoring: Scoring
    letters: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]
    tokens: Int[Tensor, "row option"]
    units: Float[Tensor, " row"]
    priors: Float[Tensor, " row"]

    @property
    def by_letter(self) -> bool:
        """Whether letters are scored, and not the options' texts."""
        return self.scoring == "letter"

    @property
    def matching_tokens(self) -> Int[Tensor, " row"]:
        """The token of the matching letter after each prompt."""
        return self.tokens[:, 0]

    @property
    def other_tokens(self) -> Int[Tensor, " row"]:
        """The token of the other letter after each prompt of a two-choice item."""
        return self.tokens[:, 1]

    @property
    def meaning(self) -> str:
        """What is made of the logits, in words that differ where it differs."""
        return f"{self.scoring} {self.tokens.tolist()}" if self.by_letter else "log-likelihood of the options"


def prepare_choices(
    model: SteerableModel,
    items: Sequence[Item],
    template: ChoiceTemplate | None = None,
    scoring: Scoring = "letter",
    chat: bool = False,
) -> Prompts:
    """Writes and tokenises items, in every option order where letters are scored.

    Args:
        model: a loaded model.
        items: the questions, all with the same number of options.
        template: how they are written; the default template where absent.
        scoring: what is scored.
        chat: write the question as a user's message, by the model's chat template; the last line of the prompt begins
            the assistant's answer.

    Returns:
        What `score_prompts` asks, as often as wanted.

    Raises:
        ScoreError: there are no items, something else than items, their numbers of options differ, or an unknown
            scoring.
        OptionTokenError: letters are not one token each, or the same token, after some prompt; or an option's text
            changes the tokens of the prompt, or becomes the same tokens as another option's.
        ModelFolderError: `chat`, and the tokenizer has no chat template.
        SteeringError: `option_pmi`, and a steering context is open.
    """
    if not items:
        raise ScoreError("no items to score; give at least one.")
    if strange := [item for item in items if not isinstance(item, Item)]:
        raise ScoreError(f"{strange[0]!r} is no item to score; give ChoiceItems, such as read(path).choices.")
    if scoring not in get_args(Scoring):
        raise ScoreError(f"scoring {scoring!r}; give one of {', '.join(get_args(Scoring))}.")
    options = tuple(item.content[1:] for item in items)
    sizes = {len(entry) for entry in options}
    if len(sizes) > 1:
        raise ScoreError(f"items with {sorted(sizes)} options; score items of each number by themselves.")
    template = template or ChoiceTemplate()
    if scoring == "letter":
        return _lettered(model, items, options, template, chat)
    return _written(model, items, options, template, scoring, chat)


def _lettered(
    model: SteerableModel,
    items: Sequence[Item],
    options: Sequence[tuple[str, ...]],
    template: ChoiceTemplate,
    chat: bool,
) -> Prompts:
    """Every item in its rotated orders, with the letters' tokens."""
    k = len(options[0])
    letters = template.letters_of(k)
    asked = [(item, texts, order) for item, texts in zip(items, options, strict=True) for order in range(k)]
    prompts = [template.write(item.stem, [texts[(i - order) % k] for i in range(k)]) for item, texts, order in asked]
    rows = _tokens(model, prompts, "", chat, template)
    tokens = []
    for option in range(k):
        own = [letters[(option + order) % k] for _, _, order in asked]
        longer = _tokens(model, prompts, own, chat, template)
        tokens.append(
            [
                _letter_token(item, row, whole, letter)
                for (item, _, _), row, whole, letter in zip(asked, rows, longer, own, strict=True)
            ]
        )
    for (item, _, _), *found in zip(asked, *tokens, strict=True):
        if len(set(found)) < k:
            same = max(found, key=found.count)
            which = "both letters" if k == 2 else "several of the letters"
            raise OptionTokenError(
                f"item {item.id!r}: {which} {letters} become token {same} after the prompt; choose letters that the "
                "tokenizer tells apart there."
            )
    return Prompts(
        items=tuple(item.id for item in items),
        scoring="letter",
        letters=letters,
        options=tuple(options),
        rows=tuple(map(tuple, rows)),
        lengths=tuple(map(len, rows)),
        tokens=torch.tensor(tokens, device="cpu").T.contiguous(),
        units=torch.ones(len(rows), dtype=torch.float32, device="cpu"),
        priors=torch.zeros(len(rows), dtype=torch.float32, device="cpu"),
    )


def _written(
    model: SteerableModel,
    items: Sequence[Item],
    options: Sequence[tuple[str, ...]],
    template: ChoiceTemplate,
    scoring: Scoring,
    chat: bool,
) -> Prompts:
    """Every item with each of its options behind it."""
    asked = [(item, text) for item, texts in zip(items, options, strict=True) for text in texts]
    questions = [template.question.format(stem=item.stem) for item, _ in asked]
    ends = [template.option.format(text=text) for _, text in asked]
    rows, lengths = _completed(model, questions, ends, [item.id for item, _ in asked], template, chat)
    k = len(options[0])
    for number, item in enumerate(items):
        if len({tuple(row) for row in rows[number * k : (number + 1) * k]}) < k:
            raise OptionTokenError(f"item {item.id!r}: two of its options become the same tokens; make them differ.")
    sizes = [len(row) - length for row, length in zip(rows, lengths, strict=True)]
    units = {"option_token": sizes, "option_byte": [len(text.encode()) for _, text in asked]}.get(
        scoring, [1] * len(rows)
    )
    priors = torch.zeros(len(rows), dtype=torch.float32, device="cpu")
    if scoring == "option_pmi":
        require_unsteered(model, "scoring by PMI", "give its interventions to the call that scores")
        distinct = list(dict.fromkeys(ends))
        bare = replace(template, system="")
        alone = _completed(model, [template.alone] * len(distinct), distinct, distinct, bare, chat=False)
        known = dict(zip(distinct, _log_likelihoods(model, *alone).tolist(), strict=True))
        priors = torch.tensor([known[end] for end in ends], dtype=torch.float32, device="cpu")
    return Prompts(
        items=tuple(item.id for item in items),
        scoring=scoring,
        letters=template.letters_of(k),
        options=tuple(options),
        rows=tuple(map(tuple, rows)),
        lengths=tuple(lengths),
        tokens=torch.zeros(len(rows), 0, dtype=torch.long, device="cpu"),
        units=torch.tensor(units, dtype=torch.float32, device="cpu"),
        priors=priors,
    )


def _tokens(
    model: SteerableModel, prompts: Sequence[str], ends: Sequence[str] | str, chat: bool, template: ChoiceTemplate
) -> list[list[int]]:
    """The tokens of prompts with something behind each, as texts or as the chat template writes them."""
    ends = [ends] * len(prompts) if isinstance(ends, str) else ends
    if not chat:
        return tokenize(model, [template.opening + prompt + end for prompt, end in zip(prompts, ends, strict=True)])
    texts, system = [], [{"role": "system", "content": template.system}] if template.system else []
    for prompt, end in zip(prompts, ends, strict=True):
        message, _, begun = prompt.rpartition("\n")
        texts.append(chat_text(model, [*system, {"role": "user", "content": message}]) + begun + end)
    return token_ids(model, texts)


def _completed(
    model: SteerableModel,
    prompts: Sequence[str],
    ends: Sequence[str],
    names: Sequence[str],
    template: ChoiceTemplate,
    chat: bool,
) -> tuple[list[list[int]], list[int]]:
    """The rows of completed prompts, and the lengths of the prompts."""
    alone, whole = (_tokens(model, prompts, end, chat, template) for end in ("", ends))
    for name, end, prompt, row in zip(names, ends, alone, whole, strict=True):
        if row[: len(prompt)] != prompt or len(row) == len(prompt):
            raise OptionTokenError(
                f"item {name!r}: the option {end!r} changes the last tokens of the prompt, or adds none; end the "
                "template's question with a character that does not merge with the option."
            )
    return whole, [len(prompt) for prompt in alone]


def _log_likelihoods(
    model: SteerableModel, rows: Sequence[Sequence[int]], lengths: Sequence[int]
) -> Float[Tensor, " row"]:
    """The log-likelihood of each row behind its first tokens, of the model as it stands."""
    found = torch.zeros(len(rows), dtype=torch.float32, device="cpu")
    for batch in length_buckets([len(row) for row in rows], 64):
        found[batch] = log_likelihoods(model, rows, lengths, batch)
    return found


def log_likelihoods(
    model: SteerableModel,
    rows: Sequence[Sequence[int]],
    lengths: Sequence[int],
    batch: Sequence[int],
    gradient: bool = False,
) -> Float[Tensor, " batch"]:
    """The log-likelihood of some rows behind their prompts, from one forward pass of the model as it stands.

    Args:
        model: a loaded model.
        rows: token ids of each sequence.
        lengths: of their prompts.
        batch: which rows.
        gradient: let gradients flow through the pass.

    Returns:
        Sums over tokens, natural-log units.
    """
    tokens, mask = pad(model, [rows[index] for index in batch])
    wanted = followed_tokens(mask, torch.tensor([lengths[index] - 1 for index in batch], device="cpu"))
    logits = pass_logits(model, tokens, mask, wanted, gradient=gradient, of=batch)
    of, positions = logits.of.tolist(), logits.positions.tolist()
    following = torch.tensor(
        [rows[row][position + 1] for row, position in zip(of, positions, strict=True)], device="cpu"
    )
    each = logits.read(lambda chunk, part: token_log_likelihoods(chunk, following[part])).cpu()
    place = {row: number for number, row in enumerate(batch)}
    return torch.zeros(len(batch), dtype=torch.float32, device="cpu").index_add(
        0, torch.tensor([place[row] for row in of], device="cpu"), each[:, 0]
    )


def token_log_likelihoods(logits: Float[Tensor, "n d_vocab"], following: Int[Tensor, " n"]) -> Float[Tensor, "n 1"]:
    """The log-probability of the token that follows each of some tokens."""
    own = logits.gather(1, following[:, None].to(logits.device))
    return (own - logits.logsumexp(dim=1, keepdim=True)).float()


def following_likelihoods(rows: Sequence[Sequence[int]], texts: list[int], tokens: GridTokens) -> Numbers:
    """What makes the log-likelihoods of the tokens behind some tokens of a grid; `texts` is the row of each."""
    following = tokens.following(rows, texts)
    return lambda logits: token_log_likelihoods(logits, following)


def _letter_token(item: Item, prompt: list[int], longer: list[int], letter: str) -> int:
    """The one token by which prompt + letter is longer than the prompt."""
    if longer[:-1] != prompt:
        raise OptionTokenError(
            f"item {item.id!r}: the letter {letter!r} is not one token of its own after the prompt (the prompt has "
            f"{len(prompt)} tokens, with the letter {len(longer)}, and the first {len(prompt)} must stay the "
            "same); end the template's prompt with a character that does not merge with the letter, such as '('."
        )
    return longer[-1]
