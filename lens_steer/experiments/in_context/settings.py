"""The settings of the comparison of in-context and function vectors."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InContext:
    """How vectors of in-context tasks are compared.

    `source` and `tasks`: the tasks of the package or of the lab, by name; all of them where there are no names.
    `n_shots`: examples of few-shot prompts, with right and with permuted labels. `layer`: of function vector and mean
    difference; ceil(layers / 3) where -1. `in_context_strengths` are in norms of the activation (Liu et al.'s 0.1 is
    mild), `raw_strengths` in vectors as extracted. `demonstrations`, `prompts`, `corrupted_prompts` and `corrupted`: of
    the function vector, as in `extraction.function_vector.Demonstrations`. `n_heads`: how many are summed; the paper's
    number where 0. `n_random`: controls of each kind. `most_validation`, `most_test`: the most pairs that are asked.
    `new_tokens`: of a written answer; `max_tokens`: of a neutral text.
    """

    source: Literal["package", "lab"] = "package"
    tasks: tuple[str, ...] = ()
    n_shots: int = 3
    layer: int = -1
    in_context_strengths: tuple[float, ...] = (0.1, 0.2, 0.4)
    raw_strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    demonstrations: int = 5
    prompts: int = 32
    corrupted_prompts: int = 12
    corrupted: Literal["shuffled", "zero_shot"] = "shuffled"
    n_heads: int = 0
    n_random: int = 20
    most_validation: int = 8
    most_test: int = 20
    new_tokens: int = 12
    max_tokens: int = 64
    batch_size: int = 64
    checkpoint: str | None = None
    seed: int = 0
