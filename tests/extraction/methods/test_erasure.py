"""Whitened directions and LEACE, against their formulas and against what they promise."""

import pytest
import torch
from concept_erasure import LeaceEraser, optimal_linear_shrinkage
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.erasure import Leace, WhitenedMeanDifference, leace, whitened_mean_difference
from lens_steer.extraction.methods.means import mean_difference
from lens_steer.extraction.methods.probes import lda


def rows(n: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scaled(raw: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """v = u (delta . u)."""
    u = raw / raw.norm()
    return (u * ((pos.mean(0) - neg.mean(0)) @ u)).float()


def within(pos: Tensor, neg: Tensor) -> Tensor:
    """The covariance within the sides, over all rows."""
    centred = torch.cat([pos - pos.mean(0), neg - neg.mean(0)])
    return centred.T @ centred / len(centred)


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.3, 1.0])
def test_whitening_is_the_covariance_inverted_on_the_mean_difference(shrinkage: float | None) -> None:
    pos, neg = rows(25, 0) * torch.linspace(0.2, 3, 6) + 100, rows(15, 1) + 99
    s = within(pos, neg)
    if shrinkage is None:
        s = optimal_linear_shrinkage(s, 40)
    else:
        s = (1 - shrinkage) * s + shrinkage * s.trace() / 6 * torch.eye(6)
    raw = torch.linalg.solve(s, pos.mean(0) - neg.mean(0))
    found = whitened_mean_difference(pos, neg, shrinkage)
    torch.testing.assert_close(found, scaled(raw, pos, neg), rtol=1e-5, atol=1e-6)
    if shrinkage == 1.0:
        torch.testing.assert_close(found, mean_difference(pos, neg))


def test_leace_reads_along_the_covariance_inverted_on_the_cross_covariance() -> None:
    pos, neg = rows(25, 0) * torch.linspace(0.2, 3, 6) + 1, rows(15, 1)
    x, z = torch.cat([pos, neg]), torch.cat([torch.ones(25), torch.zeros(15)]).double()
    x, z = x - x.mean(0), z - z.mean()
    plain = torch.linalg.solve(x.T @ x / 39, x.T @ z / 39)
    torch.testing.assert_close(leace(pos, neg, shrinkage=False), scaled(plain, pos, neg), rtol=1e-5, atol=1e-6)
    shrunk = torch.linalg.solve(optimal_linear_shrinkage(x.T @ x / 40, 40), x.T @ z / 39)
    torch.testing.assert_close(leace(pos, neg), scaled(shrunk, pos, neg), rtol=1e-5, atol=1e-6)


def test_what_leace_takes_away_is_the_mean_difference() -> None:
    pos, neg = rows(25, 0) * torch.linspace(0.2, 3, 6) + 1, rows(15, 1)
    for shrinkage in (True, False):
        taken = leace(pos, neg, vector="proj_left", shrinkage=shrinkage)
        torch.testing.assert_close(taken, mean_difference(pos, neg), rtol=1e-5, atol=1e-6)


def test_the_two_vectors_together_are_the_eraser() -> None:
    """r(x) = x - a b (x - E x) with a along proj_left and b along proj_right, scaled so that b a = 1."""
    pos, neg = rows(25, 0) * torch.linspace(0.2, 3, 6) + 1, rows(15, 1)
    x, z = torch.cat([pos, neg]), torch.cat([torch.ones(25), torch.zeros(15)]).double()
    a, b = leace(pos, neg, vector="proj_left").double(), leace(pos, neg).double()
    by_hand = x - ((x - x.mean(0)) @ b)[:, None] * a / (a @ b)
    erased = LeaceEraser.fit(x, z)(x)
    torch.testing.assert_close(by_hand, erased, rtol=1e-4, atol=1e-5)
    assert float((erased[:25].mean(0) - erased[25:].mean(0)).norm()) < 1e-9 < float((pos.mean(0) - neg.mean(0)).norm())


def test_without_shrinkage_leace_and_whitening_agree() -> None:
    pos, neg = rows(25, 0) * torch.linspace(0.2, 3, 6) + 1, rows(15, 1)
    found = leace(pos, neg, shrinkage=False)
    torch.testing.assert_close(found, whitened_mean_difference(pos, neg, shrinkage=0.0), rtol=1e-5, atol=1e-6)


def auroc(direction: Tensor, pos: Tensor, neg: Tensor) -> float:
    """P(a positive row reads higher than a negative one)."""
    up, down = pos @ direction.double(), neg @ direction.double()
    return float((up[:, None] > down[None, :]).double().mean())


def test_in_noise_that_is_not_isotropic_whitened_directions_detect_better_than_the_mean_difference() -> None:
    """One loud coordinate shares a direction with the behaviour: it drowns the mean difference, whitening quiets it."""
    spread = torch.tensor([20.0] + [1.0] * 15, dtype=torch.float64)
    shift = torch.tensor([4.0] + [0.6] * 8 + [0.0] * 7, dtype=torch.float64)
    pos, neg = rows(300, 0, 16) * spread + shift, rows(300, 1, 16) * spread
    new_pos, new_neg = rows(1000, 2, 16) * spread + shift, rows(1000, 3, 16) * spread
    plain = auroc(mean_difference(pos, neg), new_pos, new_neg)
    whitened = [
        auroc(v, new_pos, new_neg) for v in (whitened_mean_difference(pos, neg), lda(pos, neg), leace(pos, neg))
    ]
    assert plain < 0.7 and min(whitened) > 0.85
    flat = torch.ones(16, dtype=torch.float64)
    even = (rows(300, 0, 16) * flat + shift, rows(300, 1, 16) * flat)
    control = (rows(1000, 2, 16) * flat + shift, rows(1000, 3, 16) * flat)
    assert auroc(mean_difference(*even), *control) == pytest.approx(auroc(leace(*even), *control), abs=0.01)


def test_fewer_rows_than_coordinates_need_shrinkage() -> None:
    pos, neg = rows(5, 0, 40) + 1, rows(5, 1, 40)
    assert bool(whitened_mean_difference(pos, neg).isfinite().all()) and bool(leace(pos, neg).isfinite().all())
    with pytest.raises(MethodError, match=r"10 rows in 40 coordinates is singular at shrinkage 0.0; leave shrinkage"):
        whitened_mean_difference(pos, neg, shrinkage=0.0)


def test_sides_that_do_not_vary_within_have_nothing_to_whiten_by() -> None:
    pos, neg = torch.full((5, 6), 0.3), torch.full((5, 6), 0.1)
    with pytest.raises(MethodError, match="the covariance is zero; use 'mean_difference'"):
        whitened_mean_difference(pos, neg)


def test_unknown_options_values_are_refused() -> None:
    with pytest.raises(MethodError, match=r"shrinkage 1.5; expected a share from 0 to 1, or None"):
        WhitenedMeanDifference(1.5)
    with pytest.raises(MethodError, match="vector 'left'; expected 'proj_right' or 'proj_left'"):
        Leace("left")


def test_a_fit_in_the_middle_of_a_stream_does_not_disturb_it() -> None:
    pos, neg = rows(25, 0) + 1, rows(25, 1)
    for fitter, whole in ((Leace(), leace(pos, neg)), (WhitenedMeanDifference(), whitened_mean_difference(pos, neg))):
        fitter.update(pos[:10], neg[:10])
        early = fitter.fit().direction
        fitter.update(pos[10:], neg[10:])
        torch.testing.assert_close(fitter.fit().direction, whole, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(early, whole, rtol=1e-3)
