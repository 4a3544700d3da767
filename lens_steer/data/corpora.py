"""Two bodies of text: the contrast of a skill, such as code against prose.

    positive   documents that show it        negative   documents that do not        of any numbers, not paired

Source: van der Weij et al. 2024 (arXiv 2403.05767) for steering a broad skill by the mean activations of two corpora.
This module knows neither tokenizers nor models; `max_tokens` is only carried along.
"""

import hashlib
import json
from dataclasses import dataclass

from lens_steer.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TextContrast:
    """Two named sets of documents; each is cut to its first `max_tokens` tokens, BOS included.

    Raises:
        DataError: a side has no document, a document is empty, or `max_tokens` leaves nothing but BOS.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for side in ("positive", "negative"):
            documents = getattr(self, side)
            if not documents:
                raise DataError(f"text contrast {self.name!r}: the {side} side has no documents; give at least one.")
            for index, document in enumerate(documents):
                if not document.strip():
                    raise DataError(
                        f"text contrast {self.name!r}: {side} document {index} is empty; leave empty texts out."
                    )
        if self.max_tokens is not None and self.max_tokens < 2:
            raise DataError(
                f"text contrast {self.name!r}: max_tokens is {self.max_tokens}; give 2 or more (BOS and one token)."
            )

    @property
    def n(self) -> int:
        """The number of documents of both sides."""
        return len(self.positive) + len(self.negative)

    @property
    def hash(self) -> str:
        """sha256 of the documents of both sides, in their order, and of where they are cut; the name does not enter."""
        content = [self.positive, self.negative, self.max_tokens]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
