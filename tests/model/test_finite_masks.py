"""Double precision with padding: the numbers of rows without padding, cached and not, steered and not."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, save_checkpoint

from lens_steer.errors import LogitError
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.model import load_model, next_logits, why_not_shared

ROWS = [[5, 9, 14, 13, 8, 7, 3], [7, 3, 5], [11]]
STRENGTHS = (0.0, 4.0)
Load = Callable[[str], Any]


@pytest.fixture
def double(tmp_path: Path) -> Load:
    """A small checkpoint of an architecture, in float64."""

    def load(name: str) -> Any:
        architecture = next(a for a in ARCHITECTURES if a.name == name)
        return load_model(save_checkpoint(architecture, tmp_path / "model"), dtype="float64")

    return load


def plan(model: Any, strength: float) -> list[Intervention]:
    direction = torch.linspace(-1, 1, int(model.cfg.d_model))
    return [Intervention.at("resid_post@0", direction, strength)] if strength else []


def written(model: Any, rows: Sequence[Sequence[int]], strength: float, cache: bool) -> list[tuple[int, ...]]:
    decoding = Decoding(max_new_tokens=9, stop_at_eos=False, cache=cache)
    return [entry.tokens for entry in generate(model, rows, plan(model, strength), decoding).continuations]


@pytest.mark.parametrize("name", ["Llama, tied", "GPT-2", "Mistral", "Gemma 3"])
def test_prompts_of_different_lengths_continue_in_float64_as_each_does_alone(double: Load, name: str) -> None:
    model = double(name)
    found = [[written(model, ROWS, strength, cache) for cache in (True, False)] for strength in STRENGTHS]
    for strength, (cached, uncached) in zip(STRENGTHS, found, strict=True):
        alone = [written(model, [row], strength, cache=False)[0] for row in ROWS]
        assert cached == uncached == alone
        with steer(model, *plan(model, strength)):
            together, each = next_logits(model, ROWS), torch.cat([next_logits(model, [row]) for row in ROWS])
        torch.testing.assert_close(together, each, rtol=1e-5, atol=1e-6)
    assert found[0] != found[1], "the steering shows"
    assert why_not_shared(model) == ""


def test_masks_are_transformers_own_but_during_a_pass_and_without_ours_a_window_of_padding_is_nan(
    double: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask

    model = double("Mistral")
    next_logits(model, ROWS)
    assert ALL_MASK_ATTENTION_FUNCTIONS["eager"] is eager_mask
    assert "eager" not in ALL_MASK_ATTENTION_FUNCTIONS._local_mapping
    monkeypatch.setattr(import_module("lens_steer.model.forward"), "finite_masks", lambda _: nullcontext())
    with pytest.raises(LogitError, match="are NaN"):
        next_logits(model, ROWS)


def test_an_architecture_that_makes_its_own_masks_is_refused_with_padding_and_right_without(double: Load) -> None:
    model = double("MPT")
    with pytest.raises(
        LogitError, match=r"runs in float64 and is not steered; load it in float32, or give batch_size=1"
    ):
        written(model, ROWS, 0.0, cache=True)
    decoding = Decoding(max_new_tokens=5, stop_at_eos=False)
    assert len(generate(model, ROWS, (), decoding, batch_size=1).continuations) == 3
