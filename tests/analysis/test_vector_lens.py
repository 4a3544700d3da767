"""The vector lens, against a literal norm and unembedding."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.analysis.lens import vector_lens
from lens_steer.errors import MismatchError, ScoreError
from lens_steer.vector import SteeringVector


def literal(model: Any, v: Tensor) -> Tensor:
    """(W_U RMSNorm(v) - W_U RMSNorm(-v)) / 2, from the Hugging Face weights."""
    hf = model.original_model
    inner = hf.model.norm
    weight, epsilon = inner.weight, model.cfg.eps
    normed = v / (v.pow(2).mean() + epsilon).sqrt() * weight
    return (normed @ hf.get_output_embeddings().weight.T).detach()


def test_the_tokens_and_logits_are_those_of_the_formula(llama: Any, vector: SteeringVector) -> None:
    frame = vector_lens(llama, vector, "resid_post@1", k=4)
    want = literal(llama, vector.at("resid_post@1"))
    top, bottom = frame[frame["end"] == "top"], frame[frame["end"] == "bottom"]
    assert top["token_id"].tolist() == want.topk(4).indices.tolist()
    assert bottom["token_id"].tolist() == want.topk(4, largest=False).indices.tolist()
    torch.testing.assert_close(torch.tensor(top["logit"].tolist()), want.topk(4).values, rtol=1e-4, atol=1e-4)
    assert top["rank"].tolist() == [1, 2, 3, 4]
    assert top["token"].tolist() == [llama.tokenizer.decode([token]) for token in top["token_id"].tolist()]


def test_the_reading_of_minus_v_is_upside_down_and_length_does_not_matter(llama: Any, vector: SteeringVector) -> None:
    plain = vector_lens(llama, vector, "resid_post@1", k=3)
    turned = vector_lens(llama, -vector, "resid_post@1", k=3)
    longer = vector_lens(llama, 100 * vector, "resid_post@1", k=3)
    assert plain["token_id"].tolist()[:3] == turned["token_id"].tolist()[3:]
    assert plain["token_id"].tolist() == longer["token_id"].tolist()


def test_a_foreign_vector_and_an_impossible_k_are_refused(llama: Any, gpt2: Any, vector: SteeringVector) -> None:
    with pytest.raises(MismatchError, match="and the model of the lens are of different models"):
        vector_lens(gpt2, vector, "resid_post@1")
    with pytest.raises(ScoreError, match="k is 0; give 1 to"):
        vector_lens(llama, vector, "resid_post@1", k=0)
