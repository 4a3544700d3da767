"""Extraction, against a literal loop over TransformerLens' own cache."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.data.contrast import ContrastPair, ContrastSet, contrast_from_choices
from lens_steer.errors import DirectionError, MethodError, PositionError
from lens_steer.extract import extract
from lens_steer.model import fingerprint, tokenize
from lens_steer.sites import Site


def last(model: Any, text: str, site: Site) -> Tensor:
    """The activation of the last token of one text."""
    _, cache = model.run_with_cache(torch.tensor(tokenize(model, [text])))
    return cache[site.hook_name][0, -1].detach()


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_the_direction_is_the_mean_difference_of_last_tokens(model: Any, items: Any, answer: Any) -> None:
    contrast = contrast_from_choices("x", items[:3], answer=answer)
    vector = extract(model, contrast, ["resid_post@*", "attn_out@1"], batch_size=4)
    for site in (Site("resid_post", 0), Site("resid_post", 1), Site("attn_out", 1)):
        up = torch.stack([last(model, pair.prompt + pair.positive, site) for pair in contrast.pairs])
        down = torch.stack([last(model, pair.prompt + pair.negative, site) for pair in contrast.pairs])
        torch.testing.assert_close(vector.at(site), up.mean(0) - down.mean(0), rtol=0, atol=1e-5)
        median = torch.cat([up, down]).norm(dim=1).median()
        assert vector.activation_norm(site) == pytest.approx(float(median), rel=1e-5)


def test_the_batch_size_changes_nothing(model: Any, contrast: ContrastSet) -> None:
    one, many = extract(model, contrast, batch_size=1), extract(model, contrast, batch_size=64)
    for site in one.sites:
        torch.testing.assert_close(one.at(site), many.at(site), rtol=0, atol=1e-5)


def test_the_vector_says_where_it_comes_from(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, "resid_post@1")
    assert (vector.name, vector.method, vector.position) == ("money", "mean_difference", "last")
    assert (vector.n_positive, vector.n_negative, vector.data_hash) == (12, 12, contrast.hash)
    assert vector.fingerprint == fingerprint(llama) and vector.options == {"pairs": 12}
    assert "transformer-lens" in vector.versions


def test_positions_after_the_prompt_read_every_token_of_the_completion(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, "resid_post@1", position="after_prompt")
    completions = [side for pair in contrast.pairs for side in (pair.positive, pair.negative)]
    prompts = tokenize(llama, [pair.prompt for pair in contrast.pairs for _ in range(2)])
    whole = tokenize(llama, [p.prompt + side for p in contrast.pairs for side in (p.positive, p.negative)])
    extra = [len(row) - len(prompt) for row, prompt in zip(whole, prompts, strict=True)]
    assert len(completions) == len(extra) and min(extra) > 1
    assert vector.n_positive == sum(extra[0::2]) and vector.n_negative == sum(extra[1::2])


def test_a_position_that_a_sequence_lacks_is_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(PositionError, match="pair 'q0/matching-first': position '90' selects no token of one side"):
        extract(llama, contrast, position="90")


def test_a_prompt_that_merges_with_its_completion_has_no_length(llama: Any) -> None:
    pair = ContrastPair(id="p", prompt="The c", positive="at sat", negative="x")
    merging = ContrastSet(name="m", pairs=(pair,))
    with pytest.raises(PositionError, match="pair 'p': the prompt's tokens change when it is completed"):
        extract(llama, merging, position="answer")
    assert extract(llama, merging).n_positive == 1


def test_sides_that_do_not_differ_at_the_position_are_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(DirectionError, match="at resid_post@0: the direction is zero"):
        extract(llama, contrast, position="0")


def test_an_unknown_method_is_refused(llama: Any, contrast: ContrastSet) -> None:
    with pytest.raises(MethodError, match="'means' is not a method"):
        extract(llama, contrast, method="means")
