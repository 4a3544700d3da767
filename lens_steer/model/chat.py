"""Prompts in any form that a user has them in; and chats as token rows, by the tokenizer's own template.

    "a text"      [5, 17, 3]      [{"role": "user", "content": "Hello"}]      or a list of texts, of rows, of chats

    row = template(messages) + generation prompt          prompt length = all of it

The template decides about BOS and role marks; nothing is added to what it writes. The answer begins right after the
row, so `after_prompt` and `generated` mean the assistant's own words, not its role mark.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from numbers import Integral
from typing import Any

from lens_steer.errors import DataError, ModelFolderError
from lens_steer.model.protocol import SteerableModel
from lens_steer.model.tokens import following_ids, token_ids, tokenize

Prompt = str | Sequence[int] | Sequence[Mapping[str, str]]
Prompts = Prompt | Sequence[Prompt]
"""A text, a token row or a chat, or several of one of these."""


def as_prompts(
    model: SteerableModel, prompts: Prompts | Mapping[str, str], noun: str = "prompts"
) -> tuple[list[str], list[list[int]]]:
    """Prompts in whatever form, as texts or as token rows; a chat becomes its tokens.

    Args:
        model: a loaded model, for the template of its chats.
        prompts: one or several texts, token rows (lists or tensors) or chats, such as
            `[{"role": "user", "content": "Hello"}]`.
        noun: what an error calls them.

    Returns:
        Texts and token rows; one of the two is empty.

    Raises:
        DataError: there are none, kinds are mixed, or something is none of the three.
        ModelFolderError: a chat, and the tokenizer has no chat template.

    Example:
        >>> from lens_steer import load_model
        >>> as_prompts(load_model("lab"), "Once upon a time"), as_prompts(load_model("lab"), [5, 17])
        ((['Once upon a time'], []), ([], [[5, 17]]))
    """
    kind, entries = _read(prompts, noun)
    if kind == "texts":
        return entries, []
    return [], [chat_prompt(model, entry) for entry in entries] if kind == "chats" else entries


def begun_prompts(model: SteerableModel, prompts: Prompts, prefill: str = "") -> list[tuple[list[int], list[int]]]:
    """Prompts as token rows, alone and with the text that the answer is begun with.

    Args:
        model: a loaded model with a tokenizer.
        prompts: one or several texts, token rows or chats, as for `as_prompts`.
        prefill: what every answer begins with; none where empty.

    Returns:
        For each prompt its row, and the row of prompt and prefill, tokenised as one text. Where the prefill changes
        the prompt's last tokens, the prompt is what it leaves as it is; a token row is never changed.

    Raises:
        DataError, ModelFolderError: as `as_prompts`.
    """
    kind, entries = _read(prompts, "prompts")
    if kind == "token rows":
        return [(row, [*row, *(following_ids(model, prefill, row) if prefill else ())]) for row in entries]
    texts = entries if kind == "texts" else [chat_text(model, entry) for entry in entries]
    alone, begun = (
        tokenize(model, [text + end for text in texts])
        if kind == "texts"
        else token_ids(model, [text + end for text in texts])
        for end in ("", prefill)
    )
    return [(_common(row, longer), longer) for row, longer in zip(alone, begun, strict=True)]


def _common(row: list[int], longer: list[int]) -> list[int]:
    """The tokens that two rows begin with."""
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(row, longer, strict=False))]


def _read(prompts: Prompts | Mapping[str, str], noun: str) -> tuple[str, list[Any]]:
    """What prompts are (`texts`, `token rows` or `chats`), and a list of them."""
    entries: Any = [prompts] if isinstance(prompts, str | Mapping) else _listed(prompts)
    if isinstance(entries, list) and entries and isinstance(entries[0], Integral | Mapping):
        entries = [entries]
    entries = [_listed(entry) for entry in entries] if isinstance(entries, list) else [entries]
    kinds = [_kind(entry) for entry in entries]
    if len(set(kinds)) != 1 or not kinds[0]:
        counts = (f"{kinds.count(kind)} {kind}" for kind in ("token rows", "chats"))
        raise DataError(
            f"{len(kinds)} {noun}, {kinds.count('texts')} of them texts, {', '.join(counts)}; give all texts, all "
            "token rows (lists of ids) or all chats (lists of {'role': 'user', 'content': 'Hello'}), or one of these."
        )
    return kinds[0], entries


def _listed(entries: Any) -> Any:
    """A list of what is iterated, which may be a tensor; texts and what is not iterated stay as they are."""
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        return entries
    return getattr(entries, "tolist", partial(list, entries))()


def _kind(prompt: Any) -> str:
    """What a prompt is; empty where it is none."""
    if isinstance(prompt, str):
        return "texts"
    if not isinstance(prompt, list):
        return ""
    if all(isinstance(entry, int | Integral) and not isinstance(entry, bool) for entry in prompt):
        return "token rows"
    return "chats" if all(isinstance(entry, Mapping) for entry in prompt) else ""


def chat_prompt(model: SteerableModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """A chat as the tokens of a prompt, up to where the assistant's answer begins.

    Args:
        model: a loaded model whose tokenizer has a chat template.
        messages: such as `[{"role": "user", "content": "Hello"}]`, in order.

    Returns:
        Token ids, for `generate` or `score`; their number is the prompt's length.

    Raises:
        ModelFolderError: the tokenizer has no chat template, or there is no tokenizer.
        DataError: there are no messages, one lacks its role or content, or the template refuses them.
    """
    return token_ids(model, [chat_text(model, messages)])[0]


def chat_text(model: SteerableModel, messages: Sequence[Mapping[str, str]]) -> str:
    """A chat as the text that its template writes, BOS and role marks in it; arguments and errors of `chat_prompt`."""
    tokenizer: Any = model.tokenizer
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise ModelFolderError(
            "this model's tokenizer has no chat template; load a chat model, or write the prompt's text yourself."
        )
    if not messages:
        raise DataError("a chat without messages; give at least one, such as {'role': 'user', 'content': 'Hello'}.")
    if not all(isinstance(message, Mapping) and {"role", "content"} <= set(message) for message in messages):
        raise DataError("a message of a chat lacks its role or content; write {'role': 'user', 'content': 'Hello'}.")
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise DataError(f"the chat template refuses these messages: {error}. Give the roles that it knows.") from error
