"""Side effects on ordinary text: the formulas, written out, and strengths found at a given KL."""

from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.errors import DataError, SteeringError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.side_effects import measure_side_effects, side_effect_grid
from lens_steer.hooks import Intervention, steer
from lens_steer.model import tokenize
from lens_steer.vector import SteeringVector


@torch.no_grad()
def test_the_sums_are_the_formulas_text_by_text(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    edit = Intervention.of(vector, "resid_post@1", 1.0)
    found = measure_side_effects(llama, texts, [edit], batch_size=2)
    for i, row in enumerate(tokenize(llama, texts)):
        p = llama(torch.tensor([row]))[0].log_softmax(-1)
        with steer(llama, edit):
            q = llama(torch.tensor([row]))[0].log_softmax(-1)
        kl = sum(float((p[t].exp() * (p[t] - q[t])).sum()) for t in range(len(row) - 1))
        assert float(found.kl_sum[i]) == pytest.approx(kl, rel=1e-4, abs=1e-6)
        for table, right, likelihood in (
            (p, found.right_unsteered, found.log_likelihood_unsteered),
            (q, found.right_steered, found.log_likelihood_steered),
        ):
            assert int(right[i]) == sum(int(table[t].argmax()) == row[t + 1] for t in range(len(row) - 1))
            wanted = sum(float(table[t, row[t + 1]]) for t in range(len(row) - 1))
            assert float(likelihood[i]) == pytest.approx(wanted, rel=1e-4)
            ranks = [int((table[t] > table[t, row[t + 1]]).sum()) for t in range(len(row) - 1)]
            ten = found.among_ten_unsteered if table is p else found.among_ten_steered
            assert int(ten[i]) == sum(rank < 10 for rank in ranks)
        assert int(found.tokens[i]) == len(row) - 1
    assert found.kl > 0 and found.relative_perplexity != 1.0


def test_without_interventions_nothing_is_damaged(llama: Any, texts: list[str]) -> None:
    found = measure_side_effects(llama, texts, [])
    assert found.kl == 0 and found.relative_perplexity == 1.0
    assert torch.equal(found.right_steered, found.right_unsteered)
    assert list(found.to_frame()["tokens"]) == [len(row) - 1 for row in tokenize(llama, texts)]


def test_side_effect_that_cannot_be_measured_is_refused(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    with pytest.raises(DataError, match="0 texts"):
        measure_side_effects(llama, [], [])
    with pytest.raises(DataError, match="at least two tokens"):
        measure_side_effects(llama, [""], [])
    with pytest.raises(SteeringError, match="edited no token"):
        measure_side_effects(llama, texts, [Intervention.of(vector, "resid_post@1", 1.0, positions="500")])


def test_a_grid_of_points_gives_what_each_gives_alone_by_reuse_and_plainly(
    llama: Any, vector: SteeringVector, texts: list[str]
) -> None:
    configurations = [
        [Intervention.of(vector, f"resid_post@{layer}", strength, positions=rule)]
        for layer in range(3)
        for strength in (-1.0, 1.0)
        for rule in ("all", "2:6")
    ]
    together = side_effect_grid(llama, texts, [*configurations, []], GridOptions(batch_size=8))
    plain = side_effect_grid(llama, texts, [*configurations, []], GridOptions(batch_size=2, reuse=False))
    assert len(together) == 13
    for one, other in zip(together, plain, strict=True):
        np.testing.assert_allclose(one.to_frame(), other.to_frame(), rtol=1e-5, atol=1e-5)
    assert together[-1].kl == 0 and min(found.kl for found in together[:-1]) > 0
    assert together[0].kl == pytest.approx(measure_side_effects(llama, texts, configurations[0]).kl, rel=1e-4)


def test_texts_can_be_cut(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    cut = side_effect_grid(llama, texts, [[Intervention.of(vector, "resid_post@0", 1.0)]], max_tokens=4)[0]
    rows = tokenize(llama, texts)
    assert cut.tokens.tolist() == [min(len(row), 4) - 1 for row in rows] and max(map(len, rows)) > 4


def test_the_tax_is_paired_and_has_intervals_over_texts(llama: Any, vector: SteeringVector, texts: list[str]) -> None:
    texts = [f"{text} {more}" for text in texts for more in ("The cat sat.", "one dollar today", "ten")]
    found = measure_side_effects(llama, texts, [Intervention.of(vector, "resid_post@1", 0.5)])
    intervals = found.intervals(resamples=499)
    for name in ("relative_top1", "relative_top10", "relative_perplexity", "kl"):
        bounds = intervals[name]
        assert bounds.value == pytest.approx(getattr(found, name)) and not bounds.low > bounds.value > bounds.high
        assert bounds.n == len(texts) and bounds.confidence == 0.95
    assert intervals["kl"].low > 0 and intervals == found.intervals(resamples=499)
    still = measure_side_effects(llama, texts, []).intervals(resamples=99)
    assert all(still[name].low == still[name].high for name in still) and still["relative_top1"].value == 1
