"""The preflight, on models that pass and on ones made to fail."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from lens_steer.errors import SiteError
from lens_steer.preflight import preflight
from lens_steer.sites import KINDS, Site
from lens_steer.steer import hooked


def test_every_site_of_both_architectures_passes_and_leaves_no_hooks(
    model: Any, count_hooks: Callable[[Any], int]
) -> None:
    found = preflight(model)
    assert len(found.checks) == 4 * model.cfg.n_layers
    for check in found.checks:
        assert check.passed and check.fires == 1 and check.reason == ""
        assert abs(check.share - 1) < 1e-3 and check.identity_error < 1e-5
        found.require(check.site)
    assert count_hooks(model) == 0
    assert list(found.to_frame()["site"])[:4] == [f"{kind}@0" for kind in KINDS]


def test_transformer_lens_resid_mid_would_fail_so_the_check_can(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def misplaced(site: Site) -> str:
        return f"blocks.{site.layer}.hook_{'resid_mid' if site.kind == 'attn_out' else site.kind}"

    monkeypatch.setattr(Site, "hook_name", property(misplaced))
    found = preflight(llama)
    with pytest.raises(SiteError, match=r"attn_out@1 failed its preflight: .* misses resid_post by .* choose a site"):
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
    with pytest.raises(SiteError, match=r"mlp_out@2 failed its preflight: .*does not exist on this architecture"):
        found.require("mlp_out@2")
    found.require("mlp_out@1")
