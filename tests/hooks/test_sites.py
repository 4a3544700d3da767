"""The site grammar."""

from typing import Any

import pytest
import torch

from lens_steer.errors import SiteError
from lens_steer.hooks.sites import HEADS, KINDS, Site, by_hook_name, check_site, parse_sites


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != HEADS])
def test_a_site_parses_prints_back_and_names_its_hook(kind: str) -> None:
    site = Site.parse(f"{kind}@12")
    assert site == Site(kind, 12) and str(site) == f"{kind}@12" and Site.parse(site) is site
    inside = {"mlp_input": "mlp.hook_in"}
    assert site.hook_name == f"blocks.12.{inside.get(kind, f'hook_{kind}')}"
    assert len({site, Site(kind, 12)}) == 1


def test_sites_are_ordered_by_kind_and_then_by_layer() -> None:
    mixed = [Site("resid_post", 10), Site("resid_post", 9), Site("attn_out", 11)]
    assert sorted(mixed) == [Site("attn_out", 11), Site("resid_post", 9), Site("resid_post", 10)]


def test_ranges_stars_and_lists_expand_in_order_and_once() -> None:
    assert [s.layer for s in parse_sites("resid_post@1:3", 4)] == [1, 2]
    assert [s.layer for s in parse_sites("mlp_out@*", 4)] == [0, 1, 2, 3]
    found = parse_sites(["attn_out@2", "resid_post@2:4", Site("resid_post", 3)], 4)
    assert [str(s) for s in found] == ["attn_out@2", "resid_post@2", "resid_post@3"]


@pytest.mark.parametrize(
    "site", ["resid_post", "resid_in@3", "resid_post@-1", "resid_post@x", "12", "resid_post@1:2", "z@5.", "z@1.*"]
)
def test_what_is_no_site_is_refused(site: str) -> None:
    with pytest.raises(SiteError, match="is not a site; expected kind@layer"):
        Site.parse(site)


def test_a_head_parses_prints_back_and_names_its_hook() -> None:
    site = Site.parse("z@5.3")
    assert site == Site("z", 5, 3) and str(site) == "z@5.3" and site.hook_name == "blocks.5.attn.hook_z"
    assert sorted([Site("z", 5, 10), Site("z", 5, 9), Site("resid_post", 7)]) == [
        Site("resid_post", 7),
        Site("z", 5, 9),
        Site("z", 5, 10),
    ]


def test_heads_expand_by_layer_and_head() -> None:
    assert [str(s) for s in parse_sites("z@1.*", 2, 3)] == ["z@1.0", "z@1.1", "z@1.2"]
    assert parse_sites("z@1", 2, 3) == parse_sites("z@1.*", 2, 3)
    assert parse_sites("z@*", 2, 2) == parse_sites("z@0:2", 2, 2) == parse_sites(["z@0", "z@1"], 2, 2)
    assert [str(s) for s in parse_sites(["z@*.1", "z@0.0", "z@0.1"], 2, 2)] == ["z@0.1", "z@1.1", "z@0.0"]


def test_heads_where_there_are_none_and_none_where_there_are_some_are_refused(llama: Any) -> None:
    with pytest.raises(SiteError, match=r"'z@5': z needs a head, such as 'z@5\.3'"):
        Site.parse("z@5")
    with pytest.raises(SiteError, match=r"'resid_post@5\.3': resid_post has no heads; only z has"):
        Site.parse("resid_post@5.3")
    with pytest.raises(SiteError, match="speaks of heads, and how many there are was not given"):
        parse_sites("z@*", 4)
    with pytest.raises(SiteError, match=r"'z@1\.2' does not exist: the model has 2 heads a layer, so z@1\.0 to z@1\.1"):
        check_site(llama, Site("z", 1, 2))


def test_a_heads_part_is_its_slice_and_put_changes_nothing_else() -> None:
    activation, part = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 5)
    site = Site("z", 0, 2)
    assert torch.equal(site.read(activation), activation[:, :, 2])
    written = site.put(activation, part)
    assert torch.equal(site.read(written), part) and not torch.equal(site.read(activation), part)
    assert torch.equal(written[:, :, [0, 1, 3]], activation[:, :, [0, 1, 3]])
    whole = torch.randn(2, 3, 20)
    assert Site("resid_mid", 0).read(whole) is whole and Site("resid_mid", 0).put(whole, whole) is whole
    with pytest.raises(SiteError, match=r"shape \(2, 3, 20\); expected \(batch, pos, heads, d_head\)"):
        site.read(whole)


def test_the_heads_of_a_layer_share_a_hook() -> None:
    sites = parse_sites(["z@0", "resid_mid@0"], 2, 2)
    assert by_hook_name(sites) == {"blocks.0.attn.hook_z": [*sites[:2]], "blocks.0.hook_resid_mid": [sites[2]]}


def test_parallel_blocks_have_no_resid_mid(neox: Any, llama: Any) -> None:
    check_site(llama, Site("resid_mid", 0))
    with pytest.raises(SiteError, match=r"'resid_mid@0' does not exist on this architecture .*side by side"):
        check_site(neox, Site("resid_mid", 0))


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
