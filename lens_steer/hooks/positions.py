"""Which tokens: rules over absolute positions of one unpadded sequence (the BOS token, where there is one, is 0).

    all            every token                     prompt          position <  prompt length
    last           position = total length - 1     last_prompt     position =  prompt length - 1
    answer         position = prompt length        after_prompt    position >= prompt length
    content        position >= 1: every token but the first, which is BOS or, where there is none, an attention sink
    generated      position >= given length: what the model has written itself
    after(k)       position >= k                   last_prompt(n)  the last n tokens of the prompt
    tokens(13,198) tokens with these ids           3  2:5  0,2:5,9 explicit positions and half-open spans
    ~a   a & b   a | b   (a | b) & ~c              not, and, or; the first binds most

The given length is the prompt's, unless the answer has been begun for the model: `after_prompt` takes in such a
beginning, `generated` does not. Of a completion that is scored, not generated, the two are the same. The first
generated token is chosen at the prompt's last position; to steer that choice too, say `last_prompt | after_prompt`.

A rule never depends on how a sequence is cut into forward passes or padded: it is given the absolute position of
every token of a chunk, whether the token is real, and the lengths it needs. Padding is never selected, by `~` neither.
This module knows no model; who runs the forward pass says where a chunk begins (`lens_steer.hooks`). `last` is the
last token of the sequence of one forward pass: while generating it moves, so `lens_steer.hooks` refuses it there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.errors import PositionError

RULES = ("all", "content", "prompt", "last", "last_prompt", "answer", "after_prompt", "generated")
CALLS = ("after", "last_prompt", "tokens")
_JOINS = {"or": " | ", "and": " & ", "not": "~"}
_OF_PROMPT = {"prompt", "last_prompt", "answer", "after_prompt", "generated"}
_SPAN = re.compile(r"(\d+)(?::(\d+))?")
_CALL = re.compile(rf"({'|'.join(CALLS)})\(([\d,\s]*)\)")
_WORD = re.compile(rf"{_CALL.pattern}|[|&~()]|[^|&~()\s][^|&~()]*")


@dataclass(frozen=True)
class Positions:
    """One position rule; made by `Positions.parse`, and joined to others by `|`, `&` and `~`.

    `rule` is a name of `RULES` or `CALLS`, or `spans`, `or`, `and`, `not`; `numbers` are what a call is given, `parts`
    the rules that are joined.

    Raises:
        PositionError: an unknown rule, or spans or numbers that are missing, empty or negative.
    """

    rule: str = "all"
    spans: tuple[tuple[int, int], ...] = ()
    numbers: tuple[int, ...] = ()
    parts: tuple["Positions", ...] = ()

    def __post_init__(self) -> None:
        if self.rule == "spans":
            if not self.spans or any(not 0 <= start < stop for start, stop in self.spans):
                raise PositionError(
                    f"spans {self.spans} do not name positions; give half-open spans such as 2:5, counted from 0 (BOS)."
                    " The last 4 tokens of the prompt are 'last_prompt(4)'."
                )
        elif self.rule in CALLS and self.numbers:
            least = 1 if self.rule == "last_prompt" else 0
            if min(self.numbers) < least or (self.rule != "tokens" and len(self.numbers) > 1):
                wanted = "token ids" if self.rule == "tokens" else f"one number, {least} or more"
                raise PositionError(f"position rule {str(self)!r}: give {wanted}.")
        elif self.rule not in (_JOINS if self.parts else RULES) or self.spans or self.numbers:
            raise PositionError(_unknown(self.rule))

    @classmethod
    def parse(cls, rule: "str | int | Sequence[int] | Positions") -> "Positions":
        """Reads a rule by name, explicit absolute positions, or an expression of these.

        Args:
            rule: a rule's name, `"2:5"`, `"0,2:5,9"`, one position, a list of positions, an expression such as
                `"last_prompt | after_prompt & ~tokens(13)"`, or a rule.

        Returns:
            The rule. `str(rule)` gives back what parses to it.

        Raises:
            PositionError: it is none of these.

        Example:
            >>> str(Positions.parse("~(0:4|last_prompt(2))") & Positions.parse("after(3)"))
            '~(0:4 | last_prompt(2)) & after(3)'
        """
        if isinstance(rule, Positions):
            return rule
        if isinstance(rule, str):
            words = [match[0].strip() for match in _WORD.finditer(rule)]
            try:
                found = _take_union(words)
            except RecursionError:
                found = None
            if found is None or words:
                raise PositionError(_unknown(rule))
            return found
        indices: list[Any] = list(rule) if isinstance(rule, Iterable) and not isinstance(rule, Mapping) else [rule]
        if not all(isinstance(index, Integral) and not isinstance(index, bool) for index in indices):
            raise PositionError(_unknown(rule))
        return cls("spans", tuple((index, index + 1) for index in indices))

    def __or__(self, other: "Positions") -> "Positions":
        return _joined("or", self, other)

    def __and__(self, other: "Positions") -> "Positions":
        return _joined("and", self, other)

    def __invert__(self) -> "Positions":
        return Positions("not", parts=(self,))

    def __str__(self) -> str:
        if self.spans:
            return ",".join(f"{start}" if stop == start + 1 else f"{start}:{stop}" for start, stop in self.spans)
        if self.numbers:
            return f"{self.rule}({','.join(map(str, self.numbers))})"
        inner = [f"({part})" if part.rule in ("or", "and") else str(part) for part in self.parts]
        if self.rule == "not":
            return f"~{inner[0]}"
        return _JOINS[self.rule].join(inner) if inner else self.rule

    @property
    def atoms(self) -> frozenset[str]:
        """The names of the rules that this one is made of."""
        return frozenset({self.rule}) if not self.parts else frozenset().union(*(part.atoms for part in self.parts))

    @property
    def needs_prompt_lengths(self) -> bool:
        """Whether the rule speaks of the prompt, so that its length must be known."""
        return bool(self.atoms & _OF_PROMPT)

    @property
    def needs_total_lengths(self) -> bool:
        """Whether the rule speaks of the end of the sequence."""
        return "last" in self.atoms

    @property
    def needs_tokens(self) -> bool:
        """Whether the rule asks which tokens there are."""
        return "tokens" in self.atoms

    @property
    def needs_places(self) -> bool:
        """Whether the rule asks where in its sequence a token stands."""
        return not self.atoms <= {"all", "tokens"}

    def resolve(
        self,
        absolute: Int[Tensor, "batch pos"],
        valid: Bool[Tensor, "batch pos"],
        prompt_lengths: Int[Tensor, " batch"] | None = None,
        total_lengths: Int[Tensor, " batch"] | None = None,
        given_lengths: Int[Tensor, " batch"] | None = None,
        tokens: Int[Tensor, "batch pos"] | None = None,
    ) -> Bool[Tensor, "batch pos"]:
        """The tokens of one chunk that the rule selects.

        Args:
            absolute: the absolute position of each token of the chunk (anything where it is padding).
            valid: whether the token is real; padding is never selected.
            prompt_lengths: tokens of each row's prompt, BOS included, padding excluded.
            total_lengths: tokens of each row's whole sequence so far, padding excluded.
            given_lengths: tokens of each row that the model has not written itself; the prompt's where absent.
            tokens: the ids of the chunk's tokens.

        Returns:
            True where the rule selects the token.

        Raises:
            PositionError: the rule needs lengths or tokens that were not given.
        """
        if self.needs_prompt_lengths and prompt_lengths is None:
            raise PositionError(
                f"position rule {str(self)!r} needs the prompt's length in each row; pass prompt_lengths "
                "(tokens of the prompt, BOS included), or use 'all', 'last' or explicit positions."
            )
        if self.needs_total_lengths and total_lengths is None:
            raise PositionError(f"position rule {str(self)!r} needs each row's total length; pass total_lengths.")
        if self.needs_tokens and tokens is None:
            raise PositionError(f"position rule {str(self)!r} needs the ids of the tokens, which are not known here.")
        if self.rule == "all":
            return valid.clone()
        given = prompt_lengths if given_lengths is None else given_lengths
        edges = [None if n is None else n.to(absolute.device)[:, None] for n in (prompt_lengths, total_lengths, given)]
        return self._select(absolute, tokens, edges) & valid

    def _select(self, absolute: Tensor, tokens: Tensor | None, edges: Sequence[Any]) -> Tensor:
        """What the rule says of each token, real or not."""
        if self.rule == "tokens" and tokens is not None:
            return torch.isin(tokens, torch.tensor(self.numbers, device=tokens.device))
        if not self.parts:
            found = torch.zeros_like(absolute, dtype=torch.bool)
            for start, stop in self._intervals(*edges):
                found |= (absolute >= start) if stop is None else (absolute >= start) & (absolute < stop)
            return found
        found, *others = [part._select(absolute, tokens, edges) for part in self.parts]
        for other in others:
            found = found & other if self.rule == "and" else found | other
        return ~found if self.rule == "not" else found

    def _intervals(self, prompt: Any, total: Any, given: Any) -> Sequence[tuple[Any, Any]]:
        """A rule without parts as half-open intervals of absolute positions, by the lengths; None is no end."""
        n = self.numbers[0] if self.numbers else 1
        match self.rule:
            case "all":
                return [(0, None)]
            case "content" | "after":
                return [(n, None)]
            case "prompt":
                return [(0, prompt)]
            case "last":
                return [(total - 1, total)]
            case "last_prompt":
                return [(prompt - n, prompt)]
            case "answer":
                return [(prompt, prompt + 1)]
            case "after_prompt":
                return [(prompt, None)]
            case "generated":
                return [(given, None)]
            case _:
                return self.spans


def _joined(join: str, one: Positions, other: Positions) -> Positions:
    """Two rules joined; a row of the same join stays flat, so that it parses as it prints."""
    parts = [part for rule in (one, other) for part in (rule.parts if rule.rule == join else (rule,))]
    return Positions(join, parts=tuple(parts))


def _take_union(words: list[str]) -> Positions | None:
    """Takes rules joined by `|` off the front of the words; None where there are none."""
    rule = _take_intersection(words)
    while rule is not None and words[:1] == ["|"]:
        del words[0]
        other = _take_intersection(words)
        rule = other and rule | other
    return rule


def _take_intersection(words: list[str]) -> Positions | None:
    """Takes rules joined by `&`."""
    rule = _take_one(words)
    while rule is not None and words[:1] == ["&"]:
        del words[0]
        other = _take_one(words)
        rule = other and rule & other
    return rule


def _take_one(words: list[str]) -> Positions | None:
    """Takes one rule: denied by `~`, in brackets, a name, a call, or spans."""
    word = words.pop(0) if words else ""
    if word == "~":
        rule = _take_one(words)
        return rule and ~rule
    if word == "(":
        rule = _take_union(words)
        return rule if words and words.pop(0) == ")" else None
    if word in RULES:
        return Positions(word)
    if call := _CALL.fullmatch(word):
        given = call[2].split(",") if call[2].strip() else []
        return Positions(call[1], numbers=tuple(int(number) for number in given if number.strip()))
    parts = [_SPAN.fullmatch(part.strip()) for part in word.split(",")]
    spans = [(int(p[1]), int(p[2]) if p[2] else int(p[1]) + 1) for p in parts if p]
    return Positions("spans", tuple(spans)) if len(spans) == len(parts) else None


def _unknown(rule: object) -> str:
    """What to say about a rule that does not parse."""
    return (
        f"{rule!r} is not a position rule; expected one of {', '.join(RULES)}, after(3), last_prompt(4), "
        "tokens(13,198), a span such as '2:5' (from 2 up to, not including, 5), absolute positions such as '0,4' "
        "counted from the start of the unpadded sequence, or these joined by |, & and ~."
    )
