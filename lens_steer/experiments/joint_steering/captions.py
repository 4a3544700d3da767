"""Captions of several behaviours at once: schemes, interference, signal detection.

Only interference has random directions as its control.
"""

import pandas as pd

from lens_steer.figures.captions.common import NO_SIDE_EFFECTS, of_model, sample, scale
from lens_steer.figures.style import Caption

OVER_ITEMS = "95 % over test items"
UNSTEERED = "the unsteered model; no random directions"
CROSSES = "crosses are collapsed answers, squares unsteered ones that are one-sided"


def individual_caption(test: pd.DataFrame, point: str) -> Caption:
    """Of `individual_bars`."""
    return Caption(
        shown=f"Matching rate of each behaviour{of_model(test)}, unsteered and steered by its own vector "
        f"alone, each {_at(point)}; {CROSSES}.",
        n=_behaviours(test),
        interval=OVER_ITEMS,
        control=UNSTEERED,
        strength_scale=scale(test),
        side_effects=_cost(test[test["scheme"].eq("individual") & test["point"].eq(point)]),
    )


def combined_caption(test: pd.DataFrame) -> Caption:
    """Of `combined_bars`."""
    schemes = test[test["steered"] == "all"]
    published, equal = (_cost(schemes[schemes["point"] == point]) for point in ("as_published", "equal"))
    return Caption(
        shown=f"Matching rate of each behaviour{of_model(test)} where the vectors of all are written at "
        "one site: at strength 1 as published (above), and where each scheme has the same side effects "
        f"on validation text (below), added (blue) and subtracted (orange). Stars: its own vector alone, {_at('best')} "
        f"above, {_at('equal')} below; {CROSSES}.",
        n=_behaviours(test),
        interval=OVER_ITEMS,
        control=f"{UNSTEERED}; each behaviour's vector alone",
        strength_scale=scale(test),
        side_effects=published if published == equal else f"above, {published}; below, {equal}",
    )


def simultaneous_caption(configurations: pd.DataFrame, points: pd.DataFrame) -> Caption:
    """Of `simultaneous_curve`, from the rows that it draws."""
    count = points.loc[points["strength"] > 0, "strength"].nunique()
    return Caption(
        shown=f"Matching rate of each behaviour{of_model(configurations)} where all vectors are written, a site "
        "each, with one strength, and in the last panel the share of top-1 accuracy that neutral text retains; the "
        f"strength axis is linear up to its smallest step and logarithmic beyond; {CROSSES}.",
        n=f"{_behaviours(configurations)}; {count} strengths each way; {sample(points, 'test text', 'n_texts')}",
        interval="95 % over test items, and over texts",
        control="the unsteered model at strength 0; no random directions",
        strength_scale=scale(configurations),
        side_effects="the last panel",
    )


def schemes_caption(shown: pd.DataFrame, point: str) -> Caption:
    """Of `scheme_intervals`, from the rows that it draws."""
    return Caption(
        shown=f"Change of the logit difference towards the targets{of_model(shown)}, mean over behaviours, of each "
        f"scheme {_at(point)}. Individual: each "
        "behaviour's vector alone, its own change, its own side effects. Crosses are schemes under which answers "
        "newly collapse.",
        n=f"{shown['scheme'].nunique()} schemes; {sample(shown, 'test item')} a behaviour",
        interval=f"{OVER_ITEMS}, of each scheme by itself, not of differences",
        control="each vector alone; no random directions",
        strength_scale="none: each scheme at the strength that was chosen for it",
        side_effects=_cost(shown),
    )


def trade_off_caption(grid: pd.DataFrame) -> Caption:
    """Of `trade_off`, from the rows that it draws."""
    return Caption(
        shown=f"Change of the logit difference towards the targets{of_model(grid)}, mean over behaviours, over the KL "
        "on neutral text, along one global strength: all vectors at one site (`sum`), and at a site each "
        "(`simultaneous`). Of two curves the upper one has more effect at equal side effects. Crosses are strengths "
        "at which answers newly collapse. The axis is linear up to 0.01 nats and logarithmic beyond.",
        n=f"{grid['strength'].nunique()} strengths; {sample(grid, 'test item')} a behaviour",
        interval="95 % over test items, and over texts",
        control="the other curve; the unsteered model at 0; no random directions",
        strength_scale="the same for both curves, kept in the result's facts",
    )


def interference_caption(rows: pd.DataFrame, agreement: pd.DataFrame) -> Caption:
    """Of `interference_matrices`, from the rows that it draws and their agreement."""
    random = rows["random_low"].notna().any()
    found = "".join(
        f" {row['statistic'].capitalize()} correlation over pairs of different behaviours: {row['value']:.2f} "
        f"[{row['low']:.2f}, {row['high']:.2f}]; without geometry, from each behaviour's own effect alone, "
        f"{row['without_geometry']:.2f}; p = {row['p']:.2g} by permutation of behaviours in the geometry."
        for _, row in agreement.iterrows()
    )
    dotted = "an interval that holds 0" + (", or lie within their random directions" if random else "")
    return Caption(
        shown=f"Effect of steering one behaviour (row) on the logit difference of another (column){of_model(rows)}, "
        "half of added minus subtracted: predicted from the angle of the vectors and the effect of the column's own "
        f"vector, and measured; the diagonal (framed) is given to the prediction. Dots are measured changes that have "
        f"{dotted}. Below: measured against predicted, dashed where they are equal.{found}",
        n=f"{len(rows)} ordered pairs of {rows['steered'].nunique()} behaviours; {sample(rows, 'test item')} each",
        interval=f"{OVER_ITEMS}, below; none in the matrices",
        control="random directions of the vectors' norms, their middle 95 %" if random else "none: none were steered",
        strength_scale="one strength for all, kept in the result's facts",
        side_effects=NO_SIDE_EFFECTS,
    )


def detection_caption(test: pd.DataFrame, point: str) -> Caption:
    """Of `detection_points`."""
    return Caption(
        shown=f"Hit rate against false-alarm rate of each behaviour{of_model(test)}, unsteered and steered "
        f"by its own vector alone, {_at(point)}: across the diagonal the behaviour changes, along it the preference "
        f"for a letter; {CROSSES}.",
        n=_behaviours(test),
        interval="none: two rates a point; intervals of the matching rate are in the bars",
        control=f"{UNSTEERED}; dashed: answers that do not depend on the behaviour",
        strength_scale=scale(test),
        side_effects=_cost(test[test["scheme"].eq("individual") & test["point"].eq(point)]),
    )


def _at(point: str) -> str:
    """A chosen point in words."""
    return {
        "best": "at the best strength within the budget of side effects",
        "equal": "at equal side effects on validation text",
    }.get(point, f"at its {point} point")


def _behaviours(test: pd.DataFrame) -> str:
    return f"{test['behaviour'].nunique()} behaviours, {sample(test, 'test item')} each"


def _cost(rows: pd.DataFrame) -> str:
    """The KL of the rows that are drawn."""
    if "kl" not in rows.columns or rows["kl"].isna().all():
        return NO_SIDE_EFFECTS
    return f"a KL of {rows['kl'].min():.2g} to {rows['kl'].max():.2g} nats a token on neutral test text"
