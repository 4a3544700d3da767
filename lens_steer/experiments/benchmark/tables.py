"""Runs as tables: effects of a contender on a behaviour, and the leaderboard of their means over behaviours.

    effect      (m promoting - m suppressing) / 2      mean over seeds, then over items; m: matching - other, nats
    one-sided   m promoting - m unsteered, or m unsteered - m suppressing, where the other end could not be had
    mean        over behaviours, of their i-th items together

Intervals are over items, of the mean over seeds; `seed_sd` says how much seeds differ. The p of a method is that of
sign flips of its items against the reference's, with the same sides and at the same side effects, corrected by Holm
over all methods (and behaviours and budgets, where each has its own test). Differences within the precision of the
calibration count as none. Random directions are not tested: they say how large an effect is that means nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation.side_effects import SideEffects
from lens_steer.experiments.benchmark.contenders import RANDOM, REFERENCE
from lens_steer.experiments.benchmark.trial import SIDES, EndRun, Run
from lens_steer.metrics.significance import sign_flip_p, with_holm
from lens_steer.metrics.statistics import mean_interval, ratio_interval

EFFECTS = (
    "behaviour", "method", "kind", "budget", "meets_budget", "sides", "effect", "effect_low", "effect_high",
    "effect_why", "promoted", "suppressed", "seeds", "seed_sd", "n", "strength_promoting", "strength_suppressing",
    "kl", "kl_low", "kl_high", "kl_why", "relative_top1", "monotone", "rate_unsteered", "rate_promoting",
    "rate_suppressing", "answer_probability", "reference", "p", "p_holm", "family", "note",
)  # fmt: skip
LEADERBOARD = (
    "method", "kind", "effect", "effect_low", "effect_high", "effect_why", "behaviours", "failed", "n", "kl",
    "relative_top1", "meets_budget", "reference", "p", "p_holm", "family", "random_largest", "beyond_random", "note",
)  # fmt: skip
CALIBRATED = 1e-2
"""Nats: strengths are calibrated to 1 %, so that effects of some nats that differ by less are the same."""
Key = tuple[str, str, float]
"""Behaviour, method, budget."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """The effect of each item, mean over seeds, and the reference's with the same sides; None where there is none."""

    sides: str
    items: Float[Tensor, " item"] | None
    reference: Float[Tensor, " item"] | None


def tables_of(runs: Sequence[Run], kl: float, budgets: Sequence[float]) -> dict[str, pd.DataFrame]:
    """The tables of effects and means.

    Args:
        runs: of all seeds, behaviours, contenders and budgets.
        kl: the budget by which contenders are ranked.
        budgets: all of them.

    Returns:
        `effects`: one row a behaviour, method and budget. `leaderboard`: one row a method, the largest mean first.
        `fronts`: one row a method and budget.
    """
    ordered = sorted(runs, key=_key)
    groups = {key: list(own) for key, own in groupby(ordered, key=_key)}
    effects = {key: _effect(own) for key, own in groups.items()}
    places = {_key(run): None for run in runs}
    rows = [_effect_row(groups[key], effects[key]) for key in places]
    table = with_holm(pd.DataFrame(rows), "p", "methods, behaviours and budgets").reindex(columns=list(EFFECTS))
    boards = {budget: _leaderboard(table, effects, budget) for budget in budgets}
    fronts = pd.concat([_front(table, boards[budget], budget) for budget in budgets], ignore_index=True)
    return {"effects": table, "leaderboard": boards[kl], "fronts": fronts}


def _front(table: pd.DataFrame, board: pd.DataFrame, budget: float) -> pd.DataFrame:
    """The means at one budget, and those of the largest random direction of each behaviour."""
    rows = board.assign(budget=budget, is_reference=board["method"] == REFERENCE)
    at = table[(table["budget"] == budget) & (table["kind"] == "control") & table["effect"].notna()]
    if len(at):
        largest = float(at["effect"].abs().groupby(at["behaviour"]).max().mean())
        control: dict[str, Any] = {"method": f"{RANDOM} (largest)", "kind": "control", "budget": budget}
        control |= {"effect": largest, "kl": float(at["kl"].mean()), "is_reference": False}
        rows = pd.concat([rows, pd.DataFrame([control])], ignore_index=True).astype({"is_reference": bool})
    return rows[["method", "kind", "budget", "effect", "effect_low", "effect_high", "effect_why", "kl", "relative_top1",
                 "behaviours", "n", "is_reference"]]  # fmt: skip


def _key(run: Run) -> Key:
    return run.behaviour, run.method, run.budget


def _effect(own: Sequence[Run]) -> Effect:
    """The effect of one contender on one behaviour at one budget."""
    ends = {side: _ends(own, side) for side in SIDES}
    had = [side for side in SIDES if ends[side]]
    return Effect(
        sides="both" if len(had) == 2 else "".join(had),
        items=_mean([_mean([end.change for end in ends[side]]) for side in had]),
        reference=_mean([_mean([end.reference for end in ends[side]]) for side in had]),
    )


def _effect_row(own: Sequence[Run], effect: Effect) -> dict[str, Any]:
    """One row of the table of effects."""
    run = own[0]
    row: dict[str, Any] = {"behaviour": run.behaviour, "method": run.method, "kind": run.kind, "budget": run.budget}
    row |= {"meets_budget": run.meets_budget, "sides": effect.sides, "p": math.nan, "rate_unsteered": run.unsteered}
    row["note"] = " ".join(dict.fromkeys(one.why for one in own if one.why))
    row["seeds"] = sum(bool(one.ends) for one in own)
    if effect.items is None:
        return row | {"effect_why": "failed" if "failed: " in row["note"] else "unreached", "monotone": True}
    row |= mean_interval(effect.items).columns("effect") | {"n": len(effect.items)}
    each = pd.Series([_average(float(end.change.mean()) for end in one.ends.values()) for one in own if one.ends])
    row["seed_sd"] = float(each.std())
    if effect.reference is not None:
        row["reference"] = float(effect.reference.mean())
        if run.kind != "control" and run.method != REFERENCE:
            row["p"] = _test(effect.items, effect.reference)
    every = [end for side in SIDES for end in _ends(own, side)]
    for side, short in zip(SIDES, ("promoted", "suppressed"), strict=True):
        ends = _ends(own, side)
        if ends:
            row[short] = float(torch.stack([end.change for end in ends]).mean())
            row[f"strength_{side}"] = _average(end.strength for end in ends)
            row[f"rate_{side}"] = _average(end.rate for end in ends)
    row |= {"monotone": all(end.monotone for end in every)}
    row["answer_probability"] = min(end.answer_probability for end in every)
    return row | _costs([end.side_effects for end in every])


def _costs(found: Sequence[SideEffects]) -> dict[str, Any]:
    """KL with its interval over texts, and accuracy retained, mean over ends and seeds."""
    kl, tokens = (torch.stack([getattr(one, name) for one in found]).sum(dim=0) for name in ("kl_sum", "tokens"))
    right, before = (
        torch.stack([getattr(one, name) for one in found]).sum() for name in ("right_steered", "right_unsteered")
    )
    return ratio_interval(kl, tokens).columns("kl") | {"relative_top1": float(right / before)}


def _leaderboard(table: pd.DataFrame, effects: Mapping[Key, Effect], kl: float) -> pd.DataFrame:
    """One row a method: its mean over the behaviours on which it has an effect."""
    at = table[table["budget"] == kl]
    controls = at[(at["kind"] == "control") & at["effect"].notna()]
    largest = controls["effect"].abs().groupby(controls["behaviour"]).max()
    rows = []
    for method, own in at[at["kind"] != "control"].groupby("method", sort=False):
        had = own[own["effect"].notna()]
        row: dict[str, Any] = {"method": method, "kind": own["kind"].iloc[0], "behaviours": len(had), "p": math.nan}
        row |= {"failed": len(own) - len(had), "note": " ".join(dict.fromkeys(filter(None, own["note"])))}
        row["meets_budget"] = bool(own["meets_budget"].all())
        if len(had):
            found = [effects[name, str(method), kl] for name in had["behaviour"]]
            items = _mean([one.items for one in found])
            row |= mean_interval(items).columns("effect") | {"n": len(items)} if items is not None else {}
            row |= {name: float(had[name].mean()) for name in ("kl", "relative_top1")}
            row |= _against_reference(str(method), found)
            if len(largest):
                row["random_largest"] = float(largest.reindex(had["behaviour"]).mean())
                row["beyond_random"] = row["effect"] > row["random_largest"]
        rows.append(row)
    frame = with_holm(pd.DataFrame(rows), "p", "methods").reindex(columns=list(LEADERBOARD))
    return frame.sort_values("effect", ascending=False, kind="stable", ignore_index=True)


def _against_reference(method: str, found: Sequence[Effect]) -> dict[str, float]:
    """The reference's mean over the same behaviours, and the test of the difference, where the reference has them."""
    beside = [one for one in found if one.reference is not None]
    if len(beside) < len(found):
        return {}
    items, reference = _mean([one.items for one in found]), _mean([one.reference for one in found])
    if items is None or reference is None:
        return {}
    row = {"reference": float(reference.mean())}
    return row if method == REFERENCE else row | {"p": _test(items, reference)}


def effect_table(effects: pd.DataFrame, leaderboard: pd.DataFrame, kl: float) -> pd.DataFrame:
    """Method by behaviour: the effect at the budget, and the mean; the largest random direction in size last.

    Args:
        effects: one row a behaviour, method and budget.
        leaderboard: one row a method, in its order.
        kl: the budget.
    """
    at = effects[effects["budget"] == kl]
    wide = at.pivot(index="method", columns="behaviour", values="effect")[list(at["behaviour"].unique())]
    table = wide.loc[leaderboard["method"]].assign(mean=leaderboard.set_index("method")["effect"])
    random = wide[wide.index.astype(str).str.startswith(f"{RANDOM} ")]
    if random.empty:
        return table
    control = random.abs().max().to_frame(f"{RANDOM} (largest of {len(random)})").T
    return pd.concat([table, control.assign(mean=control.mean(axis=1))])


def _ends(own: Iterable[Run], side: str) -> list[EndRun]:
    """The ends of one side, of all seeds that have it."""
    return [one.ends[side] for one in own if side in one.ends]


def _test(items: Tensor, reference: Tensor) -> float:
    """Sign flips of the items' differences from the reference."""
    differences = items - reference
    return sign_flip_p(torch.where(differences.abs() > CALIBRATED, differences, 0.0))


def _mean(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The mean of items over seeds or behaviours; None where there is nothing, or one lacks."""
    had = [part for part in parts if part is not None]
    return torch.stack(had).mean(dim=0) if had and len(had) == len(parts) else None


def _average(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
