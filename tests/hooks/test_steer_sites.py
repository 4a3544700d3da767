"""Steering at the two sites that are not one whole hook: the stream between attention and MLP, and single heads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.analysis.attribution import attribute_directly, token_contrast
from lens_steer.analysis.attribution.writing import writing_sites
from lens_steer.analysis.lens.stream import in_stream
from lens_steer.errors import AttributionError, DirectionError, SiteError
from lens_steer.extraction import extract
from lens_steer.extraction.record import record
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import forward, mlp_output, output_weights, pad, tokenize
from lens_steer.vector import SteeringVector, load_vector

V = torch.randn(16, generator=torch.Generator().manual_seed(3))
TOKENS = torch.tensor([[0, 40, 41, 42, 43]])
Count = Callable[[Any], int]


def logits(model: Any) -> Tensor:
    return forward(model, TOKENS, torch.ones_like(TOKENS))


def terms(model: Any, *interventions: Intervention) -> dict[str, Tensor]:
    """Every hook of layer 1 and the logits, under steering."""
    with steer(model, *interventions):
        out, cache = model.run_with_cache(TOKENS)
    return {"logits": out, **{name: cache[name] for name in cache if name.startswith("blocks.1.")}}


def double(activation: Tensor, direction: Tensor, strength: float) -> Tensor:
    """An operator that is not an addition: what it writes depends on all of the activation."""
    return activation + strength * activation * direction


def head(n: int) -> Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(n))


def test_a_write_at_resid_mid_reaches_the_mlp_and_the_stream(model: Any) -> None:
    plain, found = terms(model), terms(model, Intervention.at("resid_mid@1", V, 2.5))
    mid = found["blocks.1.hook_resid_mid"]
    torch.testing.assert_close(mid, plain["blocks.1.hook_resid_mid"] + 2.5 * V, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["blocks.1.hook_resid_post"] - found["blocks.1.hook_mlp_out"], mid)
    assert not torch.allclose(found["blocks.1.hook_mlp_out"], plain["blocks.1.hook_mlp_out"], atol=1e-2)


def test_an_operator_at_resid_mid_is_given_the_stream_itself(model: Any) -> None:
    plain = terms(model)
    found = terms(model, Intervention.at("resid_mid@1", V, 0.5, "2:4", operator=double))
    want = plain["blocks.1.hook_resid_mid"].clone()
    want[:, 2:4] *= 1 + 0.5 * V
    torch.testing.assert_close(found["blocks.1.hook_resid_mid"], want, rtol=0, atol=1e-5)
    attention_alone = terms(model, Intervention.at("attn_out@1", V, 0.5, "2:4", operator=double))
    assert not torch.allclose(attention_alone["blocks.1.hook_resid_mid"], want, atol=1e-2)


def test_resid_mid_sees_what_every_other_intervention_did_to_the_stream_before_it(model: Any) -> None:
    before, mid = Intervention.at("resid_pre@1", V, 3), Intervention.at("resid_mid@1", V, 0.5, operator=double)
    together = terms(model, before, mid)["blocks.1.hook_resid_mid"]
    torch.testing.assert_close(terms(model, mid, before)["blocks.1.hook_resid_mid"], together)
    with steer(model, mid):
        nested = terms(model, before)["blocks.1.hook_resid_mid"]
    torch.testing.assert_close(nested, together)
    assert not torch.allclose(terms(model, mid)["blocks.1.hook_resid_mid"], together, atol=1e-2)


def test_interventions_that_share_a_hook_act_once_each_and_in_order(model: Any) -> None:
    add, scale = Intervention.at("resid_mid@1", V, 2), Intervention.at("resid_mid@1", V, 0.5, operator=double)
    mid = terms(model)["blocks.1.hook_resid_mid"]
    for plans, want in (((add, scale), (mid + 2 * V) * (1 + 0.5 * V)), ((scale, add), mid * (1 + 0.5 * V) + 2 * V)):
        torch.testing.assert_close(terms(model, *plans)["blocks.1.hook_resid_mid"], want, rtol=0, atol=1e-4)
    attention = Intervention.at("attn_out@1", V.flip(0), 2)
    both = terms(model, attention, add)["blocks.1.hook_resid_mid"]
    torch.testing.assert_close(both, mid + 2 * V.flip(0) + 2 * V, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fixture", ["llama", "gpt2", "neox"])
def test_a_write_at_a_head_is_that_heads_slice_and_moves_attention_by_its_matrix(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(fixture)
    width, n = int(model.cfg.d_head), int(model.cfg.n_heads)
    v = torch.randn(width, generator=torch.Generator().manual_seed(4))
    plain, found = terms(model), terms(model, Intervention.at("z@1.1", v, 2.5, "3"))
    want = plain["blocks.1.attn.hook_z"].clone()
    assert want.shape == (1, 5, n, width)
    want[:, 3, 1] += 2.5 * v
    assert torch.equal(found["blocks.1.attn.hook_z"], want)
    moved = found["blocks.1.hook_attn_out"] - plain["blocks.1.hook_attn_out"]
    torch.testing.assert_close(moved[0, 3], 2.5 * v @ output_weights(model, 1)[1], rtol=1e-4, atol=1e-5)
    assert not moved[:, :3].any()


def test_two_heads_of_a_layer_and_one_head_twice_all_act(model: Any) -> None:
    plans = [Intervention.at("z@1.0", head(0), 2), Intervention.at("z@1.1", head(1)), Intervention.at("z@1.0", head(2))]
    want = terms(model)["blocks.1.attn.hook_z"]
    want = want + torch.stack([2 * head(0) + head(2), head(1)])
    torch.testing.assert_close(terms(model, *plans)["blocks.1.attn.hook_z"], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("site", "v"), [("resid_mid@1", V), ("z@1.0", head(0))])
def test_strength_zero_is_bit_identical_and_nothing_is_left_behind(
    model: Any, count_hooks: Count, site: str, v: Tensor
) -> None:
    plain = logits(model)
    for strength in (0, 3):
        with steer(model, Intervention.at(site, v, strength)):
            assert count_hooks(model) > 0
            assert torch.equal(logits(model), plain) == (strength == 0)
        assert count_hooks(model) == 0 and torch.equal(logits(model), plain)
    with pytest.raises(SiteError), steer(model, Intervention.at(site, v), Intervention.at("resid_mid@9", V)):
        pytest.fail("the body must not run")
    assert count_hooks(model) == 0


@pytest.mark.parametrize(("site", "v"), [("resid_mid@1", V), ("z@1.0", head(0))])
def test_cached_and_padded_passes_agree_with_plain_ones(llama: Any, texts: list[str], site: str, v: Tensor) -> None:
    rows = tokenize(llama, texts[:2])
    plan = Intervention.at(site, v, 5, "after_prompt")
    settings: dict[str, Any] = {"do_sample": False, "stop_at_eos": False, "verbose": False, "max_new_tokens": 6}
    with steer(llama, plan, prompt_lengths=5):
        cached, plain = (llama.generate(TOKENS, use_past_kv_cache=cache, **settings) for cache in (True, False))
    assert cached.tolist() == plain.tolist()
    with steer(llama, plan, prompt_lengths=[3, 4]):
        together = forward(llama, *pad(llama, rows))
    for i, row in enumerate(rows):
        with steer(llama, plan, prompt_lengths=[3 + i]):
            alone = forward(llama, *pad(llama, [row]))[0]
        torch.testing.assert_close(together[i, : len(row)], alone, rtol=0, atol=1e-4)
        assert (alone - forward(llama, *pad(llama, [row]))[0]).abs().max() > 1e-2


def test_gradients_flow_through_both(llama: Any) -> None:
    for site, v in (("resid_mid@1", V), ("z@1.0", head(0))):
        leaf = v.clone().requires_grad_()
        with steer(llama, Intervention.at(site, leaf)):
            llama(TOKENS)[0, -1, 0].backward()
        assert leaf.grad is not None and float(leaf.grad.abs().sum()) > 0
    llama.original_model.zero_grad()


def test_a_direction_as_long_as_the_model_is_wide_is_refused_at_a_head(llama: Any) -> None:
    with pytest.raises(DirectionError, match="the direction has 16 entries; the site is 8 wide"):
        with steer(llama, Intervention.at("z@1.0", V)):
            pytest.fail("the body must not run")


def test_heads_are_recorded_kept_in_vectors_and_saved(llama: Any, vector: SteeringVector, tmp_path: Any) -> None:
    sites = [Site("z", 1, 0), Site("z", 1, 1), Site("resid_mid", 1)]
    _, cache = llama.run_with_cache(TOKENS)
    (found,) = record(llama, TOKENS.tolist(), sites)
    for n in range(2):
        torch.testing.assert_close(found.activations[sites[n]], cache["blocks.1.attn.hook_z"][0, :, n])
    torch.testing.assert_close(found.activations[sites[2]], cache["blocks.1.hook_resid_mid"][0])
    mixed = replace(vector, directions={sites[1]: head(1), sites[2]: V}, activation_norms={s: 2.0 for s in sites})
    again = load_vector(mixed.save(tmp_path / "v.safetensors"), llama)
    assert torch.equal(again.at("z@1.1"), head(1)) and again.sites == (sites[2], sites[1])
    with steer(llama, Intervention.of(again, "z@1.1", 3.0, "relative")) as steering:
        logits(llama)
    assert steering.edited == [5]
    with pytest.raises(DirectionError, match=r"at z@1.1: shape \(16,\); expected \(8,\)"):
        replace(mixed, directions={sites[1]: V})
    with pytest.raises(SiteError, match=r"z@1.2 on a model of 2 heads a layer"):
        replace(mixed, directions={Site("z", 1, 2): head(1)})


def test_a_write_at_what_an_mlp_reads_reaches_the_mlp_alone(model: Any) -> None:
    edit = Intervention.at("mlp_input@1", V, 2.5, "2:4")
    plain, found = terms(model), terms(model, edit)
    for same in ("hook_resid_mid", "hook_attn_out"):
        torch.testing.assert_close(found[f"blocks.1.{same}"], plain[f"blocks.1.{same}"], rtol=0, atol=0)
    given = plain["blocks.1.mlp.hook_in"].clone()
    given[:, 2:4] += 2.5 * V
    expected = mlp_output(model, 1, given[0])
    torch.testing.assert_close(found["blocks.1.hook_mlp_out"][0], expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected, plain["blocks.1.hook_mlp_out"][0], atol=1e-2)


def test_what_an_mlp_reads_is_read_steered_saved_and_has_no_lens(model: Any, tmp_path: Path) -> None:
    (kept,) = record(model, ["a cat sat"], "mlp_input@1")
    own = terms(model)["blocks.1.mlp.hook_in"]
    assert kept.activations[Site("mlp_input", 1)].shape[1] == own.shape[-1]
    vector = extract(model, ["a cat", "one dog"], ["a house", "ten"], sites="mlp_input@1")
    again = load_vector(vector.save(tmp_path / "v.safetensors"), model)
    assert torch.equal(again.at("mlp_input@1"), vector.at("mlp_input@1"))
    with pytest.raises(SiteError, match="read by the MLP and never reaches the stream itself"):
        in_stream(model, vector, "mlp_input@1")


def test_an_edit_of_what_an_mlp_reads_is_attributed_to_what_the_mlp_writes(model: Any) -> None:
    asked = token_contrast(model, ["a cat sat"], 40, 41)
    found = attribute_directly(model, asked, [Intervention.at("mlp_input@1", V, 3.0)])
    values = dict(zip([one.label for one in found.components], found.values.T.tolist(), strict=True))
    assert values["edit mlp_input@1"] == [0] and abs(values["mlp_out@1"][0]) > 1e-3
    assert float(found.unexplained.abs().max()) < 1e-3
    with pytest.raises(AttributionError, match="stands behind a norm and is no sum"):
        writing_sites(model, "mlp_input@1")


def test_an_mlp_that_cannot_be_run_by_itself_is_refused_and_named(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_more(*_: Any) -> None:
        raise TypeError("missing 'residual'")

    monkeypatch.setattr(model.blocks[1].mlp.original_component, "forward", needs_more)
    with pytest.raises(SiteError, match=r"the MLP of layer 1 cannot be run by itself \(missing 'residual'\)"):
        mlp_output(model, 1, torch.zeros(2, 16))
