"""The site grammar."""

from typing import Any

import pytest

from lens_steer.errors import SiteError
from lens_steer.sites import KINDS, Site, check_site, parse_sites


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_parses_prints_back_and_names_its_hook(kind: str) -> None:
    site = Site.parse(f"{kind}@12")
    assert site == Site(kind, 12) and str(site) == f"{kind}@12" and Site.parse(site) is site
    assert site.hook_name == f"blocks.12.hook_{kind}"
    assert len({site, Site(kind, 12)}) == 1


def test_sites_are_ordered_by_kind_and_then_by_layer() -> None:
    mixed = [Site("resid_post", 10), Site("resid_post", 9), Site("attn_out", 11)]
    assert sorted(mixed) == [Site("attn_out", 11), Site("resid_post", 9), Site("resid_post", 10)]


def test_ranges_stars_and_lists_expand_in_order_and_once() -> None:
    assert [s.layer for s in parse_sites("resid_post@1:3", 4)] == [1, 2]
    assert [s.layer for s in parse_sites("mlp_out@*", 4)] == [0, 1, 2, 3]
    found = parse_sites(["attn_out@2", "resid_post@2:4", Site("resid_post", 3)], 4)
    assert [str(s) for s in found] == ["attn_out@2", "resid_post@2", "resid_post@3"]


@pytest.mark.parametrize("site", ["resid_post", "resid_mid@3", "resid_post@-1", "resid_post@x", "12", "resid_post@1:2"])
def test_what_is_no_site_is_refused(site: str) -> None:
    with pytest.raises(SiteError, match="is not a site; expected kind@layer"):
        Site.parse(site)


def test_a_range_that_is_empty_or_leaves_the_model_is_refused() -> None:
    with pytest.raises(SiteError, match="'resid_post@3:3' is empty"):
        parse_sites("resid_post@3:3", 4)
    with pytest.raises(SiteError, match=r"'resid_post@4' does not exist: the model has 4 layers.*resid_post@3"):
        parse_sites("resid_post@2:6", 4)
    with pytest.raises(SiteError, match="no sites were given"):
        parse_sites([], 4)


def test_a_site_that_the_model_lacks_says_how_many_layers_there_are(llama: Any) -> None:
    check_site(llama, Site("resid_post", 2))
    with pytest.raises(SiteError, match="'resid_post@99' does not exist: the model has 3 layers"):
        check_site(llama, Site("resid_post", 99))


def test_a_hook_that_the_architecture_lacks_is_refused(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(llama), "hook_dict", {})
    with pytest.raises(SiteError, match="does not exist on this architecture"):
        check_site(llama, Site("mlp_out", 0))
