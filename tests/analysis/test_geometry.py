"""Cosines."""

import pytest
import torch

from lens_steer.analysis.geometry import cosine_map, layer_map
from lens_steer.errors import ScoreError
from lens_steer.vector import SteeringVector


def test_the_map_of_vectors_is_symmetric_with_ones_on_the_diagonal(vector: SteeringVector) -> None:
    noise = {site: torch.randn(16, generator=torch.Generator().manual_seed(site.layer)) for site in vector.sites}
    frame = cosine_map({"v": vector, "minus": -vector, "noise": vector.replaced("noise", noise)}, "resid_post@1")
    grid = frame.pivot(index="first", columns="second", values="cosine")
    assert grid.loc["v", "v"] == pytest.approx(1) and grid.loc["v", "minus"] == pytest.approx(-1)
    assert grid.loc["v", "noise"] == grid.loc["noise", "v"] == pytest.approx(-grid.loc["minus", "noise"])
    v, w = vector.at("resid_post@1"), noise[vector.sites[1]]
    assert grid.loc["v", "noise"] == pytest.approx(float(torch.cosine_similarity(v, w, dim=0)), abs=1e-6)
    assert set(frame["chance"]) == {0.25}


def test_the_map_of_layers_compares_every_two_sites(vector: SteeringVector) -> None:
    frame = layer_map(vector)
    assert len(frame) == 9
    grid = frame.pivot(index="first_site", columns="second_site", values="cosine")
    a, b = vector.at("resid_post@0"), vector.at("resid_post@2")
    want = float(torch.cosine_similarity(a, b, dim=0))
    assert grid.loc["resid_post@0", "resid_post@2"] == pytest.approx(want, abs=1e-6)
    assert grid.loc["resid_post@1", "resid_post@1"] == pytest.approx(1)


def test_no_vectors_are_refused() -> None:
    with pytest.raises(ScoreError, match="no vectors"):
        cosine_map({}, "resid_post@0")
