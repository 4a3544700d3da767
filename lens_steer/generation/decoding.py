"""Decoding settings: length, choice of tokens, and stopping.

    temperature 0   the most likely token
    otherwise       argmax_i (logit_i / temperature + g_i)       g_i = -log E_i,  E_i ~ Exp(1): the Gumbel-max trick
    top_p           restricts the choice to the most likely tokens that together reach this probability

Each prompt has its own generator, seeded by the seed and the prompt's index, which draws noise for the whole vocabulary
at each step. Continuations therefore do not depend on batch or padding, and the steered and the unsteered continuation
of a prompt use the same noise: where their distributions agree, they choose the same token. The noise is drawn on the
CPU and is the same for every device.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Decoding settings; see the module's formulas.

    A continuation ends after `max_new_tokens`, at each of the model's end-of-sequence tokens (unless `stop_at_eos` is
    false), or where one of the `stop` texts appears, which is removed from its text; a special token is a stop text
    too. `prefill` is a text that starts every answer: it follows the prompt, is tokenised with it, and is part of the
    positions `after_prompt` but not of `generated`. `cache` switches the key-value cache, which only affects speed.

    Raises:
        DataError: a number out of its range, or a stop text that is empty or no text.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: str | Sequence[str] = ()
    stop_at_eos: bool = True
    prefill: str = ""
    cache: bool = True

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise DataError(f"max_new_tokens {self.max_new_tokens}; give 1 or more.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise DataError(f"temperature {self.temperature}; give 0 (the likeliest token) or a number above 0.")
        if not 0 < self.top_p <= 1:
            raise DataError(f"top_p {self.top_p}; give a probability above 0, up to 1.")
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if not all(isinstance(stop, str) for stop in stops):
            raise DataError(f"stop texts {stops!r}; give texts, such as stop=('\\n', '<|im_end|>').")
        object.__setattr__(self, "stop", stops)
        if "" in stops:
            raise DataError("a stop text is empty and would end every continuation at once; leave it out.")

    def generators(self, prompts: Sequence[int]) -> list[torch.Generator]:
        """The random generator of each prompt.

        Args:
            prompts: the prompts' indices.

        Returns:
            A fresh CPU generator each, the same for the same seed and index.
        """
        seeds = [hashlib.sha256(f"{self.seed} {index}".encode()).digest()[:8] for index in prompts]
        return [torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1) for seed in seeds]

    def choose(
        self, logits: Float[Tensor, "batch d_vocab"], generators: Sequence[torch.Generator]
    ) -> Int[Tensor, " batch"]:
        """The next token of each row.

        Args:
            logits: of the next token, float32.
            generators: one a row; each is drawn from once.

        Returns:
            Token ids, on the device of the logits.
        """
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        scores = logits / self.temperature
        if self.top_p < 1:
            ordered, places = scores.sort(dim=-1, descending=True)
            shares = ordered.softmax(dim=-1)
            beyond = shares.cumsum(dim=-1) - shares >= self.top_p
            scores = scores.masked_fill(beyond.scatter(-1, places, beyond), -math.inf)
        blank = torch.empty(logits.shape[-1], dtype=torch.float32, device="cpu")
        noise = torch.stack([torch.empty_like(blank).exponential_(generator=one) for one in generators])
        return (scores - noise.log().to(scores.device)).argmax(dim=-1)
