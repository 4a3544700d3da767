"""Figures over layers and steps: matching rates, vector quality, entropy and KL of a generation."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from lens_steer.figures.captions.layers import layers_caption, quality_caption, steps_caption
from lens_steer.figures.style import (
    COLLAPSED,
    CONTROL,
    DOUBLE_COLUMN,
    SINGLE_COLUMN,
    STEERED,
    STYLE,
    Figure,
    Rows,
    add_legend,
    drawable,
    of_one,
    outer_labels,
    panels,
    tidy,
    words,
)

MEASURES = {
    "auroc": "AUROC along the vector",
    "split_half_cosine": "cosine between halves",
    "agreement": "pairs' cosine to the vector",
}
STEPS = {"entropy": "entropy (nats)", "kl": "KL to unsteered (nats)"}


def layer_curves(configurations: Rows) -> Figure:
    """Matching rate over layers, one line per strength, one panel per behaviour and position rule.

    Args:
        configurations: from a sweep's `summary`, with a `behaviour`: columns `behaviour, layer, strength, scale,
            matching_rate, rate_low, rate_high, collapsed`, of one position rule.

    Returns:
        The figure: bands are the intervals, crosses collapsed points; strength 0 is grey.

    Raises:
        ScoreError: the frame is empty, lacks a column, or holds several position rules or scales.
        MismatchError: results of different models.
    """
    configurations = tidy(configurations, "figure_frame")
    if "behaviour" not in configurations.columns and "vector" in configurations.columns:
        configurations = configurations.assign(behaviour=configurations["vector"])
    columns = ("behaviour", "layer", "strength", "scale", "matching_rate", "rate_low", "rate_high", "collapsed")
    drawable(configurations, columns)
    of_one(
        configurations,
        [name for name in ("positions", "scale") if name in configurations.columns],
        "curves over layers",
    )
    with mpl.rc_context(STYLE):
        figure, axes = panels(configurations["behaviour"].unique(), share_y=True)
        strengths = sorted(configurations["strength"].unique())
        most = max(abs(float(strength)) for strength in strengths) or 1.0
        for axis, (name, rows) in zip(axes, configurations.groupby("behaviour", sort=False), strict=True):
            for strength in strengths:
                line = rows[rows["strength"] == strength].sort_values("layer")
                place = 0.5 + 0.5 * float(strength) / most
                colour = mpl.colormaps["RdBu_r"](place) if strength else CONTROL
                axis.fill_between(line["layer"], line["rate_low"], line["rate_high"], color=colour, alpha=0.2, lw=0)
                dots = {"color": colour, "lw": 1.1, "marker": "o", "ms": 2, "label": f"{strength:g}"}
                axis.plot(line["layer"], line["matching_rate"], **dots)
                fallen = line[line["collapsed"]]
                axis.plot(fallen["layer"], fallen["matching_rate"], "x", color=COLLAPSED, ms=4, zorder=3)
            axis.set(title=words(str(name)), ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
            locator: Any = axis.xaxis.get_major_locator()
            locator.set_params(integer=True)
        outer_labels(figure, "layer", "matching rate")
        add_legend(figure)
        figure.caption = layers_caption(configurations)
        return figure


def quality_curves(sites: pd.DataFrame, sizes: pd.DataFrame) -> Figure:
    """Quality of a vector at each layer, and its convergence with the number of pairs.

    Args:
        sites: `Quality.sites`, or `to_frame()`: columns `site, auroc, split_half_cosine, agreement`, of one kind of
            site.
        sizes: `Quality.sizes`: columns `site, size, mean, low, high`.

    Returns:
        The figure: on the left separability, stability and agreement over layers; on the right the cosine between the
        vectors of fewer pairs and of all pairs, one line per site.

    Raises:
        ScoreError: a frame is empty, or lacks a column.
        MismatchError: results of different models.
    """
    drawable(sites, ("site", *MEASURES))
    drawable(sizes, ("site", "size", "mean", "low", "high"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, label), style in zip(MEASURES.items(), ("o-", "s--", "^:"), strict=True):
            left.plot(range(len(sites)), sites[name], style, ms=3, lw=1.1, label=label)
        left.set_xticks(range(len(sites)), [str(site).partition("@")[2] for site in sites["site"]])
        left.set(xlabel=f"layer ({str(sites['site'].iloc[0]).partition('@')[0]})", ylim=(-0.05, 1.05))
        left.legend(frameon=False)
        names = list(sizes["site"].unique())
        for site, colour in zip(names, mpl.colormaps["viridis"](np.linspace(0, 0.88, len(names))), strict=True):
            line = sizes[sizes["site"] == site].sort_values("size")
            right.fill_between(line["size"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
            right.plot(line["size"], line["mean"], color=colour, marker="o", ms=2.5, lw=1.1, label=str(site))
        pairs = sorted(sizes["size"].unique())
        right.set_xscale("log")
        right.minorticks_off()
        right.set_xticks(pairs, [f"{count:g}" for count in pairs])
        right.set(xlabel="pairs", ylabel="cosine to the vector of all pairs")
        right.legend(frameon=False)
        figure.caption = quality_caption(sites, sizes)
        return figure


def step_curves(steps: Rows) -> Figure:
    """Entropy and KL at each generated step, steered and unsteered.

    Args:
        steps: `GenerationPair.to_frame()` of a recorded generation: columns `prompt, steered, step, entropy, kl`.

    Returns:
        The figure: means over prompts, with the interquartile range.

    Raises:
        ScoreError: the frame is empty or lacks a column (generate with `record=True`).
        MismatchError: results of different models.
    """
    steps = tidy(steps, "to_frame")
    drawable(steps, ("prompt", "steered", "step", *STEPS))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 3.0), layout="constrained")
        axes = list(figure.subplots(2, 1, sharex=True))
        for axis, (column, label) in zip(axes, STEPS.items(), strict=True):
            for steered, rows in steps.groupby("steered"):
                colour, name = (STEERED, "steered") if steered else ("black", "unsteered")
                each = rows.groupby("step")[column]
                axis.fill_between(
                    each.mean().index, each.quantile(0.25), each.quantile(0.75), color=colour, alpha=0.15, lw=0
                )
                axis.plot(each.mean(), color=colour, lw=1.1, marker="o", ms=2, label=name)
            axis.set_ylabel(label)
        axes[1].set_xlabel("generated step")
        axes[0].legend(frameon=False)
        figure.caption = steps_caption(steps)
        return figure
