"""Intervals hold the truth as often as they say, and the plain bootstrap that they replace does not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
RUNS = 250


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [
        *("mean, normal", "mean, exponential", "slope (steerability)", "rate 0.9", "rate 0.97"),
        *("rate 0.9, orders alike by half", "share of tokens retained, .92", "relative perplexity"),
        *("KL of one method over another's", "method, 40 pairs"),
    ],
)
def test_intervals_of_few_items_cover(benchmark: Any, name: str) -> None:
    (quantity,) = (quantity for quantity in benchmark.QUANTITIES if quantity.name == name)
    share, without = benchmark.covered(quantity, 12, RUNS)
    assert share > 0.9 and without < 0.1, "three standard errors of 250 runs below .95"


def test_a_percentile_bootstrap_of_few_skewed_items_or_high_rates_would_not() -> None:
    rng, drawn = np.random.default_rng(0), np.random.default_rng(1).integers(12, size=(999, 12))
    for truth, draw in ((np.exp(0.5), lambda: rng.lognormal(0, 1, 12)), (0.97, lambda: (rng.random(12) < 0.97) * 1.0)):
        ends = np.array([np.quantile(draw()[drawn].mean(axis=1), [0.025, 0.975]) for _ in range(RUNS)])
        assert np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) < 0.87


def test_a_true_null_is_rejected_at_the_level(benchmark: Any) -> None:
    for draw in benchmark.NULLS.values():
        assert benchmark.rejected(draw, 12, RUNS) < 0.1


def test_the_tables_of_the_document_are_those_of_the_script(benchmark: Any) -> None:
    text = benchmark.DOCS.read_text(encoding="utf-8")
    assert all(f"| {quantity.name} |" in text for quantity in benchmark.QUANTITIES)
    assert all(f"| {name} |" in text for name in benchmark.NULLS)
