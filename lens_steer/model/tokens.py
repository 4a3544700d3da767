"""Text to tokens and tokens to text: the one place where a tokenizer is called.

    a text        opening + tokens(text)                        opening: what the tokenizer itself puts in front (BOS)
    what follows  tokens(before + text), beyond those of before         so that no space comes in between
    what is said  text(before + tokens) - text(before)                  so that no space is lost in between

Tokenizers that put a space in front of every text (Llama 2, Mistral 7B, T5) would otherwise add one to a text that
goes on, and drop one from tokens that go on. Whether a text begins with BOS is read from `cfg.default_prepend_bos`,
which `load_model` sets to what the tokenizer does by itself, and which TransformerLens' own tools read too. An
end-of-sequence token that a tokenizer puts behind a text is left out, since every text may be continued.
"""

import re
from collections.abc import Sequence
from typing import Any

from lens_steer.errors import DataError, ModelFolderError
from lens_steer.model.protocol import SteerableModel

_MARK = "\ufffd"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_BEFORE = ("\n", "(", ":", "a")
_WINDOW, _LONGEST = 16, 64


def tokenize(model: SteerableModel, texts: str | Sequence[str]) -> list[list[int]]:
    """The tokens of each text, with BOS in front exactly once where the model wants one.

    Args:
        model: a loaded model with a tokenizer.
        texts: any texts, or one; a text that already begins with BOS keeps just that one.

    Returns:
        Token ids of each text, unpadded: those that the tokenizer itself gives, unless the model was loaded with
        another `prepend_bos`.

    Raises:
        ModelFolderError: the model has no tokenizer.
        DataError: an entry is no text.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    opening = list(opening_tokens(model))
    rows = token_ids(model, texts)
    return [row if row[: len(opening)] == opening else [*opening, *row] for row in rows]


def token_ids(model: SteerableModel, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text alone, with nothing put in front or behind.

    Args:
        model: a loaded model with a tokenizer.
        texts: any texts.

    Returns:
        Token ids of each text.

    Raises:
        ModelFolderError: the model has no tokenizer.
        DataError: an entry is no text.
    """
    tokenizer = _tokenizer(model)
    if not all(isinstance(text, str) for text in texts):
        wrong = next(text for text in texts if not isinstance(text, str))
        raise DataError(f"{wrong!r} is no text and cannot be tokenised; give texts.")
    return [list(row) for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def following_ids(model: SteerableModel, text: str, before: Sequence[int] = ()) -> list[int]:
    """The tokens of a text that goes on from an earlier one.

    Args:
        model: a loaded model with a tokenizer.
        text: what follows.
        before: the tokens that it follows; where absent, or where they are not what their own text becomes, a line
            break stands for them, or a sign that the text does not merge with.

    Returns:
        Token ids of the text alone.
    """
    opening = opening_tokens(model)
    own = list(before[len(opening) :] if tuple(before[: len(opening)]) == opening else before)
    found = _behind(model, decode(model, own, special=True), text)
    if found is not None and found[0] == own:
        return found[1]
    tried = [_behind(model, first, text) for first in _BEFORE]
    known = [entry[1] for entry in tried if entry is not None]
    return min(known, key=len) if known else token_ids(model, [text])[0]


def _behind(model: SteerableModel, first: str, text: str) -> tuple[list[int], list[int]] | None:
    """The tokens of two texts that follow each other; None where the first is none, or changes with the second."""
    begun, whole = token_ids(model, [first, first + text])
    return (begun, whole[len(begun) :]) if begun and whole[: len(begun)] == begun else None


def decode(model: SteerableModel, tokens: Sequence[int], special: bool = False) -> str:
    """Tokens as text.

    Args:
        model: a loaded model with a tokenizer.
        tokens: a whole sequence; for a part of one see `decode_after`.
        special: whether special tokens are written out or left out.

    Returns:
        The text; an incomplete character becomes a replacement mark.

    Raises:
        ModelFolderError: the model has no tokenizer.
    """
    return _tokenizer(model).decode(list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False)


def decode_after(model: SteerableModel, before: Sequence[int], tokens: Sequence[int], special: bool = False) -> str:
    """What tokens add to the text of those before them.

    Args:
        model: a loaded model with a tokenizer.
        before: the tokens that they follow.
        tokens: what follows.
        special: whether special tokens are written out or left out.

    Returns:
        The text of both without that of the first, which ends before a character that is completed later.
    """
    return _beyond(decode(model, before, special), decode(model, [*before, *tokens], special))


def pieces(model: SteerableModel, tokens: Sequence[int], before: Sequence[int] = ()) -> tuple[str, ...]:
    """The text of each token of a sequence, special tokens written out.

    Args:
        model: a loaded model with a tokenizer.
        tokens: a sequence.
        before: the tokens that it follows.

    Returns:
        One text a token, which together are the text of the sequence: a character that takes several tokens stands at
        the token that completes it, and its other tokens are empty.
    """
    writer = TextWriter(model, before, special=True)
    found = [writer.add(token) for token in tokens]
    return (*found[:-1], found[-1] + writer.rest()) if found else ()


def token_text(model: SteerableModel, token: int) -> str:
    """What a token says inside a text, its leading space too.

    Args:
        model: a loaded model with a tokenizer.
        token: its id.

    Returns:
        The text; replacement marks for a part of a character; empty where the model has no tokenizer.
    """
    if model.tokenizer is None:
        return ""
    return decode_after(model, token_ids(model, ["a"])[0][-1:], [token], special=True)


def single_ids(model: SteerableModel, text: str) -> list[int]:
    """The tokens that a text becomes inside a longer one, one where there is one that says just this.

    Args:
        model: a loaded model with a tokenizer.
        text: a word or a sign; a space in front counts.

    Returns:
        Token ids; several where the text is no single token.
    """
    alone = token_ids(model, [text])[0]
    if len(alone) == 1 and token_text(model, alone[0]) == text:
        return alone
    return following_ids(model, text)  # the shortest of those behind several signs


def opening_tokens(model: SteerableModel) -> tuple[int, ...]:
    """The tokens that `tokenize` puts in front of every text: BOS, none, or what the tokenizer has in its place.

    Args:
        model: a loaded model with a tokenizer.

    Returns:
        Token ids; none where `cfg.default_prepend_bos` is false.
    """
    if not getattr(model.cfg, "default_prepend_bos", True):
        return ()
    bos = _tokenizer(model).bos_token_id
    return own_opening(model.tokenizer) or (() if bos is None else (int(bos),))


def own_opening(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that a tokenizer puts in front of a text by itself; none where it adds nothing."""
    plain, whole = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    if not plain:  # a vocabulary without this letter
        return tuple(whole[:1]) if whole[:1] == [tokenizer.bos_token_id] else ()
    places = range(len(whole))
    return tuple(next((whole[:start] for start in places if whole[start : start + len(plain)] == plain), ()))


def eos_tokens(model: SteerableModel) -> frozenset[int]:
    """The tokens that end a sequence: each that the generation settings, the configuration or the tokenizer name."""
    inner: Any = model.original_model
    found: set[int] = set()
    for source in (getattr(inner, "generation_config", None), getattr(inner, "config", None), model.tokenizer):
        named = getattr(source, "eos_token_id", None)
        found |= {int(token) for token in (named if isinstance(named, list | tuple) else [named]) if token is not None}
    return frozenset(found)


class TextWriter:
    """The text of tokens as they come: each call of `add` gives what is certain by then.

    Together, with `rest` at the end, the parts are `decode_after(model, before, tokens, special)`. An incomplete
    character waits for its last token. So do byte tokens, such as <0x0A>, for the token that follows their run: one
    wrong byte turns every character of the run into replacement marks.

    Args:
        model: a loaded model with a tokenizer.
        before: the tokens that the text follows.
        special: whether special tokens are written out or left out.
    """

    def __init__(self, model: SteerableModel, before: Sequence[int], special: bool = False) -> None:
        self._model, self._special = model, special
        self._tokens = list(before)
        self._base, self._told, self._waiting = "", 0, False
        self._settle()

    def add(self, token: int) -> str:
        """Adds a token; what it says, and what had waited for it."""
        self._tokens.append(token)
        self._waiting = self._open(token)
        if self._waiting:
            return ""
        said = self._said()
        certain = said.rstrip(_MARK)
        fresh = certain[self._told :]
        if certain == said:
            self._settle()
        else:
            self._told = max(self._told, len(certain))
        return fresh

    def rest(self) -> str:
        """What still waits, as it stands."""
        return self._said()[self._told :]

    def _said(self) -> str:
        """The text beyond what was settled."""
        return _beyond(self._base, decode(self._model, self._tokens, self._special))

    def _settle(self) -> None:
        """Takes all that there is as told, and forgets what no later token can depend on."""
        if len(self._tokens) > _LONGEST:
            start = len(self._tokens) - _WINDOW
            while start and self._is_byte(self._tokens[start]):
                start -= 1
            if decode(self._model, self._tokens[start:], self._special).strip():
                self._tokens = self._tokens[start:]
        self._base, self._told = decode(self._model, self._tokens, self._special), 0

    def _open(self, token: int) -> bool:
        """Whether a token leaves a run of byte tokens open."""
        if self._waiting and not self._special and not decode(self._model, [token]):
            return True
        return self._is_byte(token)

    def _is_byte(self, token: int) -> bool:
        """Whether a token stands for one byte by its number."""
        return bool(_BYTE.fullmatch(_tokenizer(self._model).convert_ids_to_tokens(token) or ""))


def _beyond(first: str, whole: str) -> str:
    """The text that follows another, whose last character may have been incomplete."""
    while first.endswith(_MARK) and not whole.startswith(first):
        first = first[:-1]
    return whole[len(first) :]


def _tokenizer(model: SteerableModel) -> Any:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ModelFolderError("this model has no tokenizer; load it from a folder with one, or give token lists.")
    return tokenizer
