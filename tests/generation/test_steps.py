"""A continuation token by token: its edits are those of a trace, and another one's are refused."""

import math
from typing import Any

import pytest
import torch

from lens_steer.errors import DataError
from lens_steer.generation import Decoding, generate
from lens_steer.generation.steps import token_steps
from lens_steer.generation.trace import trace
from lens_steer.hooks import Intervention

HOW = Decoding(max_new_tokens=5, stop_at_eos=False)


def push(strength: float, positions: str = "generated") -> Intervention:
    return Intervention.at("resid_post@1", torch.arange(16.0), strength, positions)


def test_edits_are_those_of_the_trace_and_kl_is_of_the_generated_tokens_alone(llama: Any, texts: list[str]) -> None:
    written = generate(llama, texts, push(0.5), HOW, record=True).continuations
    for text, entry in zip(texts, written, strict=True):
        steps = token_steps(llama, entry, push(0.5), HOW)
        edits = trace(llama, text, push(0.5), HOW)
        sizes = dict(edits.to_frame()[["position", "relative"]].itertuples(index=False, name=None))
        assert tuple(steps["piece"]) == edits.pieces
        assert steps["change"].tolist() == pytest.approx([sizes.get(place, 0.0) for place in steps["position"]])
        assert steps["kl"].dropna().tolist() == list(entry.record["kl"]) and steps["kl"].isna().sum() == len(
            entry.prompt_tokens
        )


def test_two_edits_of_a_token_add_and_an_unsteered_text_has_none(llama: Any) -> None:
    both = [push(0.5), push(0.5, "all")]
    twice = token_steps(llama, generate(llama, "The cat", both, HOW, record=True).continuations[0], both, HOW)
    assert twice["change"].iloc[-2] > twice["change"].iloc[0] > 0 == twice["change"].iloc[-1]
    plain = token_steps(llama, generate(llama, "The cat", (), HOW, record=True).continuations[0])
    assert plain["change"].eq(0).all() and math.isclose(plain["kl"].max(), 0, abs_tol=1e-6)


def test_a_continuation_without_a_record_or_of_another_edit_is_refused(llama: Any) -> None:
    with pytest.raises(DataError, match=r"no KL; write it with generate\(..., record=True\)"):
        token_steps(llama, generate(llama, "The cat", push(0.5), HOW).continuations[0], push(0.5), HOW)
    other = generate(llama, "The cat", push(9.0), HOW, record=True).continuations[0]
    assert other.tokens != generate(llama, "The cat", push(-9.0), HOW).continuations[0].tokens
    with pytest.raises(DataError, match="is not what these interventions write"):
        token_steps(llama, other, push(-9.0), HOW)
