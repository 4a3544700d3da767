"""Mean differences."""

import pytest
import torch
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.methods import FITTERS, METHODS, make_fitter
from lens_steer.methods.means import MeanDifference, mean_difference


def rows(n: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)) + shift


def literal(pos: Tensor, neg: Tensor) -> Tensor:
    """v = 1/n_pos sum_i pos_i - 1/n_neg sum_j neg_j, entry by entry."""
    found = []
    for j in range(pos.shape[1]):
        up = sum(float(pos[i, j]) for i in range(pos.shape[0])) / pos.shape[0]
        down = sum(float(neg[i, j]) for i in range(neg.shape[0])) / neg.shape[0]
        found.append(up - down)
    return torch.tensor(found)


def test_the_function_is_the_formula_also_with_unequal_sides() -> None:
    pos, neg = rows(7, 0), rows(4, 1)
    torch.testing.assert_close(mean_difference(pos, neg), literal(pos, neg), rtol=1e-6, atol=1e-7)


def test_streaming_in_any_pieces_equals_the_function() -> None:
    pos, neg = rows(9, 0, 1e4), rows(5, 1, 1e4)
    fitter = MeanDifference()
    fitter.update(pos[:2], neg[:0])
    fitter.update(pos[2:3], neg[:4])
    late = MeanDifference()
    late.update(pos[3:], neg[4:])
    fitter.merge(late)
    fitter.merge(MeanDifference())
    assert torch.equal(fitter.fit(), mean_difference(pos, neg))
    assert (fitter.n_positive, fitter.n_negative) == (9, 5)


def test_sums_do_not_lose_a_small_difference_in_half_precision() -> None:
    pos = torch.full((4096, 2), 1.0, dtype=torch.bfloat16)
    neg = torch.full((4096, 2), 0.5, dtype=torch.bfloat16)
    assert torch.equal(mean_difference(pos, neg), torch.tensor([0.5, 0.5]))


def test_a_planted_direction_is_recovered_and_shuffled_labels_do_not_recover_it() -> None:
    planted = torch.nn.functional.normalize(rows(1, 5)[0], dim=0)
    pos, neg = rows(400, 0) + 2 * planted, rows(400, 1) - 2 * planted
    found = mean_difference(pos, neg)
    assert torch.cosine_similarity(found, planted, dim=0) > 0.98
    both = torch.cat([pos, neg])[torch.randperm(800, generator=torch.Generator().manual_seed(2))]
    shuffled = mean_difference(both[:400], both[400:])
    assert shuffled.norm() < 0.2 * found.norm()


def test_a_side_without_rows_is_refused() -> None:
    with pytest.raises(MethodError, match="given 3 positive and 0 negative activations"):
        mean_difference(rows(3, 0), rows(0, 1))
    with pytest.raises(MethodError, match="given 0 positive and 0 negative"):
        MeanDifference().fit()


def test_both_tables_name_the_same_methods_and_an_unknown_one_is_refused() -> None:
    assert set(METHODS) == set(FITTERS)
    with pytest.raises(MethodError, match=r"'mean_diference' is not a method.*Did you mean 'mean_difference'"):
        make_fitter("mean_diference")
