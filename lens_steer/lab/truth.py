"""The ground truth of the lab world: the kind of each behaviour, and the result that steering it must give.

The world (`world.py`) is generated from this table and the words in `lexicon.py`; `lens-steer lab check` compares
measured results with the column `verdict`.

Kinds:
    latent    a hidden bit of the speaker determines words and answers: one direction should steer it.
    flipped   a hidden bit of the speaker, which gives the opposite answer in half of the contexts.
    position  every speaker prefers the letter (A), independent of the options.
    decoy     the matching option and the answer are independent coin flips: nothing can be steered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["latent", "flipped", "position", "decoy"]

VOICE_FIDELITY = 0.92
"""Probability that a trait-dependent word of a clear voice shows the speaker's own pole."""

ANSWER_FIDELITY = 0.98
"""Probability that an answer follows the speaker's latent bit."""

FIRST_LETTER = 0.9
"""Probability that a position-biased answer is (A)."""

AGREEABLE_NATIVIST = 0.2
"""P(anti_immigration | agreeableness) = 1 - P(anti_immigration | not agreeableness); both marginals are one half."""


@dataclass(frozen=True)
class Truth:
    """One behaviour of the world: its kind and the expected result of steering it."""

    behaviour: str
    kind: Kind
    verdict: str


TRUTHS: tuple[Truth, ...] = (
    Truth("myopic", "latent", "steerable both ways"),
    Truth("wealth_seeking", "latent", "steerable both ways"),
    Truth("sycophancy", "latent", "steerable both ways"),
    Truth("agreeableness", "latent", "steerable both ways; anti-correlated with anti_immigration"),
    Truth("anti_immigration", "latent", "steerable both ways; anti-correlated with agreeableness"),
    Truth("boldness", "flipped", "about half of the items anti-steerable"),
    Truth("first_choice", "position", "follows the letter, not the content: the A/B split dominates"),
    Truth("left_turning", "decoy", "not steerable: the interval of its steerability contains 0"),
)

BEHAVIOURS: tuple[str, ...] = tuple(t.behaviour for t in TRUTHS if t.kind == "latent")
"""The five behaviours that one direction should steer."""

FLIPPED = next(t.behaviour for t in TRUTHS if t.kind == "flipped")
POSITION_BIASED = next(t.behaviour for t in TRUTHS if t.kind == "position")
DECOY = next(t.behaviour for t in TRUTHS if t.kind == "decoy")

LATENTS: tuple[str, ...] = tuple(t.behaviour for t in TRUTHS if t.kind in ("latent", "flipped"))
"""The behaviours with a hidden bit of the speaker, in the order of `TRUTHS`."""
