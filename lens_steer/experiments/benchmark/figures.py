"""Pareto fronts of the benchmark: effect over side effects, one panel a kind of contender."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.figures.captions.common import counted
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    STYLE,
    Caption,
    Figure,
    drawable,
    log_x,
    outer_labels,
    words,
)

PANELS = {
    "vectors": ("vector",),
    "maps, turns and gates": ("map", "turn", "gate"),
    "prompts": ("prompt",),
    "fine-tuning": ("fine-tuning",),
}
MOST = 6
"""Contenders of one panel that are drawn: the best, of those that are not the reference in all but name."""
SAME = 0.02
"""Nats: what differs from the reference by less at every budget is not drawn beside it."""
UNSEEN = 0.01
"""Nats: where a KL of less is drawn on the axis of logarithms."""
MARKERS = "osD^vP*X"


def front_panels(fronts: pd.DataFrame) -> Figure:
    """The mean effect of contenders over their KL on test texts, at every budget.

    Args:
        fronts: `Benchmark.fronts`, one row a method and budget; the reference is drawn in every panel.

    Returns:
        The figure: points with intervals over items, one panel a kind; the largest random direction is grey.

    Raises:
        ScoreError: the frame is empty or lacks a column.
    """
    rows = drawable(
        fronts,
        ("method", "kind", "budget", "effect", "effect_low", "effect_high", "kl", "behaviours", "n", "is_reference"),
    )
    rows = rows[rows["effect"].notna()]
    reference = rows[rows["is_reference"]]
    random = rows[rows["kind"] == "control"].sort_values("kl")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 4.4), layout="constrained")
        for axis, (title, kinds) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
            own = _different(rows[rows["kind"].isin(kinds) & ~rows["is_reference"]], reference)
            best = own.groupby("method")["effect"].max().nlargest(MOST).index
            look = {"color": CONTROL, "ls": ":", "marker": "x" if len(random) == 1 else "", "ms": 4}
            axis.plot(random["kl"].clip(lower=UNSEEN), random["effect"], label="largest random", **look)
            _line(axis, reference, "black", ".", "mean difference")
            for number, method in enumerate(best):
                place = number % len(INK)
                _line(axis, own[own["method"] == method], INK[place], MARKERS[place], words(str(method)))
            axis.set_title(title)
            log_x(axis)
            axis.legend(
                fontsize=6,
                frameon=False,
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
                handlelength=1.2,
                borderaxespad=0,
            )
        outer_labels(figure, "KL on neutral test text (nats a token)", "effect (nats)")
        figure.caption = _caption(rows)
        return figure


def _different(own: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """The contenders that move more or less than the reference at some budget, or cost less than half as much."""
    beside = own.merge(reference[["budget", "effect", "kl"]], on="budget", suffixes=("", "_reference"))
    gap = (beside["effect"] - beside["effect_reference"]).abs() > SAME
    cheaper = beside["kl"] < beside["kl_reference"] / 2
    return own[own["method"].isin(beside.loc[gap | cheaper, "method"])]


def _line(axis: Axes, own: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    """One contender from budget to budget."""
    own = own.sort_values("budget")
    x = own["kl"].clip(lower=UNSEEN)
    reach = [(own["effect"] - own["effect_low"]).clip(lower=0), (own["effect_high"] - own["effect"]).clip(lower=0)]
    axis.errorbar(x, own["effect"], yerr=reach, color=colour, marker=marker, ms=3, lw=0.8, elinewidth=0.6, label=label)


def _caption(rows: pd.DataFrame) -> Caption:
    most = int(rows["behaviours"].max())
    return Caption(
        shown="Effect of each contender, mean of the behaviours, over the KL that neutral test text costs, from budget "
        f"to budget; prompts, which have no strength, at their own. At most {MOST} contenders a panel, the best, "
        "without those that cannot be told from the mean difference at any budget. A KL "
        f"below {UNSEEN:g} nats is drawn there. The axes of panels differ.",
        n=f"{rows['method'].nunique()} contenders, {counted(most, 'behaviour')}, {int(rows['n'].max())} items each",
        interval="95 % over items",
        control="the largest random direction of the mean difference's norm in size, calibrated and tested alike",
        strength_scale="calibrated on validation texts to each budget",
    )
