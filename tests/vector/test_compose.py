"""Several vectors at once: strengths, one vector of many, and the algebra of projected strengths."""

from typing import Any

import pytest
import torch

from lens_steer.errors import DirectionError, MismatchError, ScoreError, SiteError
from lens_steer.hooks import Intervention, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import forward, pad
from lens_steer.vector import SteeringVector, random_like
from lens_steer.vector.compose import (
    Assignment,
    Placement,
    assign,
    combined,
    gram_matrix,
    gram_strengths,
    orthogonalised,
    projected_strengths,
    simultaneous,
    solve_strengths,
    strength_matrix,
)

NAMES = ("one", "two", "three")
PLACES = {"one": "resid_post@0", "two": "resid_post@1", "three": "resid_post@2"}
SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def vectors(vector: SteeringVector) -> dict[str, SteeringVector]:
    """Three vectors of one model that are far from orthogonal: each shares half of a common direction."""
    noise = [random_like(vector, seed) for seed in range(4)]
    return {name: noise[i] + 0.7 * (i + 1) * noise[3] for i, name in enumerate(NAMES)}


def logits(model: Any, *edits: Intervention) -> torch.Tensor:
    with steer(model, *edits):
        return forward(model, *pad(model, [[0, 5, 9, 4, 7]]))


def test_placements_at_one_site_do_what_their_one_combined_vector_does(llama: Any, vectors: Any) -> None:
    together = assign(vectors, SITE, {"one": 1.5, "two": -1.0, "three": 0.5})
    one = Intervention.of(combined(together, "all"), SITE, 1.0)
    assert torch.allclose(logits(llama, *together.interventions()), logits(llama, one), atol=1e-4)
    assert not torch.allclose(logits(llama), logits(llama, one), atol=1e-2)


@pytest.mark.parametrize("scale", ["raw", "unit", "relative"])
def test_a_combined_vector_is_the_weighted_sum_in_every_scale_and_the_mean_a_share_of_it(
    vectors: Any, scale: Any
) -> None:
    weights = {"one": 2.0, "two": 0.5, "three": -1.0}
    parts = [
        weights[name]
        * v.at(SITE)
        / {"raw": 1.0, "unit": v.norm(SITE)}.get(scale, v.norm(SITE) / v.activation_norm(SITE))
        for name, v in vectors.items()
    ]
    total = torch.stack(parts).sum(dim=0)
    whole = assign(vectors, SITE, weights)
    assert torch.allclose(combined(whole, "sum", scale).at(SITE), total, atol=1e-5)
    assert torch.allclose(combined(whole.scaled(1 / 3), "mean", scale).at(SITE), total / 3, atol=1e-5)


def test_placements_of_strength_zero_write_nothing(vectors: Any) -> None:
    plan = assign(vectors, PLACES, {"one": 0.0, "two": 1.0, "three": 0.0})
    assert [str(edit.site) for edit in plan.interventions()] == ["resid_post@1"]
    assert plan.scaled(0.0).interventions() == []


def test_orthogonalised_directions_are_orthogonal_keep_their_norms_and_are_the_nearest_such_set(vectors: Any) -> None:
    old = assign(vectors, SITE)
    new = orthogonalised(old)
    gram = gram_matrix(new)
    assert float(gram_matrix(old)[0, 1]) > 0.3 * float(gram_matrix(old)[0, 0])
    norms = torch.tensor([v.norm(SITE) for v in vectors.values()])
    assert torch.allclose(gram, torch.diag(norms.double() ** 2), atol=1e-4)
    rows = torch.stack([placement.direction() / placement.vector.norm(SITE) for placement in old.placements])
    lowdin = torch.stack([placement.direction() for placement in new.placements]) / norms[:, None]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        turned = lowdin @ torch.linalg.qr(torch.eye(16) + 0.1 * torch.randn(16, 16, generator=generator)).Q.double()
        schmidt = torch.linalg.qr(rows.T).Q.T * torch.sign((torch.linalg.qr(rows.T).Q.T * rows).sum(1, keepdim=True))
        for others in (turned, schmidt):
            assert (lowdin - rows).norm() <= (others - rows).norm() + 1e-9


def test_orthogonalising_does_not_depend_on_the_order_of_behaviours(vectors: Any) -> None:
    there = orthogonalised(assign(vectors, SITE))
    back = orthogonalised(assign(dict(reversed(vectors.items())), SITE))
    for placement in there.placements:
        (other,) = (entry for entry in back.placements if entry.behaviour == placement.behaviour)
        assert torch.allclose(placement.direction(), other.direction(), atol=1e-5)


def test_projected_strengths_are_the_transcribed_sum_also_across_layers(vectors: Any) -> None:
    strengths = {"one": 1.0, "two": -2.0, "three": 0.5}
    plan = assign(vectors, PLACES, strengths)
    for name, found in projected_strengths(plan).items():
        own = vectors[name].at(PLACES[name]).double()
        parts = [strengths[j] * float(vectors[j].at(PLACES[j]).double() @ own) for j in NAMES]
        assert found == pytest.approx(sum(parts) / float(own @ own))


def test_published_norms_and_a_global_strength_leave_some_behaviours_with_the_wrong_sign() -> None:
    """Layers 11 to 15 at s = 1: the third behaviour's vector is short and overlaps the second's."""
    norms = torch.tensor([5.8, 7.5, 1.15, 5.8, 6.3], dtype=torch.float64)
    cosines = torch.eye(5, dtype=torch.float64)
    for i, j, value in (
        (0, 1, 0.0),
        (0, 2, -0.1),
        (1, 2, -0.25),
        (1, 3, 0.1),
        (2, 3, 0.28),
        (2, 4, -0.24),
        (3, 4, -0.72),
    ):
        cosines[i, j] = cosines[j, i] = value
    gram = cosines * norms[:, None] * norms
    ones = torch.ones(5, dtype=torch.float64)
    placements = strength_matrix(gram) @ ones
    assert (
        placements[2] < 0
        and placements[0] > 0.8
        and placements[1] > 0.8
        and 0 < placements[3] < 0.6
        and placements[4] < 0.5
    )
    assert torch.allclose(strength_matrix(gram) @ solve_strengths(gram, ones, ridge=0.0), ones)


@pytest.mark.parametrize("places", [SITE, PLACES])
def test_gram_strengths_reach_targets_of_mixed_signs_and_equal_strengths_do_not(vectors: Any, places: Any) -> None:
    targets = {"one": 1.0, "two": -1.0, "three": 1.0}
    plan = assign(vectors, places)
    assert projected_strengths(gram_strengths(plan, targets, ridge=0.0)) == pytest.approx(targets)
    assert projected_strengths(gram_strengths(plan, targets)) == pytest.approx(targets, abs=0.05)
    plain = projected_strengths(plan.with_strengths(targets))
    assert max(abs(plain[name] - targets[name]) for name in NAMES) > 0.3


def test_ridge_least_squares_is_its_normal_equations_and_shortens_the_strengths() -> None:
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gram, targets = rows @ rows.T, torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    a = gram / gram.diagonal()[:, None]
    for ridge in (1e-3, 0.3, 10.0):
        literal = torch.linalg.solve(a.T @ a + ridge * torch.eye(4, dtype=torch.float64), a.T @ targets)
        assert torch.allclose(solve_strengths(gram, targets, ridge), literal)
    sizes = [float(solve_strengths(gram, targets, ridge).norm()) for ridge in (0.0, 0.3, 10.0)]
    assert sizes == sorted(sizes, reverse=True)


def test_two_opposite_directions_cannot_both_be_given_plus_one_and_the_ridge_keeps_strengths_small() -> None:
    gram = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    found = solve_strengths(gram, torch.tensor([1.0, 1.0]), ridge=0.0)
    assert torch.allclose(found, torch.zeros(2, dtype=torch.float64), atol=1e-12)
    apart = solve_strengths(gram, torch.tensor([1.0, -1.0]), ridge=0.0)
    assert torch.allclose(apart, torch.tensor([0.5, -0.5], dtype=torch.float64))


def test_what_does_not_belong_together_is_refused(vectors: Any, other_llama: Any, contrast: Any) -> None:
    from lens_steer.extraction import extract

    with pytest.raises(SiteError, match="'one' at resid_post@0 and 'two' at resid_pre@1 are added to the same tensor"):
        pairs = {name: extract_both(vectors[name]) for name in ("one", "two")}
        simultaneous(pairs, {"one": "resid_post@0", "two": "resid_pre@1"})
    with pytest.raises(ScoreError, match="sites: four unknown; three missing; give one for each of one, three, two"):
        simultaneous(vectors, {"one": SITE, "two": SITE, "four": SITE})
    with pytest.raises(ScoreError, match="strengths: three missing"):
        assign(vectors, SITE).with_strengths({"one": 1.0, "two": 1.0})
    with pytest.raises(ScoreError, match="at least one, each of a different behaviour"):
        Assignment(())
    with pytest.raises(ScoreError, match="strength nan is not a finite number"):
        Placement(behaviour="one", vector=vectors["one"], site=SITE, strength=float("nan"))
    with pytest.raises(SiteError, match="one vector needs all of them at one site"):
        combined(assign(vectors, PLACES), "all")
    with pytest.raises(DirectionError, match="linearly dependent"):
        orthogonalised(assign({"one": vectors["one"], "two": 2 * vectors["one"]}, SITE))
    with pytest.raises(MismatchError, match="different models"):
        gram_matrix(assign({"one": vectors["one"], "two": extract(other_llama, contrast)}, SITE))
    with pytest.raises(ScoreError, match="ridge of 0 or more"):
        gram_strengths(assign(vectors, SITE), dict.fromkeys(NAMES, 1.0), ridge=-1.0)
    with pytest.raises(ScoreError, match="finite targets"):
        gram_strengths(assign(vectors, SITE), dict.fromkeys(NAMES, float("inf")))


def extract_both(v: SteeringVector) -> SteeringVector:
    """The same directions at both names of one tensor."""
    first = v.at("resid_post@0")
    sites = (Site("resid_post", 0), Site("resid_pre", 1))
    return SteeringVector(
        **{name: getattr(v, name) for name in ("name", "method", "position", "data_hash", "n_positive", "n_negative")},
        directions=dict.fromkeys(sites, first),
        activation_norms=dict.fromkeys(sites, 1.0),
        fingerprint=v.fingerprint,
    )
