"""Cosines, subspaces, profiles and planes, each with its control."""

from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.analysis.geometry import (
    activation_plane,
    cosine_atlas,
    cosine_map,
    effective_ranks,
    energy_profile,
    half_directions,
    layer_map,
    norm_profile,
    pair_letters,
    subspace_angles,
)
from lens_steer.analysis.lens import in_stream
from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import MismatchError, ScoreError, SiteError
from lens_steer.extraction import contrast_activations, extract
from lens_steer.extraction.methods import METHODS
from lens_steer.hooks.sites import Site
from lens_steer.metrics.geometry import cosine_band
from lens_steer.metrics.significance import holm
from lens_steer.vector import SteeringVector, random_like

LAST = Site("resid_post", 7)


def test_the_map_of_vectors_is_symmetric_with_ones_on_the_diagonal(vector: SteeringVector) -> None:
    noise = {site: torch.randn(16, generator=torch.Generator().manual_seed(site.layer)) for site in vector.sites}
    frame: Any = cosine_map(
        {"v": vector, "minus": -vector, "noise": vector.replaced("noise", noise)}, "resid_post@1"
    ).to_frame()
    grid: Any = frame.pivot(index="first", columns="second", values="cosine")
    assert grid.loc["v", "v"] == pytest.approx(1) and grid.loc["v", "minus"] == pytest.approx(-1)
    assert grid.loc["v", "noise"] == grid.loc["noise", "v"] == pytest.approx(-grid.loc["minus", "noise"])
    v, w = vector.at("resid_post@1"), noise[vector.sites[1]]
    assert grid.loc["v", "noise"] == pytest.approx(float(torch.cosine_similarity(v, w, dim=0)), abs=1e-6)
    assert set(frame["chance"]) == {0.25}


def test_the_map_of_layers_compares_every_two_sites(vector: SteeringVector) -> None:
    frame: Any = layer_map(vector).to_frame()
    assert len(frame) == 9
    grid: Any = frame.pivot(index="first_site", columns="second_site", values="cosine")
    a, b = vector.at("resid_post@0"), vector.at("resid_post@2")
    want = float(torch.cosine_similarity(a, b, dim=0))
    assert grid.loc["resid_post@0", "resid_post@2"] == pytest.approx(want, abs=1e-6)
    assert grid.loc["resid_post@1", "resid_post@1"] == pytest.approx(1)


def test_no_vectors_are_refused() -> None:
    with pytest.raises(ScoreError, match="no vectors"):
        cosine_map({}, "resid_post@0")
    with pytest.raises(ScoreError, match="no vectors"):
        cosine_atlas({})
    with pytest.raises(ScoreError, match="no vectors"):
        norm_profile({})


def test_the_atlas_holds_each_pair_of_sites_and_vectors_once_with_its_null(vector: SteeringVector) -> None:
    frame: Any = cosine_atlas({"v": vector, "noise": random_like(vector, 0)})
    assert len(frame) == 6 * 7 / 2
    cosines = frame.set_index(["first", "first_site", "second", "second_site"])["cosine"]
    grid: Any = layer_map(vector).to_frame().set_index(["first_site", "second_site"])["cosine"]
    want = grid["resid_post@0", "resid_post@2"]
    assert cosines["v", "resid_post@0", "v", "resid_post@2"] == pytest.approx(want, abs=1e-6)
    itself = frame[(frame["first"] == frame["second"]) & (frame["first_site"] == frame["second_site"])]
    np.testing.assert_allclose(itself["cosine"], 1)
    assert itself["p"].isna().all() and itself["null_low"].isna().all()
    rest = frame.drop(index=itself.index)
    np.testing.assert_allclose(rest["null_high"], cosine_band(16)[1])
    assert rest["p_holm"].tolist() == pytest.approx(holm(rest["p"].tolist()))


def test_in_the_lab_the_anti_correlated_pair_alone_has_a_negative_cosine_beyond_random_directions(
    read_lab: Any,
) -> None:
    last = {name: v.only(LAST) for name, v in read_lab.vectors.items()}
    controls = {f"random {name}": random_like(v, seed) for seed, (name, v) in enumerate(last.items())}
    frame: Any = cosine_atlas(last).set_index(["first", "second"])
    pair: Any = frame.loc[("agreeableness", "anti_immigration")]
    assert pair["cosine"] < pair["null_low"] and pair["p_holm"] < 0.05
    assert frame["cosine"].lt(0).sum() == 1
    random = cosine_atlas(controls)
    assert (random["p_holm"].dropna() > 0.05).all()


def test_noise_is_corrected_by_halves_and_the_null_of_the_data_is_wider(read_lab: Any) -> None:
    mean_difference = METHODS["mean_difference"].function
    names = ("agreeableness", "anti_immigration")
    sides = {name: contrast_activations(read_lab.model, read_lab.contrasts[name], sites=LAST) for name in names}
    last = {name: read_lab.vectors[name].only(LAST) for name in names}
    halves = {name: half_directions(sides[name], mean_difference) for name in names}
    rows = {name: {LAST: sides[name][LAST][0] - sides[name][LAST][1]} for name in names}
    frame: Any = cosine_atlas(last, halves=halves, null_rows=rows).set_index(["first", "second"])
    pair: Any = frame.loc[names]
    plain: Any = cosine_atlas(last).set_index(["first", "second"]).loc[names]
    assert pair["corrected"] < pair["cosine"] == plain["cosine"] < 0
    assert 0.9 < pair["first_reliability"] < 1 and np.isnan(plain["corrected"])
    assert pair["null"] == "rows" and pair["null_high"] > plain["null_high"]
    with pytest.raises(MismatchError, match="of which there is no vector"):
        cosine_atlas(last, halves={"other": halves[names[0]]})


def test_heads_stand_in_the_atlas_through_their_output_matrix(llama: Any, contrast: ContrastSet) -> None:
    vector = extract(llama, contrast, sites=["z@1.0", "attn_out@1"])
    with pytest.raises(SiteError, match="give the model, to map it"):
        cosine_atlas({"v": vector})
    frame: Any = cosine_atlas({"v": vector}, model=llama)
    row = frame[frame["first_site"] != frame["second_site"]].iloc[0]
    want = torch.cosine_similarity(in_stream(llama, vector, "z@1.0")[0], vector.at("attn_out@1"), dim=0)
    assert row["cosine"] == pytest.approx(float(want), abs=1e-6) and row["note"] == "v through W_O"


def test_halves_are_disjoint_keep_blocks_together_and_are_the_same_for_all_sites() -> None:
    one, two = Site("resid_post", 0), Site("resid_post", 1)
    pos = torch.eye(10)
    sides = {one: (pos, torch.zeros(10, 10)), two: (2 * pos, torch.zeros(10, 10))}
    found = half_directions(sides, lambda p, n: p.sum(dim=0) - n.sum(dim=0), splits=5)
    assert found[one].shape == (5, 2, 10)
    assert (found[one].prod(dim=1) == 0).all() and (found[one].sum(dim=(1, 2)) == 8).all()
    assert torch.equal(found[one][..., 0::2], found[one][..., 1::2]) and torch.equal(found[two], 2 * found[one])
    with pytest.raises(ScoreError, match="two blocks or more"):
        half_directions({one: (pos[:3], pos[:3])}, lambda p, _: p[0])


def test_sets_that_share_a_direction_have_a_small_angle_and_random_ones_none(vector: SteeringVector) -> None:
    noise = [random_like(vector, seed) for seed in range(3)]
    shared = subspace_angles([vector, noise[0]], [3 * vector, noise[1]], "resid_post@1", draws=100)
    assert shared["degrees"].iloc[0] < 0.1 < shared["null_low"].iloc[0] and len(shared) == 2
    other = subspace_angles(noise[:1], noise[1:2], "resid_post@1", draws=100).iloc[0]
    assert other["null_low"] <= other["degrees"] <= other["null_high"]
    with pytest.raises(ScoreError, match="all linearly independent"):
        subspace_angles([vector, 2 * vector], noise, "resid_post@1")


def test_a_set_of_parallel_vectors_has_rank_one_whatever_their_lengths(vector: SteeringVector) -> None:
    sets = {"parallel": [vector, 5 * vector, -vector], "random": [random_like(vector, seed) for seed in range(3)]}
    frame: Any = effective_ranks(sets, "resid_post@1", draws=100).set_index("set")
    assert frame.loc["parallel", "effective_rank"] == pytest.approx(1, abs=1e-3)
    assert frame.loc["parallel", "effective_rank"] < frame.loc["parallel", "null_low"]
    row = frame.loc["random"]
    assert row["null_low"] <= row["effective_rank"] <= row["null_high"] and row["n"] == 3


def test_profiles_say_the_vectors_own_norms_and_a_spike_is_beyond_random_directions(vector: SteeringVector) -> None:
    norms = norm_profile({"v": vector, "twice": 2 * vector}).set_index(["vector", "site"])
    assert norms.loc[("twice", "resid_post@1"), "norm"] == pytest.approx(2 * vector.norm("resid_post@1"))
    assert norms.loc[("v", "resid_post@1"), "relative"] == pytest.approx(
        vector.norm("resid_post@1") / vector.activation_norm("resid_post@1")
    )
    spike = vector.replaced("spike", {site: torch.eye(16)[5] + 0.01 for site in vector.sites})
    energy: Any = energy_profile({"spike": spike, "noise": random_like(vector, 3)}).set_index(["vector", "site", "k"])
    top, noise = energy.loc[("spike", "resid_post@1", 1)], energy.loc[("noise", "resid_post@1", 1)]
    assert top["share"] > 0.99 > top["null_high"] and top["dimension"] == 5
    assert noise["share"] < top["null_high"]
    assert energy.loc[("noise", "resid_post@1", 16), "share"] == pytest.approx(1)


def test_planes_hold_every_row_with_its_side_and_letter(read_lab: Any) -> None:
    names = ("myopic", "sycophancy")
    sides = {name: contrast_activations(read_lab.model, read_lab.contrasts[name], sites=LAST)[LAST] for name in names}
    letters = {name: pair_letters(read_lab.contrasts[name]) for name in sides}
    pca, lda = (activation_plane(sides, kind, letters) for kind in ("pca", "lda"))
    assert len(pca) == len(lda) == sum(len(side) for both in sides.values() for side in both)
    assert pca["held_out"].all() and lda["held_out"].mean() == pytest.approx(0.5)
    assert set(lda["letter"]) == {"A", "B"} and lda.groupby(["side", "letter"]).size().nunique() == 1
    held = lda[lda["held_out"] & (lda["behaviour"] == "myopic")]
    centres = held.groupby("side")[["x", "y"]].agg(["mean", "std"])
    gap = centres.loc["positive"].xs("mean", level=1) - centres.loc["negative"].xs("mean", level=1)
    assert np.linalg.norm(gap) > 3
    with pytest.raises(ScoreError, match="give one a row"):
        activation_plane(sides, "pca", {name: (("A",), ("B",)) for name in sides})
    with pytest.raises(ScoreError, match="0 behaviours"):
        activation_plane({})
