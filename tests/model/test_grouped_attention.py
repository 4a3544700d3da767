"""Attention by groups: the numbers of transformers' common attention, only where that is what a module uses."""

from typing import Any

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama
from transformers.models.qwen3 import modeling_qwen3

from lens_steer.model.grouped_attention import grouped_attention


class _Module(torch.nn.Module):
    """What attention asks of the module that calls it: three heads share one group of keys and values."""

    num_key_value_groups = 3


def choose(function: Any) -> Any:
    with grouped_attention():
        return ALL_ATTENTION_FUNCTIONS.get_interface("eager", function)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("new", [1, 5])
def test_groups_give_what_repeated_keys_and_values_give(masked: bool, new: int) -> None:
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, *shape, 8, generator=draw) for shape in ((6, new), (2, 9), (2, 9)))
    hidden = torch.rand(2, 1, new, 9, generator=draw) < 0.4
    mask = torch.zeros(2, 1, new, 9).masked_fill(hidden, -1e9) if masked else None
    own, module = modeling_llama.eager_attention_forward, _Module().eval()
    grouped = choose(own)
    assert grouped is not own
    wanted = own(module, query, key, value, mask, 0.3)
    for found, want in zip(grouped(module, query, key, value, mask, 0.3), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)
    swapped = grouped(module, query, key.flip(1), value.flip(1), mask, 0.3)[0]
    assert (swapped - wanted[0]).abs().max() > 0.1


def test_attention_that_does_more_keeps_its_own_function_and_afterwards_all_do() -> None:
    common, capped, other = (
        module.eager_attention_forward for module in (modeling_qwen3, modeling_gemma2, modeling_gpt2)
    )
    assert choose(common) is not common
    assert choose(capped) is capped and choose(other) is other and choose(torch.sin) is torch.sin
    assert ALL_ATTENTION_FUNCTIONS.get_interface("eager", common) is common
    with pytest.raises(RuntimeError), grouped_attention(), grouped_attention():
        raise RuntimeError
    assert "get_interface" not in vars(ALL_ATTENTION_FUNCTIONS)
