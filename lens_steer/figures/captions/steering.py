"""Captions of steered behaviours and of methods compared."""

import pandas as pd

from lens_steer.figures.captions.common import NO_SIDE_EFFECTS, counted, of_model, sample, scale, steered
from lens_steer.figures.style import Caption

OVER_ITEMS = "95 % over items"


def curves_caption(curves: pd.DataFrame, measure: str) -> Caption:
    """Of `steering_curves`."""
    return Caption(
        shown=f"{measure.capitalize()}{of_model(curves)} over strength, each behaviour at one site and position rule; "
        "crosses are collapsed points, a square marks one-sided unsteered answers, which are not counted as collapse; "
        f"dotted: {'half of the answers match' if measure == 'matching rate' else 'both options are as likely'}.",
        n=f"{counted(curves['behaviour'].nunique(), 'behaviour')}; {sample(curves, 'item')}",
        interval=OVER_ITEMS,
        control=steered(curves, "a grey bar is their middle 95 % at that strength"),
        strength_scale=scale(curves),
        side_effects=NO_SIDE_EFFECTS,
    )


def map_caption(configurations: pd.DataFrame, measure: str) -> Caption:
    """Of `layer_strength_map`."""
    return Caption(
        shown=f"{measure.capitalize()}{of_model(configurations)} at every layer and strength; a cross marks a "
        "collapsed configuration, a square the chosen point.",
        n=f"{counted(configurations['behaviour'].nunique(), 'panel')}; {sample(configurations, 'item')}",
        interval="none drawn; in the data, 95 % over items"
        if "rate_low" in configurations.columns
        else "none: the table has rates alone",
        control="none: the map has the steering vector alone; random directions are in the steering curves",
        strength_scale=scale(configurations),
    )


def methods_caption(table: pd.DataFrame) -> Caption:
    """Of `method_heatmap`: one row a method, one column a behaviour and their mean."""
    rows = [str(name) for name in table.index]
    random = [name for name in rows if name.startswith("random")]
    behaviours = [name for name in table.columns if name != "mean"]
    return Caption(
        shown="Half the difference in logit difference between the promoting and the suppressing end of each method, "
        "in nats; a dash marks what failed or does not reach that KL. Prompts, gates and turns that end before it have "
        "a KL of their own.",
        n=f"{len(rows) - len(random)} methods, {len(behaviours)} behaviours; items are counted in the leaderboard",
        interval="none drawn; in the leaderboard and the table of effects, 95 % over items",
        control=f"the last row: {random[0]}" if random else "none: no row of random directions",
        strength_scale="calibrated to the same KL on neutral text",
    )
