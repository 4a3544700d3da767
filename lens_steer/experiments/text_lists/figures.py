"""The figure of two lists of texts: choice of the site, effect beside controls, both lists, and side effects."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.figures.captions.common import counted, of_model, sample, scale
from lens_steer.figures.style import (
    BOTTOM,
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    STEERED,
    STYLE,
    TOP,
    Caption,
    Figure,
    add_legend,
    drawable,
)

COLOURS = {"positive": TOP, "negative": BOTTOM}


def text_list_panels(
    layers: pd.DataFrame, vectors: pd.DataFrame, curves: pd.DataFrame, side_effects: pd.DataFrame
) -> Figure:
    """Two lists in four panels: slope by layer, effect beside controls, likelihood of both lists, KL on neutral texts.

    Args:
        layers: from `study_texts`: one row a site.
        vectors: likewise: one row a vector.
        curves: likewise: one row a strength and list.
        side_effects: likewise: one row a strength and measure.

    Returns:
        The figure.

    Raises:
        ScoreError: a frame is empty or lacks a column.
    """
    drawable(layers, ("layer", "slope", "control_low", "control_high", "chosen", "n"))
    drawable(vectors, ("vector", "effect", "strength", "site"))
    drawable(curves, ("strength", "list", "change", "change_low", "change_high", "scale", "n"))
    drawable(side_effects, ("strength", "measure", "value", "low", "high", "n"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.3), layout="constrained")
        first, second, third, fourth = figure.subplots(1, 4)
        _layers(first, layers.sort_values("layer"))
        _effects(second, vectors)
        for name, own in curves.sort_values("strength").groupby("list", sort=False):
            look = {"color": COLOURS[str(name)], "label": f"{name} texts"}
            _line(third, own, ("change", "change_low", "change_high"), look)
        third.axhline(0, color="black", lw=0.4, ls=":")
        third.set_title("change (nats a token)")
        spoilt = side_effects[side_effects["measure"].eq("kl")].sort_values("strength")
        _line(fourth, spoilt, ("value", "low", "high"), {"color": INK[2], "label": "neutral texts"})
        fourth.set_title("KL (nats a token)")
        for axis in (third, fourth):
            axis.set_xlabel(f"strength ({curves['scale'].iloc[0]})")
        add_legend(figure)
        figure.caption = _caption(layers, vectors, curves, side_effects)
        return figure


def _layers(axis: Axes, rows: pd.DataFrame) -> None:
    """The slope at each layer over the middle of the controls, and the chosen one."""
    axis.fill_between(rows["layer"], rows["control_low"], rows["control_high"], color=CONTROL, alpha=0.3, lw=0)
    axis.plot(rows["layer"], rows["slope"], color=STEERED, lw=1.2, label="steering vector")
    chosen = rows[rows["chosen"]]
    axis.plot(chosen["layer"], chosen["slope"], "o", color=STEERED, ms=4, mfc="white", label="chosen site")
    axis.axhline(0, color="black", lw=0.4, ls=":")
    axis.set(title="slope, validation texts", xlabel="layer")


def _effects(axis: Axes, rows: pd.DataFrame) -> None:
    """The effect of each vector on test texts, by kind."""
    kinds = rows["vector"].str.split(" ").str[0]
    for place, kind in enumerate(kinds.unique()):
        own = rows.loc[kinds.eq(kind), "effect"].sort_values()
        spread = [place + (k / max(len(own) - 1, 1) - 0.5) * 0.5 * (len(own) > 1) for k in range(len(own))]
        look: dict[str, Any] = {"s": 6, "color": CONTROL, "label": "controls"}
        axis.scatter(spread, own, **({"s": 14, "color": STEERED} if kind == STEERING else look))
    axis.axhline(0, color="black", lw=0.4, ls=":")
    axis.set_xticks(range(kinds.nunique()), list(kinds.unique()))
    axis.set_title("effect (nats a token)")


def _line(axis: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], look: dict[str, Any]) -> None:
    """A measure over strength with its interval."""
    value, low, high = (rows[column] for column in columns)
    axis.fill_between(rows["strength"], low, high, color=look["color"], alpha=0.25, lw=0)
    axis.plot(rows["strength"], value, marker="o", ms=2.5, lw=1.2, **look)


def _caption(layers: pd.DataFrame, vectors: pd.DataFrame, curves: pd.DataFrame, side_effects: pd.DataFrame) -> Caption:
    """Of `text_list_panels`."""
    kinds = vectors["vector"].str.split(" ").str[0].value_counts()
    texts = sample(curves, "test text")
    return Caption(
        shown=f"The vector between two lists of texts{of_model(curves)}: how fast adding it makes the one list "
        "likelier than the other on validation texts, by layer; its effect on test texts; the change of the likelihood "
        "of test texts of each list over strength; the KL from the unsteered model on neutral texts.",
        n=f"{counted(int(layers['n'].iloc[0]), 'validation text')}; {texts} a list; "
        + sample(side_effects, "neutral text"),
        interval="95 % over texts",
        control=f"{kinds.get('shuffled', 0)} vectors of shuffled labels and {kinds.get('random', 0)} random directions "
        "of the same norm, each at its own chosen site and strength; on the left their middle 95 %",
        strength_scale=scale(curves),
        side_effects="the panel on the right",
    )
