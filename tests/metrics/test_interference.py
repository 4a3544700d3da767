"""Agreement of predicted and measured interference: exact where the world is linear, none where it is not."""

from itertools import permutations

import numpy as np
import pytest
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.interference import (
    agreement,
    agreement_without_geometry,
    permutation_p,
    predicted_interference,
)


def world(n: int = 5, items: int = 40, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Projected strengths of random directions, and changes that follow them: change_ij = own_j projected_ij, and noise
    by item.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    gram = rows @ rows.T
    projected, own = (gram / gram.diagonal()[:, None]).T, torch.linspace(0.5, 2.0, n, dtype=torch.float64)
    means = projected * own
    return projected, means[..., None] + noise * torch.randn(n, n, items, generator=generator, dtype=torch.float64)


def test_the_prediction_is_the_dose_times_what_a_behaviours_own_vector_does() -> None:
    projected, changes = world(noise=0.0)
    assert torch.allclose(predicted_interference(projected, changes.mean(dim=2)), changes.mean(dim=2))


def test_a_linear_world_agrees_and_an_unrelated_one_does_not() -> None:
    projected, changes = world()
    found = agreement(projected, changes)
    assert found["pearson"].low > 0.8 and found["spearman"].low > 0.6 and found["pearson"].n == 20
    shuffled = changes[torch.tensor([3, 0, 4, 1, 2])]
    shuffled[range(5), range(5)] = changes[range(5), range(5)]
    assert agreement(projected, shuffled)["pearson"].value < 0.5


def literal(projected: np.ndarray, measured: np.ndarray) -> float:
    """Pearson over pairs of different behaviours."""
    n = len(measured)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    x, y = [projected[i, j] * measured[j, j] for i, j in pairs], [measured[i, j] for i, j in pairs]
    return float(np.corrcoef(x, y)[0, 1])


def test_the_p_counts_all_relabellings_of_the_geometry_and_the_baseline_knows_own_effects_alone() -> None:
    projected, changes = world(4)
    measured = changes.mean(dim=2)
    a, m = projected.numpy(), measured.numpy()
    true = literal(a, m)
    orders = [list(order) for order in permutations(range(4))]
    as_well = [literal(a[np.ix_(order, order)], m) >= true - 1e-12 for order in orders]
    assert permutation_p(projected, measured)["pearson"] == pytest.approx(np.mean(as_well)) == 1 / 24
    assert agreement_without_geometry(measured)["pearson"] == pytest.approx(literal(np.ones((4, 4)), m))


def test_own_effects_alone_agree_without_geometry_and_then_no_relabelling_is_worse() -> None:
    own = torch.linspace(0.5, 2.0, 5, dtype=torch.float64).expand(5, 5)
    assert agreement_without_geometry(own)["pearson"] == pytest.approx(1)
    assert permutation_p(torch.ones(5, 5), own)["pearson"] == 1
    projected, changes = world()
    assert permutation_p(projected, changes.mean(dim=2))["pearson"] == pytest.approx(1 / 120)


@pytest.mark.slow
def test_many_behaviours_are_relabelled_at_random_and_the_true_labels_count_too() -> None:
    projected, changes = world(8)
    measured = changes.mean(dim=2)
    found = permutation_p(projected, measured)
    assert found == permutation_p(projected, measured) and found["pearson"] == pytest.approx(1 / 5040, rel=1.1)
    constant = permutation_p(torch.eye(3), torch.ones(3, 3))
    assert all(np.isnan(p) for p in constant.values())


def test_opposite_vectors_are_predicted_to_pull_the_other_way() -> None:
    projected = torch.tensor([[1.0, -0.7, 0.1], [-0.7, 1.0, 0.0], [0.1, 0.0, 1.0]])
    predicted = predicted_interference(projected, torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    assert float(predicted[0, 1]) == pytest.approx(-0.7) and float(predicted[1, 0]) == pytest.approx(-1.4)


def test_fewer_than_three_behaviours_have_no_correlation() -> None:
    with pytest.raises(ScoreError, match="n >= 3 behaviours"):
        agreement(torch.eye(2), torch.zeros(2, 2, 4))
