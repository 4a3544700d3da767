"""Points of broad-skill steering: chosen on validation documents, reported on test documents beside random directions.

lower    the place with the most text retained where the target has fallen to a level; the first strength down to it
raise    the place and strength below 0 with the best relative accuracy of the target
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from lens_steer.experiments.broad_skill.curves import STEERING, MeasuredCurve
from lens_steer.experiments.broad_skill.vectors import ReadingRule
from lens_steer.hooks.sites import Site
from lens_steer.metrics.selectivity import selectivity_difference
from lens_steer.metrics.significance import with_holm

ENDS = ("low", "high", "why", "p", "reached")
"""Columns of a comparison behind the difference."""

Choice = tuple[tuple[Site, ...], float, float]
"""A place, a strength there, and the validation number by which it was chosen."""


def choose_lower(validated: Sequence[MeasuredCurve], level: float) -> Choice:
    """The place at which text retains most where the target falls to a level.

    Args:
        validated: one curve a place, on validation documents.
        level: of the target's relative accuracy.

    Returns:
        The place, the smallest strength of the grid at which its target is down to the level, and the text retained;
        the place whose target falls furthest, its largest strength and NaN where no place reaches the level.
    """
    retained = [found.retained([level], 0, 0)[0].retained for found in validated]
    if all(math.isnan(value) for value in retained):
        lowest = min(validated, key=lambda found: found.target[-1].relative_top1)
        return lowest.curve.place, lowest.curve.strengths[-1], math.nan
    value, best = max(zip(retained, validated, strict=True), key=lambda pair: -1 if math.isnan(pair[0]) else pair[0])
    pairs = zip(best.curve.strengths, best.target, strict=True)
    strength = next(s for s, side_effect in pairs if s > 0 and side_effect.relative_top1 <= level)
    return best.curve.place, strength, value


def choose_raise(validated: Sequence[MeasuredCurve]) -> Choice | None:
    """The place and negative strength at which the target is predicted best; None of a grid without negative ones.

    Of equal ones the first place and the smallest strength are taken.
    """
    options = [
        (side_effect.relative_top1, strength, found.curve.place)
        for found in validated
        for strength, side_effect in reversed([*zip(found.curve.strengths, found.target, strict=True)])
        if strength < 0
    ]
    if not options:
        return None
    value, strength, place = max(options, key=lambda option: option[0])
    return place, strength, value


def point_row(tested: Sequence[MeasuredCurve], choice: Choice, resamples: int, seed: int) -> dict[str, object]:
    """The test numbers of one chosen point, with the range of its random directions."""
    place, strength, value = choice
    here = [found for found in tested if found.curve.place == place and strength in found.curve.strengths]
    steered = next(found for found in here if found.curve.label == STEERING)
    random = [found.at(strength) for found in here if found.curve.label.startswith("random")]
    row = {"site": steered.curve.site, "strength": strength, "validation": value}
    for index, skill in enumerate(("target", "text")):
        side_effect, controls = steered.at(strength)[index], [pair[index].relative_top1 for pair in random]
        interval = side_effect.intervals(resamples=resamples, seed=seed)["relative_top1"]
        row |= {f"{skill}_top1": side_effect.top1, **interval.columns(f"{skill}_retained")}
        row |= {f"{skill}_random_low": min(controls, default=math.nan)}
        row |= {f"{skill}_random_high": max(controls, default=math.nan)}
    return row


def compare_targets(
    chosen: Mapping[tuple[str, ReadingRule], MeasuredCurve], levels: Sequence[float], resamples: int, seed: int
) -> pd.DataFrame:
    """The first target beside each other one: what text retains under its vector minus what it retains under theirs.

    Args:
        chosen: test curves by target and reading, each at the place chosen on validation, over the same strengths.
        levels: of either's own target.
        resamples: how many times documents are drawn.
        seed: the same seed gives the same intervals.

    Returns:
        One row a reading, other target and level: `difference` with its 95 % interval (`why` there is none), its p and
        p_holm over the `family` of a level, and the share of resamples in which both targets reach the level.
    """
    rows, broad = [], next(iter(chosen))[0]
    for (target, reading), curve in chosen.items():
        if target == broad or (broad, reading) not in chosen:
            continue
        (strengths, *first), (_, *other) = chosen[broad, reading].falling(), curve.falling()
        targets, texts = zip(first, other, strict=True)
        for found in selectivity_difference(strengths, targets, texts, levels, resamples, seed):
            row = {"reading": reading, "target": broad, "other": target, "level": found.level}
            row |= {"difference": found.retained, "low": found.low, "high": found.high, "why": found.why}
            rows.append(row | {"p": found.p, "reached": found.reached})
    frame = pd.DataFrame(rows, columns=["reading", "target", "other", "level", "difference", *ENDS])
    families = [with_holm(here, "p", f"comparisons at level {level:g}") for level, here in frame.groupby("level")]
    return pd.concat(families).sort_index() if families else frame.assign(p_holm=[], family=[])


def preferred(points: pd.DataFrame) -> pd.DataFrame:
    """Marks, of each target and direction, the reading with the best validation number; all where none has one."""
    best = points.groupby(["target", "direction"])["validation"].transform("max")
    return points.assign(chosen=(points["validation"] == best) | best.isna())
