"""What verdicts of all studies are made of: a question, its findings, and numbers in words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from lens_steer.experiments.folder import ResultFolder

LEVEL = 0.05
"""An effect counts where at most this share of random directions, itself included, goes as far."""

TOO_FEW = "too few random directions to tell"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding in one or two sentences (`words`), and in a few words (`verdict`).

    `holds`: whether the effect in question was found beyond its control; None where nothing is judged.
    """

    subject: str
    verdict: str
    words: str
    holds: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a study asks, how it is judged, and the tables (with their columns) from which `find` computes findings."""

    title: str
    judged: str
    needs: Mapping[str, Sequence[str]]
    find: Callable[[ResultFolder], list[Finding]]

    def is_in(self, results: ResultFolder) -> bool:
        """Whether a folder has every table with every column, and a row."""
        return all(
            name in results.tables and len(frame := results.tables[name].frame) and set(columns) <= set(frame.columns)
            for name, columns in self.needs.items()
        )


def of_many(shown: int, tried: int) -> str:
    """How many tests at `LEVEL` were passed, and how often chance alone passes as many: `3 of 5 (by chance p = 0.001)`.

    Args:
        shown: tests passed.
        tried: all tests, taken to be independent.
    """
    p = float(stats.binomtest(shown, tried, LEVEL, alternative="greater").pvalue)
    return f"{shown} of {tried} (as many by chance: p = {p:.2g})"


def percent(value: float, low: float | None = None, high: float | None = None) -> str:
    """A share as a reader wants it, with its interval where there is one: `87 % [80, 92]`."""
    if math.isnan(value):
        return "not reached"
    said = f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return said
    return f"{said} [{100 * low:.0f}, {100 * high:.0f}]"


def nats(value: float, low: float, high: float) -> str:
    """A signed change of logits with its interval: `+1.20 nats [+0.90, +1.50]`."""
    return f"{value:+.2f}\N{NO-BREAK SPACE}nats [{low:+.2f}, {high:+.2f}]"


def span(values: pd.Series, low: float = 0.0, high: float = 1.0) -> str:
    """The range of several shares, or of some percentiles of them: `14 to 93 %`."""
    ends = values.quantile(low), values.quantile(high)
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}\N{NO-BREAK SPACE}%"
