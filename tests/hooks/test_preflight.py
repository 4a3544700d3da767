"""The preflight, on models that pass and on ones made to fail."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.hooks import hooked
from lens_steer.hooks.preflight import preflight
from lens_steer.hooks.sites import KINDS, Site


def test_every_site_of_both_architectures_passes_and_leaves_no_hooks(
    model: Any, count_hooks: Callable[[Any], int]
) -> None:
    found = preflight(model)
    assert len(found.checks) == (6 + model.cfg.n_heads) * model.cfg.n_layers
    for check in found.checks:
        assert check.passed and check.fires == 1 and check.reason == ""
        assert abs(check.share - 1) < 1e-3 and check.identity_error < 1e-5
        found.require(check.site)
    assert count_hooks(model) == 0
    assert list(found.to_frame()["site"])[:8] == [*(f"{kind}@0" for kind in KINDS if kind != "z"), "z@0.0", "z@0.1"]


def test_parallel_blocks_pass_but_for_resid_mid(neox: Any, count_hooks: Callable[[Any], int]) -> None:
    found = preflight(neox)
    failed = {str(check.site): check.reason for check in found.checks if not check.passed}
    assert set(failed) == {"resid_mid@0", "resid_mid@1"} and "side by side" in failed["resid_mid@0"]
    assert count_hooks(neox) == 0


def test_transformer_lens_own_resid_mid_reaches_the_mlp_only_and_would_fail(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight(llama).require("resid_mid@1")
    monkeypatch.setattr(Site, "write_name", Site.hook_name)
    with pytest.raises(SiteError, match=r"resid_mid@1 failed its preflight: .* of a written direction arrives"):
        preflight(llama).require("resid_mid@1")


def test_a_head_whose_write_spills_into_another_fails(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spill(site: Site, activation: Tensor, written: Tensor) -> Tensor:
        return written if site.head is None else written[:, :, None].expand_as(activation)

    monkeypatch.setattr(Site, "put", spill)
    with pytest.raises(SiteError, match=r"z@1.0 failed its preflight: attn_out moves by W_O\[0\]\^T v and no other"):
        preflight(llama).require("z@1.0")


def test_transformer_lens_resid_mid_would_fail_so_the_check_can(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def misplaced(site: Site) -> str:
        return f"blocks.{site.layer}.hook_{'resid_mid' if site.kind == 'attn_out' else site.kind}"

    monkeypatch.setattr(Site, "hook_name", property(misplaced))
    found = preflight(llama)
    with pytest.raises(SiteError, match=r"attn_out@1 failed its preflight: .* = resid_post misses by .* choose a site"):
        found.require("attn_out@1")


def test_a_block_that_rescales_its_output_fails_at_that_layer_only(llama: Any) -> None:
    def double(h: Tensor) -> Tensor:
        return 2 * h

    with hooked(llama, {"blocks.1.hook_resid_post": double}):
        found = preflight(llama)
    assert {check.site.layer for check in found.checks if not check.passed} == {1}
    with pytest.raises(SiteError, match="mlp_out@1 failed its preflight"):
        found.require("mlp_out@1")
    found.require("mlp_out@2")


def test_a_site_that_was_not_checked_is_refused(llama: Any) -> None:
    with pytest.raises(SiteError, match="resid_post@7 was not checked; the model has 3 layers"):
        preflight(llama).require("resid_post@7")


def test_a_missing_hook_is_reported_and_not_raised(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name: point for name, point in llama.hook_dict.items() if name != "blocks.2.hook_mlp_out"}
    monkeypatch.setattr(type(llama), "hook_dict", names)
    found = preflight(llama)
    with pytest.raises(SiteError, match=r"mlp_out@2 failed its preflight: does not exist at this layer"):
        found.require("mlp_out@2")
    found.require("mlp_out@1")
