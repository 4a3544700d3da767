"""Tokens by name: what a reader can tell apart, whatever the vocabulary holds.

" left"   as it is          "\\n"      control and invisible characters escaped, as in repr
"\\xe2\\x80"   a part of a character, by its bytes        "#50300"   an id that the tokenizer has no text for
"""

from collections.abc import Sequence
from typing import Any

from lens_steer.errors import DataError
from lens_steer.model import SteerableModel, tokenize

_PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
_BYTES = {chr(byte): byte for byte in _PLAIN} | {chr(256 + index): byte for index, byte in enumerate(_OTHERS)}
"""How byte-level vocabularies write bytes as characters."""


def token_label(model: SteerableModel, token: int) -> str:
    """A token as printable text; different tokens of one text may share it, so keep the id beside it.

    Args:
        model: a loaded model.
        token: its id.

    Returns:
        The decoded text with everything unprintable escaped; bytes, or the id, where there is no text.
    """
    tokenizer: Any = getattr(model, "tokenizer", None)
    if tokenizer is None or token >= len(tokenizer):
        return f"#{token}"
    text = token_text(model, token)
    if text and "\ufffd" not in text:
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    piece = tokenizer.convert_ids_to_tokens(token) or ""
    if piece and all(c in _BYTES for c in piece):
        return repr(bytes(_BYTES[c] for c in piece))[2:-1]
    return piece if piece and piece.isprintable() else f"#{token}"


def token_text(model: SteerableModel, token: int) -> str:
    """What a token is decoded to; empty where the model has no tokenizer."""
    tokenizer: Any = getattr(model, "tokenizer", None)
    return "" if tokenizer is None else tokenizer.decode([token])


def one_token(model: SteerableModel, words: Sequence[str | int]) -> list[int]:
    """The ids of words that are one token each.

    Args:
        model: a loaded model with a tokenizer.
        words: texts, with the leading space where one belongs to them; or ids.

    Returns:
        One id a word.

    Raises:
        DataError: there are no words, or a word is not one token.
    """
    if not words:
        raise DataError("no wanted tokens; give at least one, such as ' left'.")
    found = []
    for word in words:
        row = [word] if isinstance(word, int) else tokenize(model, [word], bos=False)[0]
        if len(row) != 1:
            raise DataError(
                f"{word!r} is {len(row)} tokens ({[token_label(model, token) for token in row]}); give words of one "
                "token, with their leading space, or token ids."
            )
        found.append(row[0])
    return found
