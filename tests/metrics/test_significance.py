"""Tests of paired differences, and Holm's correction."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from transformer_lens.utilities.statistics import sign_flip_permutation_pvalue

from lens_steer.errors import ScoreError
from lens_steer.metrics.significance import bootstrap_p, control_p, holm, sign_flip_p, with_holm
from lens_steer.metrics.statistics import percentile_interval

X = torch.randn(40, generator=torch.Generator().manual_seed(0)).double() + 0.3


def test_sign_flips_give_the_p_of_scipy_and_of_transformer_lens() -> None:
    few = X[:10]
    exact = stats.permutation_test((few.numpy(),), np.mean, permutation_type="samples", n_resamples=2000)
    assert sign_flip_p(few) == pytest.approx(exact.pvalue) == pytest.approx(float(sign_flip_permutation_pvalue(few)))
    drawn = stats.permutation_test((X.numpy(),), np.mean, permutation_type="samples", n_resamples=9999, rng=1)
    assert sign_flip_p(X) == pytest.approx(drawn.pvalue, abs=0.01)


def test_both_orders_of_an_item_are_flipped_together() -> None:
    assert sign_flip_p(torch.stack([X, X], dim=1)) == sign_flip_p(X)


def test_it_rejects_at_its_level_where_an_interval_of_few_items_does_not() -> None:
    rng = np.random.default_rng(0)
    null = torch.tensor(rng.standard_t(3, size=(600, 12)))
    assert np.mean([sign_flip_p(row) <= 0.05 for row in null]) < 0.07
    assert np.mean([sign_flip_p(row + 1.5) <= 0.05 for row in null]) > 0.8


def test_no_change_is_no_evidence_and_a_lost_score_is_no_test() -> None:
    assert sign_flip_p(torch.zeros(20)) == 1
    assert math.isnan(sign_flip_p(torch.tensor([1.0, math.nan])))
    with pytest.raises(ScoreError, match="no differences"):
        sign_flip_p(torch.zeros(0))


def test_the_p_of_a_bootstrap_is_the_level_at_which_its_interval_ends_at_zero() -> None:
    drawn = np.random.default_rng(0).normal(1, 0.5, size=20_000)
    p = bootstrap_p(drawn, 15)
    assert (
        percentile_interval(1.0, drawn, 15, 1 - p * 1.05).low
        > 0
        > percentile_interval(1.0, drawn, 15, 1 - p * 0.95).low
    )
    assert math.isnan(bootstrap_p(drawn, 7)) and math.isnan(bootstrap_p(np.array([math.nan]), 30))


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1] and holm([0.2]) == [0.2]
    with pytest.raises(ScoreError, match="each between 0 and 1"):
        holm([])


def test_what_was_not_tested_does_not_count_in_the_family() -> None:
    found = with_holm(pd.DataFrame({"p": [0.01, math.nan, 0.02]}), "p", "schemes")
    assert found["p_holm"].tolist()[::2] == pytest.approx([0.02, 0.02]) and math.isnan(found["p_holm"][1])
    assert set(found["family"]) == {"2 schemes"}


def test_the_p_beside_controls_counts_the_value_among_them_and_is_never_zero() -> None:
    assert control_p(2.0, [1.0, 2.0, 3.0, -math.inf]) == 3 / 5
    assert control_p(9.0, [0.0] * 9) == 1 / 10 and control_p(-math.inf, [0.0] * 9) == 1
    assert all(math.isnan(p) for p in (control_p(1.0, []), control_p(math.nan, [1.0]), control_p(1.0, [2.0, math.nan])))
