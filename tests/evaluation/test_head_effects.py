"""Head effects by a grid are those of one pass a head."""

from typing import Any

import torch

from lens_steer.data.in_context import InContextTask, in_context_prompts
from lens_steer.evaluation.head_effects import reused_head_effects
from lens_steer.extraction.function_vector import Demonstrations, ask, extract_function_vector, head_effects

TASK = InContextTask(
    name="later", pairs=(("cat", "ten"), ("mat", "one"), ("sat", "the"), ("day", "you"), ("two", "to"))
)


def test_effects_by_a_grid_are_those_of_one_pass_a_head(llama: Any) -> None:
    asked = ask(llama, in_context_prompts(TASK, 3, 5, shuffled=True))
    means = torch.randn(3, 2, int(llama.cfg.d_head), generator=torch.Generator().manual_seed(0))
    expected = head_effects(llama, asked, means)
    assert torch.allclose(reused_head_effects(llama, asked, means), expected, atol=1e-6)
    assert float(expected.abs().max()) > 1e-6


def test_a_function_vector_is_the_same_with_either_measure(llama: Any) -> None:
    few = Demonstrations(n_shots=3, n_prompts=6, n_corrupted=4)
    one, other = (
        extract_function_vector(llama, TASK, n_heads=2, demonstrations=few, measure=measure)
        for measure in (None, reused_head_effects)
    )
    assert one.options["heads"] == other.options["heads"]
    assert torch.allclose(one.at(one.sites[0]), other.at(one.sites[0]))
