"""The settings of the open-ended evaluation."""

from dataclasses import dataclass
from typing import Literal

from lens_steer.hooks import Scale
from lens_steer.metrics.continuations import Normalisation


@dataclass(frozen=True, kw_only=True)
class OpenEnded:
    """How open-ended steering is evaluated.

    `prompts`: the items given, or statements of the lab's behaviours of the same names. `sites`: four, evenly spaced,
    where there are none. `read_at`: at which tokens of the training continuations. `positions`: which tokens are
    steered. `per_token`: likelihoods are means over the tokens of a continuation, else sums. `normalisation`: how c is
    used. `most_fall`: how far both groups of continuations may fall at a point, nats. `n_random` directions are
    controls of likelihoods, the first `n_written` of them of texts. `conversations` of `turns` turns each are written
    `samples` times, with at most `new_tokens` a turn.
    """

    prompts: Literal["items", "lab_statements"] = "items"
    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    scale: Scale = "relative"
    positions: str = "all"
    read_at: str = "after_prompt"
    chat: bool = False
    per_token: bool = True
    normalisation: Normalisation = "subtract"
    most_fall: float = 0.5
    n_random: int = 20
    n_written: int = 3
    conversations: int = 16
    turns: int = 2
    samples: int = 1
    new_tokens: int = 24
    temperature: float = 1.0
    workers: int = 1
    batch_size: int = 64
    checkpoint: str | None = None
    seed: int = 0
