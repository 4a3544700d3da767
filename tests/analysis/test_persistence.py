"""What becomes of an edit, how far it leaves the manifold, and projections of every token."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer.analysis.activation_statistics import fit_manifold
from lens_steer.analysis.persistence import continued, persistence, random_edits
from lens_steer.analysis.projections import projection_map
from lens_steer.errors import MismatchError, PositionError, ScoreError, SteeringError
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import tokenize
from lens_steer.vector import SteeringVector


def edit(vector: SteeringVector, positions: str = "all") -> list[Intervention]:
    return [Intervention.of(vector, "resid_post@0", 3.0, "unit", positions)]


def test_an_edit_is_all_along_itself_where_it_is_made_and_is_what_two_runs_show_later(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    frame = persistence(llama, texts, edit(vector), random_edits(edit(vector), 3), batch_size=2).to_frame()
    first = frame[frame["layer"] == 0]
    np.testing.assert_allclose(first["along"], 3.0, rtol=1e-4)
    np.testing.assert_allclose(first["orthogonal"], 0.0, atol=1e-4)
    assert set(frame["vector"]) == {"steering", "random 0", "random 1", "random 2"} and len(frame) == 4 * 4 * 3
    row = tokenize(llama, texts[:1])
    runs = []
    for plan in ([], edit(vector)):
        with steer(llama, *plan):
            runs.append(next(iter(record(llama, row, "resid_post@2", "last"))).activations[Site("resid_post", 2)][0])
    moved, u = (runs[1] - runs[0]).double(), vector.at("resid_post@0").double() / vector.norm("resid_post@0")
    found = frame[(frame["vector"] == "steering") & (frame["layer"] == 2) & (frame["sequence"] == 0)].iloc[0]
    assert found["along"] == pytest.approx(float(moved @ u), abs=1e-4)
    assert found["orthogonal"] == pytest.approx(float((moved - (moved @ u) * u).norm()), abs=1e-4)
    assert found["along_relative"] == pytest.approx(float(moved @ u / runs[0].double().norm()), abs=1e-4)
    assert math.hypot(found["along"], found["orthogonal"]) == pytest.approx(float(moved.norm()), rel=1e-4)


def test_the_summary_gives_sequences_the_same_weight_and_few_of_them_no_interval(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    found = persistence(llama, texts, edit(vector), positions="all")
    rows, frame = found.summary(), found.to_frame()
    last = rows[rows["layer"] == 2].iloc[0]
    each = frame[frame["layer"] == 2].groupby("sequence")["along_relative"].mean()
    assert last["along_relative"] == pytest.approx(each.mean()) and last["n"] == 4
    assert last["along_relative_why"] == "few"
    repeated = pd.concat([frame.assign(sequence=4 * k + frame["sequence"]) for k in range(3)])
    last = replace(found, frame=repeated).summary().query("layer == 2").iloc[0]
    assert last["along_relative_low"] < last["along_relative"] < last["along_relative_high"]


def test_over_generated_steps_both_runs_see_the_same_tokens(llama: Any, vector: SteeringVector) -> None:
    plan = edit(vector, "last_prompt")
    written = generate(llama, ["The cat sat", "Which"], plan, Decoding(max_new_tokens=4, stop_at_eos=False))
    rows, lengths = continued(written)
    found = persistence(llama, rows, plan, positions="last_prompt | after_prompt", prompt_lengths=lengths)
    frame = found.to_frame()
    assert sorted(frame["step"].unique()) == [0, 1, 2, 3]
    here = frame[frame["layer"] == 0].groupby("step")["along"].mean()
    assert here.loc[0] == pytest.approx(3.0, rel=1e-4) and here.loc[1:].abs().max() < 1e-5
    assert list(found.summary("step")["step"]) == [0, 1, 2, 3]


def test_the_distance_from_the_manifold_is_mahalanobis_and_grows_when_a_point_leaves(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(4000, 5, generator=generator) * torch.tensor([2.0, 1.5, 1.0, 0.5, 0.1])
    fitted = fit_manifold(data)
    points = torch.tensor([[0.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 1.0]])
    literal = [
        math.sqrt(float((p - fitted.mean) @ fitted.precision @ (p - fitted.mean)) / 5) for p in points.double().numpy()
    ]
    np.testing.assert_allclose(fitted.distance(points), literal)
    assert literal[2] > 3 * literal[1], "the same step is further off where activations do not spread"
    assert float(fitted.distance(data).mean()) == pytest.approx(1.0, abs=0.15)
    far = [Intervention.of(vector, "resid_post@0", 30.0, "unit")]
    frame = persistence(llama, texts, far, reference=texts, positions="last").to_frame()
    first = frame[frame["layer"] == 0]
    assert (first["off_manifold"] > 3 * first["off_manifold_unsteered"]).all()
    with pytest.raises(ScoreError, match="4 reference tokens"):
        fit_manifold(data[:4])


def test_a_direction_without_effect_leaves_nothing_behind(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    still = [Intervention.of(vector, "resid_post@0", 0.0)]
    frame = persistence(llama, texts, still).to_frame()
    assert float(frame[["along", "orthogonal"]].abs().to_numpy().max()) == 0


def test_random_edits_have_the_norm_of_what_they_stand_for(vector: SteeringVector) -> None:
    plans = random_edits(edit(vector), 3, seed=1)
    norms = [float(plan[0].direction.norm()) for plan in plans]
    assert norms == pytest.approx([1.0] * 3, rel=1e-5)
    again = random_edits(edit(vector), 3, seed=1)
    assert all(torch.equal(a[0].direction, b[0].direction) for a, b in zip(plans, again, strict=True))
    assert not torch.equal(plans[0][0].direction, plans[1][0].direction)


def test_bad_plans_are_refused(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    with pytest.raises(SteeringError, match="there are no interventions to follow"):
        persistence(llama, texts, [])
    with pytest.raises(PositionError, match="'after_prompt' selects no token"):
        persistence(llama, texts, edit(vector), positions="after_prompt")


def test_projections_are_dot_products_and_steering_moves_them_by_its_strength(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    plan = edit(vector, "1:3")
    found = projection_map(llama, texts, vector, "resid_post@0", plan, neutral=texts, batch_size=3)
    frame = found.to_frame()
    rows = tokenize(llama, texts)
    assert len(frame) == 2 * sum(map(len, rows))
    for index, row in enumerate(rows):
        stream = next(iter(record(llama, [row], "resid_post@0"))).activations[Site("resid_post", 0)].double()
        u = vector.at("resid_post@0").double() / vector.norm("resid_post@0")
        mine = frame[(frame["text"] == index) & ~frame["steered"]]
        assert mine["token"].tolist() == row and mine["position"].tolist() == list(range(len(row)))
        np.testing.assert_allclose(mine["projection"], (stream @ u).numpy(), atol=1e-4)
        np.testing.assert_allclose(mine["cosine"], (stream @ u / stream.norm(dim=1)).numpy(), atol=1e-4)
        moved = frame[(frame["text"] == index) & frame["steered"]]["projection"].to_numpy() - mine["projection"]
        np.testing.assert_allclose(moved, [3.0 * (1 <= place < 3) for place in range(len(row))], atol=1e-4)
    plain = frame[~frame["steered"] & (frame["position"] > 0)]
    assert plain["z"].mean() == pytest.approx(0, abs=1e-6) and plain["z"].std() == pytest.approx(1, abs=1e-6)
    assert frame["piece"].iloc[0] == "<bos>"


def test_a_map_without_neutral_text_has_no_z_and_a_foreign_vector_is_refused(
    llama: Any, other_llama: Any, vector: SteeringVector
) -> None:
    frame = projection_map(llama, ["The cat sat."], vector, "resid_post@2").to_frame()
    assert frame["z"].isna().all() and not frame["steered"].any()
    with pytest.raises(MismatchError, match="and the model of the map"):
        projection_map(other_llama, ["The cat sat."], vector, "resid_post@2")
    with pytest.raises(ScoreError, match="1 neutral tokens"):
        projection_map(llama, ["The cat sat."], vector, "resid_post@2", neutral=[[0, 40]])
