"""Readings as tidy tables: top and bottom tokens, and the agreement between readings of one direction.

    null of an end          the values at the same end and rank of random directions of the same norm
    null of an agreement    the first reading of the vector against the second of random directions

The extreme values of a large vocabulary are large for any direction, so they are compared with those of random
directions rather than with 0. For the same reason (selection by the values shown), the interval of a contextual reading
(over contexts) is biased away from 0.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lens_steer.analysis.lens.readings import LensReading
from lens_steer.analysis.tokens import token_label
from lens_steer.errors import ScoreError
from lens_steer.metrics.ranking import overlap, rank_correlation
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel, fingerprint, token_text

ENDS = (("top", True), ("bottom", False))
BAND = (0.025, 0.975)


def token_table(
    model: SteerableModel, readings: Sequence[LensReading], k: int = 10, controls: Sequence[LensReading] = ()
) -> pd.DataFrame:
    """The tokens that directions promote and suppress most, one row per reading, end and rank.

    Args:
        model: the readings' model.
        readings: any.
        k: how many tokens at each end.
        controls: readings of random directions of the same norms; those of the same site and kind are the null.

    Returns:
        model, vector, site, layer, reading, end, rank (from 1), token_id, token, label (printable), value, unit; low
        and high (95 % over contexts), why (there is none), raised and lowered (the mean change when the direction is
        added and when it is subtracted) of contextual readings; null_low and null_high (95 % of the controls); n
        contexts, n_random and note.

    Raises:
        ScoreError: there are no readings, or k is below 1 or above half of the vocabulary.
    """
    if not readings:
        raise ScoreError("no readings; give at least one.")
    rows, label = [], fingerprint(model).label
    for reading in readings:
        if not 1 <= k <= reading.values.numel() // 2:
            raise ScoreError(f"k is {k}; give 1 to {reading.values.numel() // 2}, half of the vocabulary.")
        same = [control.values for control in controls if _same(control, reading)]
        for end, largest in ENDS:
            found = reading.values.topk(k, largest=largest)
            null = _band([values.topk(k, largest=largest).values.numpy() for values in same], k)
            for rank, token in enumerate(found.indices.tolist(), 1):
                rows.append(
                    {
                        "model": label,
                        **_place(reading),
                        "reading": reading.kind,
                        "end": end,
                        "rank": rank,
                        "token_id": token,
                        "token": token_text(model, token),
                        "label": token_label(model, token),
                        "value": float(reading.values[token]),
                        "unit": reading.unit,
                        **_changes(reading, token),
                        "null_low": null[0][rank - 1],
                        "null_high": null[1][rank - 1],
                        "n_random": len(same),
                        "note": reading.note,
                    }
                )
    return pd.DataFrame(rows)


def agreement_table(
    model: SteerableModel, readings: Sequence[LensReading], k: int = 20, controls: Sequence[LensReading] = ()
) -> pd.DataFrame:
    """Pairwise agreement of the readings of a direction at one site.

    Args:
        model: the readings' model.
        readings: of one or more sites; those of one site are compared.
        k: how many tokens make an end.
        controls: readings of random directions of the same norms; the null.

    Returns:
        model, vector, site, layer, first, second, measure (`spearman` over the vocabulary, `top overlap` and `bottom
        overlap` of k tokens), value, null_low, null_high (95 % of the first reading against the controls' second), k
        and n_random.

    Raises:
        ScoreError: no site has two readings, or k is below 1 or above the vocabulary.
    """
    rows, label = [], fingerprint(model).label
    for first, second in combinations(readings, 2):
        if first.site != second.site or first.vector != second.vector:
            continue
        others = [control for control in controls if _same(control, second)]
        for measure in ("spearman", "top overlap", "bottom overlap"):
            null = _band([np.array([_agreement(measure, first, other, k)]) for other in others], 1)
            rows.append(
                {
                    "model": label,
                    **_place(first),
                    "first": first.kind,
                    "second": second.kind,
                    "measure": measure,
                    "value": _agreement(measure, first, second, k),
                    "null_low": null[0][0],
                    "null_high": null[1][0],
                    "k": k,
                    "n_random": len(others),
                }
            )
    if not rows:
        raise ScoreError("no two readings of one vector at one site; agreement compares two.")
    return pd.DataFrame(rows)


def _agreement(measure: str, first: LensReading, second: LensReading, k: int) -> float:
    """One number for two readings."""
    if measure == "spearman":
        return rank_correlation(first.values, second.values)
    return overlap(first.values, second.values, k, largest=measure.startswith("top"))


def _changes(reading: LensReading, token: int) -> dict[str, Any]:
    """Interval and changes over contexts for one token; NaN for a reading without contexts."""
    if reading.changes is None:
        return dict.fromkeys(("low", "high", "raised", "lowered"), math.nan) | {"why": "exact", "n": 0}
    raised, lowered = reading.changes[:, :, token].double()
    found = mean_interval((raised - lowered) / 2)
    sides = {"raised": float(raised.mean()), "lowered": float(lowered.mean())}
    return {"low": found.low, "high": found.high, "why": found.why, **sides, "n": len(raised)}


def _band(values: Sequence[np.ndarray], width: int) -> np.ndarray:
    """The 95 % band of some controls, by column; NaN where there are none."""
    if not values:
        return np.full((2, width), math.nan)
    return np.quantile(np.stack(values), BAND, axis=0)


def _same(control: LensReading, reading: LensReading) -> bool:
    """Whether a control was read where and how a reading was."""
    return control.site == reading.site and control.kind == reading.kind


def _place(reading: LensReading) -> dict[str, Any]:
    """The columns that identify a reading's vector and site."""
    return {"vector": reading.vector, "site": str(reading.site), "layer": reading.site.layer}
