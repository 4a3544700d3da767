"""The statements of docs/theory.md, each on activations whose truth is known, with the package's own functions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lens_steer.extraction.methods import METHODS
from lens_steer.extraction.methods.means import balanced_mean_difference, mean_difference
from lens_steer.extraction.methods.probes import lda
from lens_steer.hooks.operators import Add, MeanMatch, Mimic
from lens_steer.metrics.quality import split_half_cosine
from lens_steer.metrics.steerability import anti_steerable_share, fit_curves, steerability

DOC = Path(__file__).parents[2] / "docs" / "theory.md"
N, D = 4000, 6
GRID = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)


def drawn(seed: int, scale: Tensor | float = 1.0, mean: Tensor | float = 0.0, n: int = N) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) * scale + mean


def axis(k: int, size: float = 1.0) -> Tensor:
    return size * torch.eye(D)[k]


def edited(operator: Any, rows: Tensor, v: Tensor) -> Tensor:
    return operator(rows[None], v, 1.0)[0]


def curves(rows: Tensor, v: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([read(rows + s * v) for s in GRID.tolist()], dim=1).double()


def test_the_mean_difference_is_the_constant_shift_between_the_means_and_the_least_map() -> None:
    pos, neg = drawn(0, mean=axis(0, 2)), drawn(1, torch.linspace(0.5, 2, D))
    v = mean_difference(pos, neg)
    assert torch.allclose((neg + v).mean(0), pos.mean(0), atol=1e-5)
    matched = edited(MeanMatch.fit(neg, pos), neg, v)
    assert torch.allclose(matched, neg + v, atol=1e-5)
    other = pos[torch.randperm(N, generator=torch.Generator().manual_seed(2))]
    assert (other - neg).square().sum(1).mean() > (matched - neg).square().sum(1).mean()


def test_with_equal_covariance_the_shifted_class_is_the_positive_one_and_optimal_transport_is_the_shift() -> None:
    neg = drawn(1, torch.linspace(0.5, 2, D))
    pos = neg.flip(0) + axis(0, 3)
    v = mean_difference(pos, neg)
    assert torch.allclose(torch.cov((neg + v).T), torch.cov(pos.T), atol=1e-4)
    assert torch.allclose(edited(Mimic.fit(neg, pos), neg, v), neg + v, atol=1e-3)


def test_a_shift_leaves_the_covariance_and_optimal_transport_matches_it() -> None:
    pos, neg = drawn(0, torch.linspace(0.5, 2, D), axis(0, 2)), drawn(1)
    v = mean_difference(pos, neg)
    shifted, moved = edited(Add(), neg, v), edited(Mimic.fit(neg, pos), neg, v)
    wanted = torch.cov(pos.T)
    assert torch.allclose(torch.cov(shifted.T), torch.cov(neg.T), atol=1e-4)
    assert (torch.cov(moved.T) - wanted).abs().max() < 0.05 < (torch.cov(shifted.T) - wanted).abs().max()


def test_a_linear_read_out_has_one_slope_for_all_items() -> None:
    v, w = axis(0, 2), axis(0) + axis(1, 0.5)
    slopes = steerability(curves(drawn(3, n=50), v, lambda h: h @ w), GRID)
    assert torch.allclose(slopes, torch.full_like(slopes, float(w @ v)), atol=1e-5)


def test_a_probe_separates_best_and_moves_the_mean_less_per_unit_of_norm() -> None:
    scale = torch.tensor([3.0, 0.3, 1, 1, 1, 1])
    pos, neg = drawn(0, scale, axis(0, 2) + axis(1, 0.5)), drawn(1, scale)
    v, probe = mean_difference(pos, neg), lda(pos, neg)

    def d_prime(u: Tensor) -> float:
        apart = (pos @ u).mean() - (neg @ u).mean()
        return float(apart / torch.cat([pos @ u - (pos @ u).mean(), neg @ u - (neg @ u).mean()]).std())

    assert d_prime(probe) > 1.5 * d_prime(v)
    truth = axis(0, 2) + axis(1, 0.5)
    gains = [float(truth @ u / u.norm()) for u in (v, probe)]
    assert gains[0] > 1.5 * gains[1]


def test_classes_of_equal_mean_leave_noise() -> None:
    pos, neg = drawn(0, 2.0, n=400), drawn(1, n=400)
    v = mean_difference(pos, neg)
    expected = ((4.0 * D + 1.0 * D) / 400) ** 0.5
    assert 0.4 * expected < float(v.norm()) < 1.8 * expected
    assert abs(split_half_cosine(pos, neg, mean_difference, splits=50)) < 0.6
    assert split_half_cosine(pos + axis(0, 2), neg, mean_difference, splits=50) > 0.9


def test_a_sign_that_depends_on_a_balanced_context_cancels_and_half_of_the_items_are_anti_steerable() -> None:
    context = torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)
    push = context[:, None] * axis(0, 2)
    pos, neg = drawn(0) + push, drawn(1) - push
    assert float(mean_difference(pos, neg).norm()) < 0.2
    one = mean_difference(pos[context > 0], neg[context > 0])
    assert float(one[0]) == pytest.approx(4, abs=0.2)
    rows, here = neg[:40], context[:40]
    slopes = steerability(torch.stack([here * (rows + s * one)[:, 0] for s in GRID.tolist()], dim=1).double(), GRID)
    assert anti_steerable_share(slopes) == 0.5


def test_a_letter_that_goes_with_the_label_is_in_the_vector_and_balancing_takes_it_out() -> None:
    letter = torch.where(torch.arange(N) % 10 < 9, 1.0, -1.0)
    pos = drawn(0) + axis(0, 1) + letter[:, None] * axis(1, 2)
    neg = drawn(1) - letter[:, None] * axis(1, 2)
    plain = mean_difference(pos, neg)
    balanced = balanced_mean_difference(pos, neg, (letter > 0).long())
    assert float(plain[1]) == pytest.approx(2 * 2 * 0.8, abs=0.2) and float(plain[0]) == pytest.approx(1, abs=0.1)
    assert abs(float(balanced[1])) < 0.3 and float(balanced[0]) == pytest.approx(1, abs=0.2)


def test_a_norm_behind_the_site_bounds_the_effect() -> None:
    rows, v, w = drawn(4, n=20), axis(0, 2), axis(0)

    def read(h: Tensor) -> Tensor:
        return h / h.square().mean(-1, keepdim=True).sqrt() @ w

    wide = torch.tensor([-40.0, -20.0, 0.0, 20.0, 40.0], dtype=torch.float64)
    near = steerability(curves(rows, v, read), GRID)
    far = torch.stack([read(rows + s * v) for s in wide.tolist()], dim=1).double()
    assert float(steerability(far, wide).mean()) < 0.2 * float(near.mean())
    assert float(far[:, -1].mean()) == pytest.approx(D**0.5, rel=0.02)
    assert float(fit_curves(far, wide).r2.nanmedian()) < float(
        fit_curves(curves(rows, v, lambda h: h @ w), GRID).r2.min()
    )


def test_equal_changes_in_nats_are_unequal_changes_of_rates() -> None:
    m = torch.tensor([0.0, 4.0])
    changes = torch.sigmoid(m + 1) - torch.sigmoid(m)
    assert float(changes[0]) > 10 * float(changes[1])


def test_every_statement_of_the_document_has_its_test_and_the_functions_it_names_exist() -> None:
    statements = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert len(statements) == sum(name.startswith("test_") for name in globals()) - 1
    assert {"mean_difference", "balanced_mean_difference", "lda"} <= set(METHODS)
