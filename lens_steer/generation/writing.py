"""What a row says while it is written: its text up to the first stop text, and what of it can be shown already.

    text       decode(prompt + tokens) - decode(prompt), without special tokens, up to the first stop text
    pieces     the text of each token, special tokens written out; together decode(prompt + tokens) - decode(prompt)
    shown      what cannot change any more, and cannot be the beginning of a stop text

A stop text is looked for in the text with special tokens written out and in the text without, so that it may be a
special token, hold one, or stand on both sides of one.
"""

from collections.abc import Iterator, Sequence

from lens_steer.model import SteerableModel, TextWriter, decode


class Writing:
    """The text of one continuation.

    Args:
        model: a loaded model with a tokenizer.
        given: the prompt's tokens and the prefill's.
        stops: the stop texts.
    """

    def __init__(self, model: SteerableModel, given: Sequence[int], stops: Sequence[str]) -> None:
        self._model, self._stops = model, stops
        self._said, self._full = TextWriter(model, given), TextWriter(model, given, special=True)
        self._text, self._pieces = "", list[str]()
        self._specials: list[tuple[int, int]] = []
        self._cut: int | None = None
        self._shown = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop text has appeared."""
        return self._cut is not None

    @property
    def text(self) -> str:
        """The text as it stands, without a stop text and what follows it."""
        return (self._text + self._said.rest())[: self._cut]

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each token says, as it stands."""
        return (*self._pieces[:-1], self._pieces[-1] + self._full.rest()) if self._pieces else ()

    def add(self, token: int) -> None:
        """Adds a token, and notes the first stop text where one appears."""
        before = len("".join(self.pieces)) if self._stops else 0
        self._text += self._said.add(token)
        self._pieces.append(self._full.add(token))
        if not self._stops:
            return
        written = "".join(self.pieces)
        if decode(self._model, [token], special=True) and not decode(self._model, [token]):
            self._specials.append((before, len(written)))
        found = [place for stop in self._stops if (place := self.text.find(stop)) >= 0]
        found += [self._without_specials(place) for stop in self._stops if (place := written.find(stop)) >= 0]
        self._cut = min(found, default=None)

    def show(self, ended: bool) -> str:
        """What can be shown of the text and has not been.

        Args:
            ended: whether the row has ended, so that the rest can be shown too.
        """
        text = self.text
        if not ended:
            waiting = [self._without_specials(place) for place in self._begun("".join(self._pieces))]
            text = self._text[: min([len(self._text), *waiting, *self._begun(self._text)])]
        fresh = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return fresh

    def _begun(self, text: str) -> Iterator[int]:
        """Where the end of a text may be the beginning of a stop text."""
        for stop in self._stops:
            lengths = range(min(len(stop) - 1, len(text)), 0, -1)
            length = next((n for n in lengths if text.endswith(stop[:n])), 0)
            yield len(text) - length

    def _without_specials(self, place: int) -> int:
        """A place in the text with special tokens written out, in the text without them."""
        before = sum(min(end, place) - start for start, end in self._specials if start < place)
        written = sum(map(len, self.pieces)) - sum(end - start for start, end in self._specials)
        lost = max(written - len(self._text + self._said.rest()), 0)  # a space that the text does not begin with
        return max(place - before - lost, 0)
