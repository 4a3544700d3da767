"""Printable, distinguishable labels of tokens, and the lookup of a token by text.

" left"   as it is inside a text          "\\n"      control and invisible characters escaped, as in repr
"\\xe2\\x80"   a part of a character, by its bytes        "#50300"   an id that the tokenizer has no text for
"""

import re
from typing import Any

from lens_steer._util.printable import printable
from lens_steer.errors import DataError
from lens_steer.model import SteerableModel, single_ids, token_text, vocabulary_size

_PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
_BYTES = {chr(byte): byte for byte in _PLAIN} | {chr(256 + index): byte for index, byte in enumerate(_OTHERS)}
"""How byte-level vocabularies write bytes as characters."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def token_label(model: SteerableModel, token: int) -> str:
    """A token as printable text; different tokens of one text may share it, so keep the id beside it.

    Args:
        model: a loaded model.
        token: its id.

    Returns:
        The decoded text with everything unprintable escaped; bytes, or the id, where there is no text.
    """
    tokenizer: Any = model.tokenizer
    if tokenizer is None or token >= len(tokenizer):
        return f"#{token}"
    text = token_text(model, token)
    if text and "\ufffd" not in text:
        return printable(text)
    piece = tokenizer.convert_ids_to_tokens(token) or ""
    if _BYTE.fullmatch(piece):
        return rf"\x{piece[3:5].lower()}"
    if piece and all(c in _BYTES for c in piece):
        return repr(bytes(_BYTES[c] for c in piece))[2:-1]
    return piece if piece and piece.isprintable() else f"#{token}"


def one_token(model: SteerableModel, token: str | int) -> int:
    """The id of a token that is given by its text or its id.

    Args:
        model: a loaded model with a tokenizer.
        token: a text that is exactly one token (mind the space in front), or an id.

    Returns:
        The id.

    Raises:
        DataError: the text is not one token, or the vocabulary has no such id.
    """
    if isinstance(token, int):
        vocabulary = vocabulary_size(model)
        if not 0 <= token < vocabulary:
            raise DataError(f"token {token}: the vocabulary has the ids 0 to {vocabulary - 1}.")
        return token
    ids = single_ids(model, token)
    if len(ids) != 1:
        raise DataError(
            f"{token!r} is {len(ids)} tokens ({[token_label(model, part) for part in ids]}); give the text of one "
            "token, with its leading space, or its id."
        )
    return ids[0]
