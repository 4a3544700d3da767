"""Models of which some layers have no attention: what is there is used, what is not is refused by layer and by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import ARCHITECTURES, save_checkpoint

from lens_steer.analysis.attribution import (
    ablate_heads,
    attribute_directly,
    attribute_reading,
    patch_back,
    token_contrast,
)
from lens_steer.errors import AttributionError, SiteError
from lens_steer.extraction import extract
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.preflight import preflight
from lens_steer.hooks.sites import Site
from lens_steer.model import load_model
from lens_steer.model.prefix import why_not_decoded

ROWS = [[5, 9, 14, 13, 8, 6, 7, 11], [7, 3, 15, 4, 6], [14, 8, 6]]


def loaded(name: str, folder: Path) -> Any:
    return load_model(save_checkpoint(next(a for a in ARCHITECTURES if a.name == name), folder))


@pytest.fixture(scope="module")
def jamba(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Layer 0 is a state-space layer with an MLP, layer 1 attention with experts."""
    return loaded("Jamba", tmp_path_factory.mktemp("models") / "jamba")


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loaded("Mamba", tmp_path_factory.mktemp("models") / "mamba")


def edit(model: Any, site: str) -> Intervention:
    return Intervention.at(site, torch.randn(int(model.cfg.d_model), generator=torch.Generator().manual_seed(0)))


def test_the_preflight_passes_what_a_state_space_layer_has_and_names_what_it_lacks(jamba: Any, mamba: Any) -> None:
    found = {str(check.site): check for check in preflight(jamba).checks}
    assert [site for site, check in found.items() if check.passed and check.site.layer == 0] == [
        "resid_pre@0", "mlp_out@0", "resid_post@0", "mlp_input@0",
    ]  # fmt: skip
    assert all(check.passed for check in found.values() if check.site.layer == 1)
    assert found["mlp_out@0"].share == pytest.approx(1, abs=1e-3) and found["mlp_out@0"].identity_error < 1e-3
    assert found["attn_out@0"].reason == (
        "does not exist at this layer; the first layer that has it is 1 (no hook 'blocks.0.hook_attn_out')"
    )
    passed = {str(check.site) for check in preflight(mamba).checks if check.passed}
    assert passed == {"resid_pre@0", "resid_post@0", "resid_pre@1", "resid_post@1"}
    assert not any("nan" in check.reason for model in (jamba, mamba) for check in preflight(model).checks)


def test_an_mlp_that_is_scaled_behind_its_site_fails_in_a_layer_without_attention(jamba: Any) -> None:
    module = jamba.original_model.model.layers[0].feed_forward
    handle = module.register_forward_hook(lambda _module, _args, output: 2 * output)
    found = preflight(jamba)
    handle.remove()
    with pytest.raises(SiteError, match=r"mlp_out@0 failed its preflight: resid_post moves by v .* misses by 1 of its"):
        found.require("mlp_out@0")


def test_a_site_that_a_layer_lacks_is_refused_with_what_the_layer_has(jamba: Any, mamba: Any) -> None:
    with pytest.raises(SiteError, match=r"'attn_out@0' does not exist at this layer; the first layer that has it is 1"):
        steer(jamba, edit(jamba, "attn_out@0")).__enter__()
    with pytest.raises(SiteError, match=r"choose another at layer 0: resid_pre, mlp_out, resid_post, mlp_input\."):
        extract(jamba, ["a"], ["b"], sites="z@0.1")
    with pytest.raises(SiteError, match=r"on this architecture .*; choose another at layer 1: resid_pre, resid_post\."):
        extract(mamba, ["a"], ["b"], sites="mlp_out@1")


def test_what_can_be_attributed_behind_an_edit_is_attributed_and_the_rest_is_refused(jamba: Any, mamba: Any) -> None:
    asked = token_contrast(jamba, ROWS, 40, 70)
    found = attribute_directly(jamba, asked, edit(jamba, "resid_post@0"))
    assert float(found.unexplained.abs().max()) < 1e-4 < 0.01 < float(found.measured.abs().max())
    with pytest.raises(AttributionError, match=r"layer 0 writes cannot be added up, because z@0.0 .*Use patch_back"):
        attribute_directly(jamba, asked, edit(jamba, "resid_pre@0"))
    parts = [part.label for part in patch_back(jamba, asked, edit(jamba, "resid_pre@0")).components]
    assert parts == ["mlp_out@0", "z@1.0", "z@1.1", "z@1.2", "z@1.3", "mlp_out@1"]
    vector = extract(jamba, ["a cat"], ["a dog"], sites="resid_pre@0")
    rows = attribute_reading(jamba, vector, "resid_pre@0", n_random=3).to_frame()
    assert set(rows["component"]) == {"z@1.0", "z@1.1", "z@1.2", "z@1.3"}, "experts and state-space layers have no rows"
    ablated = ablate_heads(jamba, asked, edit(jamba, "resid_pre@0"), [Site("z", 1, 0)], controls=2)
    assert all(site.layer == 1 for _, heads in ablated.sets for site in heads)
    with pytest.raises(AttributionError, match="no head, attention or MLP that is a site of this model comes after"):
        patch_back(mamba, asked, edit(mamba, "resid_pre@0"))
    with pytest.raises(AttributionError, match=r"no layer behind resid_pre@0 has heads or an MLP whose weights"):
        attribute_reading(mamba, extract(mamba, ["a"], ["b"], sites="resid_pre@0"), "resid_pre@0")


def test_padding_does_not_enter_a_recurrent_state_while_a_batch_is_decoded(jamba: Any, tmp_path: Path) -> None:
    griffin = loaded("RecurrentGemma", tmp_path / "griffin")
    assert why_not_decoded(jamba) == "" and "padding enters its recurrent state" in why_not_decoded(griffin)
    for model in (jamba, griffin):
        how = Decoding(max_new_tokens=4, stop_at_eos=False)
        together = [tuple(c.tokens) for c in generate(model, ROWS, edit(model, "resid_post@1"), how).continuations]
        alone = [
            tuple(generate(model, [row], edit(model, "resid_post@1"), how).continuations[0].tokens) for row in ROWS
        ]
        assert together == alone
