# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
"""Figures of the optimiser: what is reached at which damage, beside the published schemes and random directions."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.together import pareto_caption
from lens_steer.figures.style import COLLAPSED, CONTROL, SINGLE_COLUMN, STYLE, Figure, drawable

CELLS = ("scheme", "cell", "objective", "damage", "sound", "front", "chosen")
TESTED = ("scheme", "cell", "objective", "objective_low", "objective_high", "damage", "damage_low", "damage_high")
TESTED += ("collapsed",)

COLOURS = {
    "optimised": "#0072B2",
    "simultaneous": "#E69F00",
    "combined": "#009E73",
    "simultaneous, signed": "#CC79A7",
    "combined, signed": "#56B4E9",
}
MARKERS = {"optimised": "o", "simultaneous": "s", "combined": "^", "simultaneous, signed": "D", "combined, signed": "v"}
DAMAGE = {"kl": "damage: KL on neutral text (nats a token)", "top1_loss": "damage: top-1 lost on neutral text"}
REACH = 1.4
"""Cells that do more damage than this many budgets are left out."""


def pareto_front(cells: pd.DataFrame, tested: pd.DataFrame, budget: float, damage: str = "kl") -> Figure:
    """Objective over damage: every validation cell with each scheme's front, and below it the fronts on test.

    Args:
        cells: columns `scheme, cell, objective, damage, sound, front, chosen`, of validation.
        tested: columns `scheme, cell, objective, damage` with `_low` and `_high`, `collapsed`, of test; rows whose
            `scheme` is `random` are directions of the same norm in the place of the chosen optimised ones.
        budget: the damage that was allowed.
        damage: what it is, `kl` or `top1_loss`.

    Returns:
        The figure; crosses are cells that are not sound (something has collapsed), larger symbols the chosen ones.

    Raises:
        ScoreError: a frame is empty or lacks a column, or a scheme has no chosen cell.
        MismatchError: results of different models.
    """
    cells, tested = drawable(cells, CELLS), drawable(tested, TESTED)
    chosen = cells[cells["chosen"]].set_index("scheme")["cell"]
    unchosen = sorted({*cells["scheme"], *tested["scheme"]} - {*chosen.index, "random"})
    if unchosen:
        raise ScoreError(f"no chosen cell of {', '.join(unchosen)}; mark one of each scheme's rows.")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, sharey=True)
        for scheme, rows in cells.groupby("scheme", sort=False):
            _validation(above, str(scheme), pd.DataFrame(rows[rows["damage"] <= REACH * budget]))
        random = tested[tested["scheme"] == "random"]
        below.plot(random["damage"], random["objective"], ".", color=CONTROL, ms=3, label="random, same norm", zorder=1)
        for scheme, rows in tested[tested["scheme"] != "random"].groupby("scheme", sort=False):
            _test(below, str(scheme), rows[rows["damage"] <= REACH * budget].sort_values("damage"), int(chosen[scheme]))
        for axis, part in ((above, "validation"), (below, "test, with 95 % intervals")):
            axis.axhline(0, color="black", lw=0.4, ls=":", zorder=0)
            axis.axvline(budget, color="black", lw=0.6, ls="--", zorder=0)
            axis.set_title(part)
        above.annotate(
            "budget",
            (budget, 0),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="bottom",
            fontsize=7,
            rotation=90,
            xytext=(-1, 2),
            textcoords="offset points",
        )
        below.set(xlabel=DAMAGE[damage], xlim=(-0.03 * budget, REACH * budget))
        figure.supylabel("effect on the targets, less interference (nats)", fontsize=8)
        labelled = {}
        for axis in (below, above):
            labelled |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        figure.legend(labelled.values(), labelled.keys(), loc="outside upper center", ncols=2, frameon=False)
        figure.caption = pareto_caption(cells, tested, budget, REACH)
        return figure


def _validation(axis: Axes, scheme: str, rows: pd.DataFrame) -> None:
    """The cells of one scheme, and the steps of its front."""
    colour = COLOURS.get(scheme, CONTROL)
    sound, fallen = rows[rows["sound"]], rows[~rows["sound"]]
    axis.plot(sound["damage"], sound["objective"], MARKERS.get(scheme, "."), color=colour, ms=2.2, alpha=0.5, mew=0)
    axis.plot(fallen["damage"], fallen["objective"], "x", color=COLLAPSED, ms=3, mew=0.7, label="collapsed")
    line = rows[rows["front"]].sort_values("damage")
    axis.step(line["damage"], line["objective"], where="post", color=colour, lw=1.1)


def _test(axis: Axes, scheme: str, rows: pd.DataFrame, chosen: int) -> None:
    """The front of one scheme on test; what was not sound on validation is not of it."""
    colour = COLOURS.get(scheme, CONTROL)
    values = rows[["damage", "objective"]].to_numpy()
    reach = [
        np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy().T - values[:, place])
        for place, name in enumerate(("damage", "objective"))
    ]
    axis.errorbar(
        values[:, 0], values[:, 1], xerr=reach[0], yerr=reach[1], fmt="none", ecolor=colour, elinewidth=0.5, alpha=0.7
    )
    axis.plot(*values.T, MARKERS.get(scheme, "."), color=colour, ms=2.5, lw=0.9, ls="-", label=scheme)
    here = rows[rows["cell"] == chosen]
    axis.plot(
        here["damage"], here["objective"], MARKERS.get(scheme, "."), color=colour, ms=6, mec="black", mew=0.6, zorder=4
    )
    fallen = rows[rows["collapsed"]]
    axis.plot(fallen["damage"], fallen["objective"], "x", color=COLLAPSED, ms=4, mew=0.8, zorder=5)
