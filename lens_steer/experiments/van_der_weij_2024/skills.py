"""The broad-skill table of the paper, from the accuracies of single documents that it released.

    score(s)    = sum_d accuracy_d tokens_d / sum_d tokens_d          micro-average over the documents of strength s
    relative(s) = score(s) / score(0)
    retained    text's relative accuracy where the target's has fallen to a level, linear between strengths
    gap         the largest relative accuracy of text minus that of the target, over strengths

Source: van der Weij et al. 2024 (arXiv 2403.05767), results/coding/v_9.NN.json. Each strength was run on documents of
its own (their loader went on where the last strength had stopped), so that nothing is paired and no interval over
documents would be valid: differences below 3 % are noise. All files name the base model, whichever the paper's text
names; `RUNS` says which file is which run, and each file is checked against it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lens_steer.errors import DataError, FormatError
from lens_steer.experiments.van_der_weij_2024.checkout import (
    entry,
    group,
    number_after,
    numbers,
    read_results,
)
from lens_steer.hooks.sites import Site
from lens_steer.metrics.selectivity import LEVELS, retained_at

PREFIX = "injection_coefficients_"
METRICS = {"top1": "top1_acc", "top10": "top10_acc"}


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """One released file: which skill was steered away, after which blocks, and whether by the permuted control."""

    version: str
    target: str
    layers: tuple[int, ...]
    permuted: bool = False

    @property
    def place(self) -> dict[str, str]:
        """Target, vector and site, as they stand in every table."""
        sites = " + ".join(str(Site("resid_post", layer)) for layer in self.layers)
        return {"target": self.target, "vector": "permuted" if self.permuted else "steering", "site": sites}


_LAYERS = (0, 5, 10, 15, 20, 25, 30)
_CODE = ("9.01", "9.04", "9.05", "9.02", "9.06", "9.07", "9.03")
_PYTHON = ("9.08", "9.09", "9.10", "9.11", "9.12", "9.13", "9.14")
RUNS = (
    *(PublishedRun(version=v, target="code", layers=(layer,)) for v, layer in zip(_CODE, _LAYERS, strict=True)),
    PublishedRun(version="9.20", target="code", layers=(15,), permuted=True),
    PublishedRun(version="9.16", target="code", layers=(10, 15)),
    *(PublishedRun(version=v, target="python", layers=(layer,)) for v, layer in zip(_PYTHON, _LAYERS, strict=True)),
    PublishedRun(version="9.21", target="python", layers=(15,), permuted=True),
    PublishedRun(version="9.15", target="python", layers=(10, 15)),
)
"""The files behind the paper's figures, and the two of layers 10 and 15 together, which are in none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedSkills:
    """What the released files say of broad skills, as tidy frames.

    `runs`: one row a file, with the model it names. `curves`: one row a target, vector, site, strength and skill
    (`target` or `text`). `retained`: what text keeps at each level of the target. `gaps`: the largest gap and its
    strength. Accuracies are shares.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    retained: pd.DataFrame
    gaps: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Text retained (per cent) at each level of the target, one row a target, vector and site."""
        rows, index = self.retained.assign(percent=100 * self.retained["retained"]), ["target", "vector", "site"]
        table = rows.pivot(index=index, columns="level", values="percent")
        return table.reindex(rows.set_index(index).index.unique()).sort_index(axis=1, ascending=False)


def published_skills(folder: str | Path) -> PublishedSkills:
    """Rebuilds the broad-skill table from a checkout.

    Args:
        folder: the checkout of the paper's repository.

    Returns:
        Tidy frames.

    Raises:
        FormatError: a result file is missing, truncated, or of other layers, skills or strengths than its name says.
        DataError: a strength's documents have not one accuracy each, or one that is no share.
    """
    tables: dict[str, list[dict[str, Any]]] = {"runs": [], "curves": [], "retained": [], "gaps": []}
    for run in RUNS:
        name = f"v_{run.version}.json"
        content = read_results(folder, name)
        strengths, facts = _described(content, run, name)
        target, text = (
            [averages(content, mode, f"{PREFIX}{s}", name, METRICS) for s in strengths] for mode in _modes(run)
        )
        tables["runs"].append({"file": name, **run.place, **facts})
        relative = []
        for skill, scores in (("target", target), ("text", text)):
            ratio = {key: [score[key] / _positive(scores[0][key], name) for score in scores] for key in METRICS}
            relative.append(ratio["top1"])
            for index, (strength, score) in enumerate(zip(strengths, scores, strict=True)):
                ratios = {f"relative_{key}": ratio[key][index] for key in METRICS}
                tables["curves"].append({**run.place, "strength": strength, "skill": skill, **score, **ratios})
        tables["retained"] += [{**run.place, **row} for row in _retained(strengths, *relative)]
        gaps = [text - target for target, text in zip(*relative, strict=True)]
        tables["gaps"].append({**run.place, "strength": strengths[gaps.index(max(gaps))], "gap": max(gaps)})
    return PublishedSkills(**{name: pd.DataFrame(rows) for name, rows in tables.items()})


def micro_average(accuracies: Sequence[float | int], tokens: Sequence[float | int]) -> float:
    """The share of right tokens over documents, from the share and the number of tokens of each."""
    return math.fsum(a * n for a, n in zip(accuracies, tokens, strict=True)) / math.fsum(tokens)


def _modes(run: PublishedRun) -> tuple[str, str]:
    return f"only_{run.target}", "only_text"


def _described(content: dict[str, Any], run: PublishedRun, name: str) -> tuple[list[float], dict[str, Any]]:
    """A file's strengths, growing from 0, and what it says of itself; refuses one that is not what its name says."""
    meta, where = group(content, "meta", name), f"{name}, meta"
    wanted = {"layers": list(run.layers), "modes": list(_modes(run))}
    for key, value in {**wanted, "pos_acts": ["only_text"], "neg_acts": [_modes(run)[0]]}.items():
        if entry(meta, key, where) != value:
            raise FormatError(f"{where}: {key} is {meta[key]!r}, not {value!r}; it is another run under this name.")
    facts = {key: str(entry(meta, key, where)) for key in ("model_name", "dtype", "note")}
    if ("permuted" in facts["note"]) != run.permuted:
        expected = "the" if run.permuted else "no"
        raise FormatError(f"{where}: the note is {facts['note']!r}; expected {expected} permuted control of this name.")
    strengths = sorted({float(strength) for strength in numbers(meta, "used_ics", where)})
    if strengths[0] != 0 or len(strengths) < 2:
        raise FormatError(f"{where}: used_ics are {strengths}; expected 0 and larger ones. Check the file out again.")
    return strengths, facts


def averages(
    content: dict[str, Any], mode: str, key: str, name: str, metrics: Mapping[str, str]
) -> dict[str, float | int]:
    """The micro-averages of one skill at one strength.

    Args:
        content: of a result file.
        mode: the texts that were read, such as `only_code`.
        key: of the strength.
        name: of the file, for the message.
        metrics: by the name in the result, the name in the file.

    Returns:
        One share a metric, and over how many `documents` and `tokens`.

    Raises:
        FormatError: an entry is missing, or is no list of finite numbers.
        DataError: there is not one share a document, or a document without tokens.
    """
    where = f"{name}, {mode} at {number_after(PREFIX, key, name):g}"
    cell = group(group(content, mode, name), key, f"{name}, {mode}")
    tokens = numbers(cell, "total_encoded_tokens", where)
    if min(tokens) <= 0:
        raise DataError(f"{where}: a document of {min(tokens)} tokens; the file was changed, check it out again.")
    found = {}
    for metric, stored in metrics.items():
        shares = numbers(cell, stored, where)
        if len(shares) != len(tokens) or not 0 <= min(shares) <= max(shares) <= 1:
            raise DataError(
                f"{where}: {stored} has {len(shares)} numbers from {min(shares):g} to {max(shares):g}; expected one "
                f"share for each of {len(tokens)} documents. The file was changed, check it out again."
            )
        found[metric] = micro_average(shares, tokens)
    return {**found, "documents": len(tokens), "tokens": int(sum(tokens))}


def _positive(score: float, name: str) -> float:
    if not score > 0:
        raise DataError(f"{name}: no token is right at strength 0; nothing is relative to it.")
    return score


def _retained(strengths: list[float], target: list[float], text: list[float]) -> list[dict[str, float]]:
    """What text keeps at each level, and at what strength; NaN where the grid ends before it."""
    grid, steered, other = (
        torch.tensor(values, dtype=torch.float64, device="cpu") for values in (strengths, target, text)
    )
    rows = []
    for level in LEVELS:
        strength, retained = retained_at(grid, steered[None], other[None], level)
        rows.append({"level": level, "strength": float(strength), "retained": float(retained)})
    return rows
