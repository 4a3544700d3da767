"""How often 95 % intervals hold the truth, and how often tests reject a true null, where the truth is known.

    python tests/benchmarks/coverage.py [--runs 2000]        a few minutes on one thread

Each row is a quantity of which a study gives an interval, drawn anew in every run by a model whose truth is written
beside it, and given to the function that studies use. It writes the tables of `docs/statistics.md` and prints them,
and, last, one line of JSON.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from lens_steer.evaluation.side_effects import SideEffects
from lens_steer.metrics.selectivity import selectivity
from lens_steer.metrics.significance import sign_flip_p
from lens_steer.metrics.statistics import (
    Interval,
    mean_interval,
    rate_interval,
    ratio_interval,
    two_level_interval,
)
from lens_steer.metrics.steerability import steerability

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"
SIZES, RESAMPLES, FROM, TO = (12, 30, 200), 1999, 0.92, 0.98
STRENGTHS = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
Rng = np.random.Generator
Draw = Callable[[Rng, int], tuple[float, float]]
"""One run with n items: the bounds."""


@dataclass(frozen=True)
class Quantity:
    """What is estimated, its truth, and one run of it."""

    name: str
    truth: float
    draw: Draw


def bounds(found: Interval) -> tuple[float, float]:
    return found.low, found.high


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=float))


def mean(draw: Callable[[Rng, int], np.ndarray]) -> Draw:
    return lambda rng, n: bounds(mean_interval(tensor(draw(rng, n)), resamples=RESAMPLES))


def slope(rng: Rng, n: int) -> tuple[float, float]:
    """Slopes of a skewed distribution, and noise about each line."""
    slopes = rng.gamma(2, 0.5, n) - 0.5
    curves = tensor(slopes)[:, None] * STRENGTHS.double() + tensor(rng.normal(0, 0.5, (n, len(STRENGTHS))))
    return bounds(mean_interval(steerability(curves, STRENGTHS), resamples=RESAMPLES))


def rate(p: float) -> Draw:
    return lambda rng, n: bounds(rate_interval(tensor(rng.random(n) < p)))


def clustered(p: float, same: float) -> Draw:
    """Two orders: with probability |same| the second answer has the quantile of the first one, or the opposite one."""

    def draw(rng: Rng, n: int) -> tuple[float, float]:
        u, again = rng.random(n), rng.random(n)
        tied = rng.random(n) < abs(same)
        second = np.where(tied, u if same > 0 else 1 - u, again)
        return bounds(rate_interval(tensor(np.stack([u < p, second < p], axis=1))))

    return draw


def tokens(rng: Rng, n: int) -> np.ndarray:
    """Predicted tokens of documents of unequal length."""
    return 10 + rng.poisson(rng.lognormal(math.log(100), 0.6, n)).astype(float)


def retained(share: float, alike: float) -> Draw:
    """Correct tokens that documents retain; the larger `alike`, the more alike they are."""

    def draw(rng: Rng, n: int) -> tuple[float, float]:
        right = 1 + rng.binomial(tokens(rng, n).astype(int), rng.beta(6, 9, n)).astype(float)
        stay = rng.binomial(right.astype(int), rng.beta(share * alike, (1 - share) * alike, n))
        return bounds(ratio_interval(tensor(stay), tensor(right), resamples=RESAMPLES))

    return draw


def per_token(name: str, draw: Callable[[Rng, int], np.ndarray]) -> Draw:
    """`kl` or `relative_perplexity` of documents whose mean over tokens is drawn."""

    def run(rng: Rng, n: int) -> tuple[float, float]:
        size = tokens(rng, n)
        total, ones = tensor(size * draw(rng, n)), torch.ones(n, dtype=torch.float64)
        found = SideEffects(
            tokens=tensor(size),
            right_unsteered=ones,
            right_steered=ones,
            among_ten_unsteered=ones,
            among_ten_steered=ones,
            log_likelihood_unsteered=total,
            log_likelihood_steered=torch.zeros_like(total),
            kl_sum=total,
        )
        return bounds(found.intervals(resamples=RESAMPLES)[name])

    return run


def lost(rng: Rng, n: int) -> np.ndarray:
    """The log-likelihood that documents lose a token."""
    return rng.normal(0.1, 0.1, n)


def kl(rng: Rng, n: int) -> np.ndarray:
    """The KL a token of documents."""
    return rng.lognormal(math.log(0.2) - 0.8**2 / 2, 0.8, n)


def kl_ratio(rng: Rng, n: int) -> tuple[float, float]:
    """The KL of one method over that of another, on the same documents."""
    shared = tokens(rng, n) * rng.lognormal(0, 0.6, n)
    one, other = (shared * rng.lognormal(middle, 0.4, n) for middle in (math.log(0.3), math.log(0.2)))
    return bounds(ratio_interval(tensor(one), tensor(other), resamples=RESAMPLES))


def ratio(rng: Rng, n: int) -> tuple[float, float]:
    """Numerators and denominators that are independent."""
    return bounds(ratio_interval(tensor(rng.gamma(3, 1, n)), tensor(rng.gamma(4, 1, n)), resamples=RESAMPLES))


def selective(rng: Rng, n: int) -> tuple[float, float]:
    """What text retains where the target has fallen to half: between .9 and .8, half-way."""
    curves = []
    for shares in ((1.0, 0.8, 0.6, 0.4, 0.2), (1.0, 0.97, 0.9, 0.8, 0.7)):
        right = 1 + rng.binomial(tokens(rng, n).astype(int), 0.4)
        alike = rng.normal(0, 0.06, n)
        curves.append(
            tensor(np.array([rng.binomial(right, np.clip(s + alike * (s < 1) * (1 - s), 0, 1)) for s in shares]))
        )
    (found,) = selectivity([0.0, 1.0, 2.0, 3.0, 4.0], *curves, levels=[0.5], resamples=499)
    return found.low, found.high


def method(rng: Rng, n: int) -> tuple[float, float]:
    """What a method reaches with 40 training pairs: items differ in how they answer to a vector, and vectors do."""
    pairs, gains, noise = rng.normal(1, 1, 40), rng.normal(1, 0.5, n), rng.normal(0, 0.3, n)
    again = pairs[rng.integers(40, size=(20, 40))].mean(axis=1)
    refits = tensor(gains * again[:, None] + noise)
    return bounds(two_level_interval(tensor(gains * pairs.mean() + noise), refits, pairs=40))


QUANTITIES = (
    Quantity("mean, normal", 0.0, mean(lambda rng, n: rng.normal(size=n))),
    Quantity("mean, t of 3 degrees", 0.0, mean(lambda rng, n: rng.standard_t(3, n))),
    Quantity("mean, exponential", 1.0, mean(lambda rng, n: rng.exponential(size=n))),
    Quantity("mean, lognormal (sigma 0.7)", math.exp(0.245), mean(lambda rng, n: rng.lognormal(0, 0.7, n))),
    Quantity("mean, lognormal (sigma 1)", math.exp(0.5), mean(lambda rng, n: rng.lognormal(0, 1, n))),
    Quantity("slope (steerability)", 0.5, slope),
    *(Quantity(f"rate {p:g}", p, rate(p)) for p in (0.5, 0.7, 0.9, 0.95, 0.97, 0.99)),
    *(Quantity(f"rate {p:g}, orders alike by half", p, clustered(p, 0.5)) for p in (0.5, 0.9, 0.97)),
    *(Quantity(f"rate {p:g}, orders opposite by half", p, clustered(p, -0.5)) for p in (0.5, 0.9, 0.97)),
    Quantity("share of tokens retained, .92", 0.92, retained(0.92, 12)),
    Quantity("share of tokens retained, .7", 0.7, retained(0.7, 12)),
    Quantity("share retained at a level of .5", 0.85, selective),
    Quantity("ratio of sums", 0.75, ratio),
    Quantity("relative perplexity", math.exp(0.1), per_token("relative_perplexity", lost)),
    Quantity("KL a token (sigma 0.8)", 0.2, per_token("kl", kl)),
    Quantity("KL of one method over another's", 1.5, kl_ratio),
    Quantity("method, 40 pairs", 1.0, method),
)
NULLS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "normal differences": lambda rng, n: rng.normal(size=n),
    "differences of t of 3 degrees": lambda rng, n: rng.standard_t(3, n),
    "difference of two lognormal numbers": lambda rng, n: rng.lognormal(0, 1, n) - rng.lognormal(0, 1, n),
    "difference of two rates of .9": lambda rng, n: (rng.random(n) < 0.9) * 1.0 - (rng.random(n) < 0.9),
}


def covered(quantity: Quantity, n: int, runs: int, seed: int = 0) -> tuple[float, float]:
    """The share of runs with an interval in which it holds the truth, and the share of runs without one."""
    rng = np.random.default_rng(seed)
    found = np.array([quantity.draw(rng, n) for _ in range(runs)])
    given = ~np.isnan(found[:, 0])
    low, high = found[given].T
    return float(np.mean((low <= quantity.truth + 1e-12) & (quantity.truth <= high + 1e-12))), float(1 - given.mean())


def rejected(draw: Callable[[Rng, int], np.ndarray], n: int, runs: int, seed: int = 0) -> float:
    """The share of runs in which a true null is rejected at .05."""
    rng = np.random.default_rng(seed)
    return float(np.mean([sign_flip_p(tensor(draw(rng, n)), flips=RESAMPLES) <= 0.05 for _ in range(runs)]))


def rows(runs: int) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Each quantity with its coverage at each size."""
    for quantity in QUANTITIES:
        cells = [covered(quantity, n, runs) for n in SIZES]
        print(f"{quantity.name:36}", *(f"{share:.3f} ({none:.2f})" for share, none in cells), flush=True)
        yield quantity.name, cells


def table(runs: int) -> tuple[str, dict[str, float]]:
    """The text between the marks of the document, and the line of JSON."""
    sizes = " | ".join(f"n = {n}" for n in SIZES)
    lines = [f"| 95 % interval of | {sizes} |", "|---|" + "---:|" * len(SIZES)]
    outside, shares = [], []
    for name, cells in rows(runs):
        shown = []
        for n, (share, none) in zip(SIZES, cells, strict=True):
            inside = FROM <= round(share, 3) <= TO
            outside += [] if inside else [f"{name} at n = {n}"]
            refused = f" ({100 * none:.0f} % without)" if none >= 0.005 else ""
            shown.append(f"{100 * share:.1f}{refused}" if inside else f"**{100 * share:.1f}**{refused}")
            shares.append(share)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    levels = [[rejected(draw, n, runs) for n in SIZES] for draw in NULLS.values()]
    tests = [f"| sign-flip test of | {sizes} |", "|---|" + "---:|" * len(SIZES)]
    tests += [
        f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in found)} |"
        for name, found in zip(NULLS, levels, strict=True)
    ]
    text = [
        f"Per cent of {runs} runs in which the interval holds the truth; bold: outside {100 * FROM:.0f} to "
        f"{100 * TO:.0f} ({', '.join(outside) or 'none'}).",
        *("", *lines, ""),
        f"Per cent of {runs} runs in which a true null is rejected at the level of 5 %.",
        *("", *tests),
    ]
    facts = {"runs": runs, "cells": len(shares), "outside": len(outside), "least": min(shares), "most": max(shares)}
    return "\n".join(text), facts | {"most rejected": max(map(max, levels))}


def main() -> None:
    """Simulates everything, writes the tables into the document and prints them."""
    parser = argparse.ArgumentParser(description="Coverage of 95 % intervals in simulation.")
    parser.add_argument("--runs", type=int, default=2000)
    text, facts = table(parser.parse_args().runs)
    document = DOCS.read_text(encoding="utf-8")
    marked = re.sub(r"(?s)(<!-- coverage -->\n).*(\n<!-- end -->)", lambda m: m[1] + text + m[2], document)
    DOCS.write_text(marked, encoding="utf-8")
    print(text)
    print(json.dumps({key: round(value, 3) for key, value in facts.items()}))


if __name__ == "__main__":
    main()
