"""The figure of the optimiser: objective over side effects, beside the published schemes and random directions."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.common import IN_FACTS, directions, of_model
from lens_steer.figures.style import COLLAPSED, CONTROL, SINGLE_COLUMN, STYLE, Caption, Figure, drawable

CONFIGURATIONS = ("scheme", "configuration", "objective", "side_effect", "valid", "front", "chosen")
TESTED = ("scheme", "configuration", "objective", "objective_low", "objective_high", "side_effect", "side_effect_low")
TESTED += ("side_effect_high", "collapsed")

COLOURS = {
    "optimised": "#0072B2",
    "simultaneous": "#E69F00",
    "combined": "#009E73",
    "simultaneous, signed": "#CC79A7",
    "combined, signed": "#56B4E9",
}
MARKERS = {"optimised": "o", "simultaneous": "s", "combined": "^", "simultaneous, signed": "D", "combined, signed": "v"}
SIDE_EFFECT = {
    "kl": "side effects: KL on neutral text (nats a token)",
    "top1_loss": "side effects: top-1 lost on neutral text",
}
REACH = 1.4
"""Configurations whose side effects exceed this many budgets are left out."""


def pareto_front(configurations: pd.DataFrame, tested: pd.DataFrame, budget: float, side_effect: str = "kl") -> Figure:
    """Objective over side effects: all configurations with each scheme's front on validation, and the fronts on test.

    Args:
        configurations: columns `scheme, configuration, objective, side_effect, valid, front, chosen`, of validation.
        tested: columns `scheme, configuration, objective, side_effect` with `_low` and `_high`, `collapsed`, of test;
            rows whose `scheme` is `random` are directions of the same norm in the place of the chosen optimised ones.
        budget: the side effects that were allowed.
        side_effect: how they are measured, `kl` or `top1_loss`.

    Returns:
        The figure; crosses are configurations that are not valid (something has collapsed), larger symbols the chosen
        ones.

    Raises:
        ScoreError: a frame is empty or lacks a column, or a scheme has no chosen configuration.
        MismatchError: results of different models.
    """
    configurations, tested = drawable(configurations, CONFIGURATIONS), drawable(tested, TESTED)
    chosen = configurations[configurations["chosen"]].set_index("scheme")["configuration"]
    unchosen = sorted({*configurations["scheme"], *tested["scheme"]} - {*chosen.index, "random"})
    if unchosen:
        raise ScoreError(f"no chosen configuration of {', '.join(unchosen)}; mark one of each scheme's rows.")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, sharey=True)
        for scheme, rows in configurations.groupby("scheme", sort=False):
            _validation(above, str(scheme), pd.DataFrame(rows[rows["side_effect"] <= REACH * budget]))
        random = tested[tested["scheme"] == "random"]
        below.plot(
            random["side_effect"], random["objective"], ".", color=CONTROL, ms=3, label="random, same norm", zorder=1
        )
        for scheme, rows in tested[tested["scheme"] != "random"].groupby("scheme", sort=False):
            _test(
                below,
                str(scheme),
                rows[rows["side_effect"] <= REACH * budget].sort_values("side_effect"),
                int(chosen[scheme]),
            )
        for axis, part in ((above, "validation"), (below, "test, with 95 % intervals")):
            axis.axhline(0, color="black", lw=0.4, ls=":", zorder=0)
            axis.axvline(budget, color="black", lw=0.6, ls="--", zorder=0)
            axis.set_title(part)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (-1, 2), "textcoords": "offset points"}
        above.annotate("budget", (budget, 0), ha="right", va="bottom", fontsize=7, rotation=90, **place)
        below.set(xlabel=SIDE_EFFECT[side_effect], xlim=(-0.03 * budget, REACH * budget))
        figure.supylabel("effect on the targets, less interference (nats)", fontsize=8)
        labelled = {}
        for axis in (below, above):
            labelled |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        figure.legend(labelled.values(), labelled.keys(), loc="outside upper center", ncols=2, frameon=False)
        figure.caption = _pareto_caption(configurations, tested, budget, REACH)
        return figure


def _validation(axis: Axes, scheme: str, rows: pd.DataFrame) -> None:
    """The configurations of one scheme, and the steps of its front."""
    colour = COLOURS.get(scheme, CONTROL)
    valid, fallen = rows[rows["valid"]], rows[~rows["valid"]]
    axis.plot(
        valid["side_effect"], valid["objective"], MARKERS.get(scheme, "."), color=colour, ms=2.2, alpha=0.5, mew=0
    )
    axis.plot(fallen["side_effect"], fallen["objective"], "x", color=COLLAPSED, ms=3, mew=0.7, label="collapsed")
    line = rows[rows["front"]].sort_values("side_effect")
    axis.step(line["side_effect"], line["objective"], where="post", color=colour, lw=1.1)


def _test(axis: Axes, scheme: str, rows: pd.DataFrame, chosen: int) -> None:
    """The front of one scheme on test; configurations that were not valid on validation do not belong to it."""
    colour = COLOURS.get(scheme, CONTROL)
    values = rows[["side_effect", "objective"]].to_numpy()
    reach = [
        np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy().T - values[:, place])
        for place, name in enumerate(("side_effect", "objective"))
    ]
    axis.errorbar(
        values[:, 0], values[:, 1], xerr=reach[0], yerr=reach[1], fmt="none", ecolor=colour, elinewidth=0.5, alpha=0.7
    )
    axis.plot(*values.T, MARKERS.get(scheme, "."), color=colour, ms=2.5, lw=0.9, ls="-", label=scheme)
    here = rows[rows["configuration"] == chosen]
    axis.plot(
        here["side_effect"],
        here["objective"],
        MARKERS.get(scheme, "."),
        color=colour,
        ms=6,
        mec="black",
        mew=0.6,
        zorder=4,
    )
    fallen = rows[rows["collapsed"]]
    axis.plot(fallen["side_effect"], fallen["objective"], "x", color=COLLAPSED, ms=4, mew=0.8, zorder=5)


def _pareto_caption(configurations: pd.DataFrame, tested: pd.DataFrame, budget: float, reach: float) -> Caption:
    """Of `pareto_front`."""
    random = int(tested["scheme"].eq("random").sum())
    tried = ", ".join(
        f"{count} of {scheme}" for scheme, count in configurations.groupby("scheme", sort=False).size().items()
    )
    far = int((configurations["side_effect"] > reach * budget).sum())
    return Caption(
        shown=f"Effect on the targets less interference, over side effects{of_model(configurations)}: all "
        "configurations on validation with each scheme's front (above), and the fronts on test (below). Large "
        f"symbols are the configurations chosen on validation within the budget ({budget:.2g}, dashed), crosses are "
        f"collapsed; {far} configurations beyond {reach:g} budgets are not drawn.",
        n=f"configurations on validation: {tried}; items and texts {IN_FACTS}",
        interval="95 % over test items, and over texts",
        control=directions(random, "in the place of the chosen optimised ones"),
        strength_scale="none: each configuration has strengths of its own",
    )
