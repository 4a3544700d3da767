"""Which tokens: rules over absolute positions of one unpadded sequence (the BOS token, where there is one, is 0).

    all            every token                     prompt          position <  prompt length
    last           position = total length - 1     last_prompt     position =  prompt length - 1
    answer         position = prompt length        after_prompt    position >= prompt length
    content        position >= 1: every token but the first, which is BOS or, where there is none, an attention sink
    3   2:5   0,2:5,9                              explicit positions and half-open spans

A rule never depends on how a sequence is cut into forward passes or padded: it is given the absolute position of
every token of a chunk, whether the token is real, and the lengths it needs. Padding is never selected. This module
knows no model; who runs the forward pass says where a chunk begins (`lens_steer.steer`). `last` is the last token of
the sequence of one forward pass: while generating it moves, so `lens_steer.steer` refuses it there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lens_steer.errors import PositionError

RULES = ("all", "content", "prompt", "last", "last_prompt", "answer", "after_prompt")
_SPAN = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Positions:
    """One position rule; made by `Positions.parse`.

    Raises:
        PositionError: an unknown rule, or spans that are missing, empty or negative.
    """

    rule: str = "all"
    spans: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.rule == "spans":
            if not self.spans or any(not 0 <= start < stop for start, stop in self.spans):
                raise PositionError(
                    f"spans {self.spans} do not name positions; give half-open spans such as 2:5, counted from 0 (BOS)."
                )
        elif self.rule not in RULES or self.spans:
            raise PositionError(_unknown(self.rule))

    @classmethod
    def parse(cls, rule: "str | int | Sequence[int] | Positions") -> "Positions":
        """Reads a rule by name, or explicit absolute positions.

        Args:
            rule: a rule's name, `"2:5"`, `"0,2:5,9"`, one position, a list of positions, or a rule.

        Returns:
            The rule. `str(rule)` gives back what parses to it.

        Raises:
            PositionError: it is none of these.
        """
        if isinstance(rule, Positions):
            return rule
        if isinstance(rule, str):
            if rule in RULES:
                return cls(rule)
            parts = [_SPAN.fullmatch(part.strip()) for part in rule.split(",")]
            spans = [(int(p[1]), int(p[2]) if p[2] else int(p[1]) + 1) for p in parts if p]
            if len(spans) < len(parts):
                raise PositionError(_unknown(rule))
            return cls("spans", tuple(spans))
        indices = [rule] if isinstance(rule, int) else list(rule)
        return cls("spans", tuple((index, index + 1) for index in indices))

    def __str__(self) -> str:
        if self.rule != "spans":
            return self.rule
        return ",".join(f"{start}" if stop == start + 1 else f"{start}:{stop}" for start, stop in self.spans)

    @property
    def needs_prompt_lengths(self) -> bool:
        """Whether the rule speaks of the prompt, so that its length must be known."""
        return self.rule in ("prompt", "last_prompt", "answer", "after_prompt")

    @property
    def needs_total_lengths(self) -> bool:
        """Whether the rule speaks of the end of the sequence."""
        return self.rule == "last"

    def resolve(
        self,
        absolute: Int[Tensor, "batch pos"],
        valid: Bool[Tensor, "batch pos"],
        prompt_lengths: Int[Tensor, " batch"] | None = None,
        total_lengths: Int[Tensor, " batch"] | None = None,
    ) -> Bool[Tensor, "batch pos"]:
        """The tokens of one chunk that the rule selects.

        Args:
            absolute: the absolute position of each token of the chunk (anything where it is padding).
            valid: whether the token is real; padding is never selected.
            prompt_lengths: tokens of each row's prompt, BOS included, padding excluded.
            total_lengths: tokens of each row's whole sequence so far, padding excluded.

        Returns:
            True where the rule selects the token.

        Raises:
            PositionError: the rule needs lengths that were not given.
        """
        if self.needs_prompt_lengths and prompt_lengths is None:
            raise PositionError(
                f"position rule {self.rule!r} needs the prompt's length in each row; pass prompt_lengths "
                "(tokens of the prompt, BOS included), or use 'all', 'last' or explicit positions."
            )
        if self.needs_total_lengths and total_lengths is None:
            raise PositionError("position rule 'last' needs each row's total length; pass total_lengths.")
        if self.rule == "all":
            return valid.clone()
        if self.rule == "content":
            return (absolute >= 1) & valid
        if self.rule == "spans":
            inside = torch.zeros_like(valid)
            for start, stop in self.spans:
                inside |= (absolute >= start) & (absolute < stop)
            return inside & valid
        lengths = total_lengths if self.needs_total_lengths else prompt_lengths
        edge = torch.as_tensor(lengths, device=absolute.device)[:, None]
        if self.rule == "prompt":
            return (absolute < edge) & valid
        if self.rule in ("last", "last_prompt"):
            return (absolute == edge - 1) & valid
        return (absolute == edge if self.rule == "answer" else absolute >= edge) & valid


def _unknown(rule: object) -> str:
    """What to say about a rule that does not parse."""
    return (
        f"{rule!r} is not a position rule; expected one of {', '.join(RULES)}, a span such as '2:5' (from 2 up to, not "
        "including, 5), or absolute positions such as '0,4' counted from the start of the unpadded sequence."
    )
