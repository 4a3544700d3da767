"""What verdicts of all studies are made of: a question, its findings, and numbers in words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from lens_steer.experiments.folder import ResultFolder

LEVEL = 0.05
"""An effect counts where at most this share of random directions, itself included, goes as far."""

TOO_FEW = "too few random directions to tell"


def too_few(n_controls: int) -> bool:
    """Whether p (`metrics.significance.control_p`) cannot reach `LEVEL` beside so many controls."""
    return 1 / (1 + n_controls) > LEVEL


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


def p_words(p: float) -> str:
    """A p-value as it is printed: `p = 0.031`, `p < 0.001` below, and `no p` where nothing varies or was tested."""
    if math.isnan(p):
        return "no p"
    return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"


def percent(value: float, low: float | None = None, high: float | None = None, why: object = "") -> str:
    """A share as a reader wants it: `87 % [80, 92]`, `87 % [no interval: few]`, or without an interval `87 %`.

    `why` is the table's word for why there is no interval.
    """
    if math.isnan(value):
        return "not reached"
    said = f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
    if low is None or high is None:
        return said
    return f"{said} {bracketed(f'{100 * low:.0f}, {100 * high:.0f}', low, why)}"


def nats(value: float, low: float, high: float, why: object = "") -> str:
    """A signed change of logits with its interval: `+1.20 nats [+0.90, +1.50]`, or why it has none."""
    return f"{value:+.2f}\N{NO-BREAK SPACE}nats {bracketed(f'{low:+.2f}, {high:+.2f}', low, why)}"


def with_ends(row: Mapping[Any, Any], name: str) -> tuple[float, float, float, object]:
    """A number of a table's row with its interval and the word that says why it has none, for `percent` and `nats`."""
    return row[name], row[f"{name}_low"], row[f"{name}_high"], row.get(f"{name}_why", "")


def bracketed(ends: str, low: float, why: object) -> str:
    """The two ends of an interval in words, or why there are none: `[+0.90, +1.50]`, `[no interval: few]`."""
    if not math.isnan(low):
        return f"[{ends}]"
    return f"[no interval: {why}]" if isinstance(why, str) and why else "[no interval]"


def span(values: pd.Series, low: float = 0.0, high: float = 1.0) -> str:
    """The range of several shares, or of some percentiles of them: `14 to 93 %`."""
    ends = values.quantile(low), values.quantile(high)
    return f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}\N{NO-BREAK SPACE}%"
