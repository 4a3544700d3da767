"""Figures of attribution: contributions of components, maps of heads and MLPs, and the persistence of an edit."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lens_steer.figures.captions.attribution import bars_caption, components_caption, persistence_caption
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    STEERED,
    STYLE,
    Figure,
    Rows,
    add_legend,
    drawable,
    of_one,
    tidy,
    words,
)

KINDS = {
    "edit": "#000000",
    "embedding": "#000000",
    "head": "#0072B2",
    "attention": "#0072B2",
    "mlp": "#E69F00",
    "norm": "#CC79A7",
}
LABELS = {"head": "heads", "attention": "attention", "mlp": "MLPs", "norm": "norm scale"}
NAMES = {"head": "head", "attention": "attention", "mlp": "MLP"}
ALWAYS = ("edit", "embedding", "norm")
MEASURES = {"query": "query", "key": "key", "ov": "OV", "toward": "OV, toward the answer", "mlp": "MLP"}
SUMMARY = ("quantity", "component", "kind", "layer", "head", "value", "low", "high", "measured", "n", "additive")
TRACES = {
    "along_relative": "along the edit\n(of the stream's norm)",
    "orthogonal_relative": "orthogonal to it\n(of the stream's norm)",
    "off_manifold": "distance from unsteered\nactivations",
}


def attribution_bars(summary: Rows, most: int = 14) -> Figure:
    """Contributions of components: the largest as sorted bars, and all heads and MLPs by layer.

    Args:
        summary: from `Contributions.summary`, one quantity: columns `quantity, component, kind, layer, value, low,
            high, measured, n, additive`.
        most: number of components with their own bar; for an additive quantity, one more bar sums the others.

    Returns:
        The figure; whiskers are intervals over items, the dashed line is the measured total. The edit, the embedding
        and the norm scale always have a bar; by layer, contributions that are not additive are drawn individually.

    Raises:
        ScoreError: the frame is empty, lacks a column or holds several quantities.
        MismatchError: results of different models.
    """
    summary = tidy(summary, "summary")
    of_one(drawable(summary, SUMMARY), ("quantity",), "attribution bars")
    with mpl.rc_context(STYLE):
        additive = bool(summary["additive"].iloc[0])
        ranked = summary.sort_values("value", key=abs, ascending=False, kind="stable")
        kept = ranked["kind"].isin(ALWAYS)
        kept |= ranked.index.isin(ranked[~kept].head(most).index)
        shown, others = ranked[kept], ranked[~kept] if additive else ranked.iloc[:0]
        size = (DOUBLE_COLUMN, max(2.0, 0.75 + 0.165 * (len(shown) + 1)))
        figure = Figure(figsize=size, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        _bars(left, shown, others)
        _by_layer(right, summary, additive)
        whole = float(summary["measured"].iloc[0])
        left.axvline(whole, color="black", lw=0.8, ls="--")
        left.set_xlabel(_wrapped(f"{summary['quantity'].iloc[0]}, mean over {int(summary['n'].iloc[0])} items", 52))
        kinds = [kind for kind in KINDS if kind in set(summary["kind"])]
        handles = [Patch(color=KINDS[kind], label=LABELS.get(kind, kind)) for kind in kinds]
        line = Line2D([], [], color="black", lw=0.8, ls="--", label=f"measured: {whole:.3g}")
        figure.legend(handles=[*handles, line], loc="outside upper center", ncols=6, frameon=False)
        figure.caption = bars_caption(summary)
        return figure


def component_map(rows: Rows, value: str = "value", label: str | None = None) -> Figure:
    """Heat map of all heads (and MLPs) by layer, one panel per measure.

    Args:
        rows: from `Contributions.summary` or `Readings.to_frame`: columns `layer, head, kind` and `value`; `measure`
            where there are several.
        value: the column to draw.
        label: of the colour scale; the quantity or the column name where absent.

    Returns:
        The figure, on one colour scale centred on 0; a dot marks a component without a value.

    Raises:
        ScoreError: the frame has no heads or MLPs, lacks a column, or holds several vectors, sites or quantities.
        MismatchError: results of different models.
    """
    rows = tidy(rows, "to_frame")
    columns = ("component", "layer", "head", "kind", value)
    rows = drawable(pd.DataFrame(rows[drawable(rows, columns)["kind"].isin(("head", "mlp"))]), columns)
    of_one(rows, ("vector", "site", "quantity"), "a map of components")
    with mpl.rc_context(STYLE):
        caption, rows = components_caption(rows, value), rows if "measure" in rows else rows.assign(measure="")
        names = list(rows["measure"].unique())
        layers = list(range(int(rows["layer"].min()), int(rows["layer"].max()) + 1))
        grids = {name: _grid(pd.DataFrame(rows[rows["measure"] == name]), value, layers) for name in names}
        widths = [len(grid.columns) for grid in grids.values()]
        cell = min(0.24, 5.6 / sum(widths))
        height = max(1.8, 0.95 + max(cell, 0.12) * len(layers))
        size = (min(DOUBLE_COLUMN, 1.35 + 0.25 * len(names) + cell * sum(widths)), height)
        figure = Figure(figsize=size, layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, len(names), sharey=True, width_ratios=widths)))
        most = max(float(np.nanmax(np.abs(grid.to_numpy(dtype=float)))) for grid in grids.values()) or 1.0
        image = None
        for axis, (name, grid) in zip(axes, grids.items(), strict=True):
            image = axis.imshow(grid, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most)
            step = max(1, -(-len(grid.columns) // 8))
            axis.set_xticks(range(0, len(grid.columns), step), grid.columns[::step])
            axis.set_title(MEASURES.get(str(name), words(str(name))))
            axis.spines[:].set_visible(False)
            axis.tick_params(length=0)
            for row, column in np.argwhere(grid.isna().to_numpy()):
                axis.plot(column, row, ".", color=CONTROL, ms=1.5)
        every = max(1, -(-len(layers) // 12))
        axes[0].set_yticks(range(0, len(layers), every), layers[::every])
        axes[0].set_ylabel("layer")
        figure.supxlabel("head", fontsize=8)
        named = {"z": "z against random directions"}
        quantity = rows["quantity"].iloc[0] if "quantity" in rows else named.get(value, words(value))
        if image is not None:
            figure.colorbar(image, ax=axes, label=label or _wrapped(str(quantity)), pad=0.03)
        figure.caption = caption
        return figure


def persistence_curves(summary: Rows, over: str = "layer") -> Figure:
    """Persistence of an edit: the change along it, orthogonal to it, and the distance from unsteered activations.

    Args:
        summary: from `Persistence.summary`: columns `vector`, the x axis, `along_relative`, `orthogonal_relative` and,
            where measured, `off_manifold` and `off_manifold_unsteered`.
        over: `layer`, or `step` for the summary over generation steps.

    Returns:
        The figure; the blue band is the interval over sequences, the grey band the 2.5th to 97.5th percentile of edits
        in random directions of the same norm.

    Raises:
        ScoreError: the frame is empty, lacks a column or has no steering vector.
        MismatchError: results of different models.
    """
    summary = tidy(summary, "summary")
    columns = ("vector", over, "along_relative", "orthogonal_relative")
    drawable(summary, (*columns, "off_manifold_unsteered") if "off_manifold" in summary.columns else columns)
    line = drawable(summary[summary["vector"] == "steering"].sort_values(over), columns)
    with mpl.rc_context(STYLE):
        traces = [name for name in TRACES if name in summary]
        figure = Figure(figsize=(DOUBLE_COLUMN / 3 * len(traces), 2.15), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, len(traces))))
        control = summary[summary["vector"] != "steering"].groupby(over)
        for axis, name in zip(axes, traces, strict=True):
            if len(control):
                low, high = control[name].quantile(0.025), control[name].quantile(0.975)
                axis.fill_between(low.index, low, high, color=CONTROL, alpha=0.4, lw=0, label="random, same norm")
            if {f"{name}_low", f"{name}_high"} <= set(line.columns):
                axis.fill_between(line[over], line[f"{name}_low"], line[f"{name}_high"], color=STEERED, alpha=0.2, lw=0)
            axis.plot(line[over], line[name], color=STEERED, marker="o", ms=2.5, lw=1.2, label="steering vector")
            if name == "off_manifold":
                axis.plot(line[over], line[f"{name}_unsteered"], color="black", lw=0.9, ls="--", label="unsteered")
            axis.axhline(0, color="black", lw=0.4, ls=":")
            axis.set(title=TRACES[name])
            locator: Any = axis.xaxis.get_major_locator()
            locator.set_params(integer=True)
        figure.supxlabel("layer" if over == "layer" else f"{over}s after the prompt's last token", fontsize=8)
        add_legend(figure)
        figure.caption = persistence_caption(summary, over)
        return figure


def _bars(axis: Axes, shown: pd.DataFrame, others: pd.DataFrame) -> None:
    """Bars of the largest components, largest on top, and one bar for the sum of the others."""
    names, values = [_name(row) for row in shown.itertuples()], list(shown["value"])
    colours = [KINDS[kind] for kind in shown["kind"]]
    if len(others):
        names.append(f"{len(others)} others")
        values.append(float(others["value"].sum()))
        colours.append(CONTROL)
    places = np.arange(len(names))
    axis.barh(places, values, color=colours, height=0.72)
    errors = np.array([shown["value"] - shown["low"], shown["high"] - shown["value"]]).clip(min=0)
    axis.errorbar(values[: len(shown)], places[: len(shown)], xerr=errors, fmt="none", ecolor="black", elinewidth=0.7)
    axis.set_yticks(places, names, fontsize=6.5)
    axis.set(ylim=(len(names) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.axvline(0, color="black", lw=0.5)


def _by_layer(axis: Axes, summary: pd.DataFrame, additive: bool) -> None:
    """Sums of attention and of MLPs by layer; every component individually where they are not additive."""
    inside = summary[summary["kind"].isin(("head", "attention", "mlp"))]
    sort = inside["kind"].where(inside["kind"] == "mlp", "head")
    for shift, kind in ((-0.2, "head"), (0.2, "mlp")):
        rows = inside[sort == kind]
        if additive:
            sums = rows.groupby("layer")["value"].sum()
            axis.bar(sums.index + shift, sums, width=0.4, color=KINDS[kind])
        else:
            axis.plot(rows["layer"] + shift / 2, rows["value"], "o", ms=3, color=KINDS[kind])
    axis.axhline(0, color="black", lw=0.5)
    axis.set(xlabel="layer", ylabel="sum of the layer's components" if additive else "effect of each component")
    locator: Any = axis.xaxis.get_major_locator()
    locator.set_params(integer=True)


def _name(row: Any) -> str:
    """The displayed name of a component."""
    place = f"{row.layer}" + (f".{row.head}" if row.kind == "head" else "")
    return f"{NAMES[row.kind]} {place}" if row.kind in NAMES else str(row.component)


def _grid(rows: pd.DataFrame, value: str, layers: list[int]) -> pd.DataFrame:
    """A table of layers by heads, with the MLP as last column."""
    names = rows["head"].map(str).where(rows["kind"] == "head", "MLP")
    order = [str(head) for head in sorted(rows.loc[rows["kind"] == "head", "head"].unique())]
    order += ["MLP"] if (rows["kind"] == "mlp").any() else []
    return rows.assign(column=names).pivot(index="layer", columns="column", values=value).reindex(layers)[order]


def _wrapped(text: str, width: int = 28) -> str:
    """A long label wrapped into lines."""
    lines = [""]
    for word in text.split():
        lines = [*lines, word] if len(lines[-1]) + len(word) > width else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return "\n".join(lines)
