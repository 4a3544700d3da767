"""The settings of a study of two lists, and the texts that stand in where none are given."""

from dataclasses import dataclass

from lens_steer.hooks import Scale

LEAST_CONTROLS = 19
"""Of fewer controls none can be beaten at p <= .05."""

LEAST_TEXTS, LEAST_NEUTRAL = 12, 12
LIMITING, LIMITING_TOKENS = 4, 12
"""Of the neutral texts, those that limit the strength, and their tokens; side effects are reported on the others."""

PROMPTS = (
    "The people in the next room said that",
    "When we came back in the evening, the house",
    "Here is what I think of the last week:",
    "The visitor looked around and",
)
"""What is continued where no prompts are given."""

NEUTRAL = (
    "The library is open from nine to five, and the reading room is on the second floor.",
    "Cut the board to a length of forty centimetres and drill two holes near each end.",
    "The river begins in the northern hills and reaches the sea after two hundred kilometres.",
    "A square has four equal sides, and its diagonals meet at a right angle.",
    "The committee meets on the first Monday of each month in the town hall.",
    "Water boils at a lower temperature on a mountain than at the level of the sea.",
    "The train stops at three stations before it turns to the west.",
    "To change the filter, switch the machine off and open the cover on the left side.",
    "The museum keeps maps, coins and letters from the seventeenth century.",
    "Most of the grain is carried by ship and stored near the harbour.",
    "The second chapter describes the streets of the city and the names of its gates.",
    "Add the flour to the milk, stir for two minutes and leave the dough to rest.",
)
"""Texts on which side effects are measured where none are given."""


@dataclass(frozen=True, kw_only=True)
class TextLists:
    """How two lists are studied.

    `read_at`: the tokens of a text that are averaged into its activation. `strengths` are tried in units of `scale`.
    `limit`: the most texts of a list, of more, that many are drawn. Texts are cut to `max_tokens`, BOS included.
    `n_shuffled` vectors of shuffled labels and `n_random` random directions go through the same choice. `fractions`:
    the shares of train, validation and test. `new_tokens` and `k`: of a continuation, and of each end of the lens.
    """

    sites: str | tuple[str, ...] = "resid_post@*"
    read_at: str = "content"
    positions: str = "all"
    scale: Scale = "relative"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.2)
    fractions: tuple[float, float, float] = (0.4, 0.2, 0.4)
    n_shuffled: int = LEAST_CONTROLS
    n_random: int = LEAST_CONTROLS
    limit: int = 60
    max_tokens: int = 48
    new_tokens: int = 24
    k: int = 10
    seed: int = 0
