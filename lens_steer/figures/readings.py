"""Figures of vocabulary readings: lenses side by side, their agreement, and the lens of the steered residual stream."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lens_steer.errors import ScoreError
from lens_steer.figures.captions.vectors import agreement_caption, lens_caption, residual_caption
from lens_steer.figures.labels import visible
from lens_steer.figures.style import (
    CONTROL,
    DOUBLE_COLUMN,
    INK,
    STYLE,
    Figure,
    Rows,
    drawable,
    evenly,
    of_one,
    tidy,
    words,
)

CELL, MARGIN = 0.68, 0.4
"""Inches: the least width of a column of tokens, and of what is beside the columns."""
ALIKE = 0.75
"""Readings that share this part of the tokens, at both ends of every site, are drawn once."""
LOOKS = [
    {"color": colour, "ls": dash, "marker": marker}
    for colour, dash, marker in zip(INK, ("-", "--", ":", "-.", (0, (5, 1))), "osD^v", strict=False)
]
UNITS = {"logits x norm scale": "logits × norm scale"}


def lens_panel(tokens: Rows, k: int = 4, width: float = DOUBLE_COLUMN) -> Figure:
    """The tokens that a vector promotes and suppresses most, one panel per reading, one column per site.

    Readings that agree are one panel, with the tokens of the first; those that not all of them show are in italics.

    Args:
        tokens: from `token_table` or `read_vector`, of one vector; where there are too many sites, evenly spaced ones
            are drawn.
        k: number of tokens at each end, at most those in the frame.
        width: of the figure, inches.

    Returns:
        The figure: colour is the value relative to the panel's largest; bold tokens exceed 97.5 % of random directions
        at the same rank.

    Raises:
        ScoreError: the frame is empty, lacks a column or holds several vectors.
        MismatchError: results of different models.
    """
    tokens = tidy(tokens, "tokens")
    columns = ("vector", "site", "reading", "end", "rank", "label", "value", "unit", "null_low", "null_high")
    frame = of_one(drawable(tokens, (*columns, "n", "n_random", "note")), ("vector",), "a lens panel")
    sites = evenly(list(frame["site"].unique()), int((width - MARGIN) / CELL))
    k = min(k, int(frame["rank"].max()))
    frame = frame[frame["site"].isin(sites) & (frame["rank"] <= k)]
    groups = _alike(frame)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, len(groups) * (2 * k * 0.125 + 0.25) + 0.95), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(len(groups), 1, sharex=True)))
        image: Any = None
        for axis, group in zip(axes, groups, strict=True):
            image = _tokens(axis, frame[frame["reading"].isin(group)], sites, k, (width - MARGIN) / len(sites))
            unit = frame.loc[frame["reading"] == group[0], "unit"].iloc[0]
            axis.set_title(f"{', '.join(group)} ({UNITS.get(unit, unit)})", loc="left", pad=2)
        axes[-1].set_xticks(range(len(sites)), [_short(site, sites) for site in sites])
        axes[-1].set_xlabel(_sites_label(sites))
        look = {"location": "bottom", "shrink": 0.6, "aspect": 40, "pad": 0.02, "ticks": (-1, 0, 1)}
        figure.colorbar(image, ax=axes, label="value / largest of the reading", **look)
        figure.suptitle(words(str(frame["vector"].iloc[0])), fontsize=8)
        figure.caption = lens_caption(tokens, groups)
        return figure


def agreement_curves(agreement: Rows, against: str = "contextual", width: float = DOUBLE_COLUMN) -> Figure:
    """Agreement of each reading with a reference reading, over sites.

    Args:
        agreement: from `agreement_table` or `read_vector`, of one vector.
        against: the reference reading.
        width: of the figure, inches.

    Returns:
        The figure, one panel per measure; the band is that of random directions (the widest over the readings).

    Raises:
        ScoreError: the frame is empty, lacks a column or has no such reading.
        MismatchError: results of different models.
    """
    agreement = tidy(agreement, "agreement")
    columns = ("vector", "site", "first", "second", "measure", "value", "null_low", "null_high", "k", "n_random")
    frame = drawable(agreement, columns)
    frame = frame[(frame["first"] == against) | (frame["second"] == against)]
    if frame.empty or frame["vector"].nunique() > 1:
        raise ScoreError(f"no agreement of one vector with the reading {against!r}; give one that was read.")
    frame = frame.assign(other=np.where(frame["first"] == against, frame["second"], frame["first"]))
    measures, sites = list(frame["measure"].unique()), list(frame["site"].unique())
    with mpl.rc_context(STYLE):
        narrow = width < DOUBLE_COLUMN / 1.5
        shape = (len(measures), 1) if narrow else (1, len(measures))
        figure = Figure(figsize=(width, 1.35 * shape[0] + 0.75), layout="constrained")
        axes = list(figure.subplots(*shape, squeeze=False).flat)
        for axis, measure in zip(axes, measures, strict=True):
            rows = frame[frame["measure"] == measure]
            _band(axis, rows, sites)
            for (other, line), look in zip(rows.groupby("other", sort=False), LOOKS, strict=False):
                y = line.set_index("site").loc[sites, "value"]
                axis.plot(range(len(sites)), y, lw=1.1, ms=3, **look, label=str(other))
            name = "Spearman, all tokens" if measure == "spearman" else f"{measure}, {int(rows['k'].iloc[0])} tokens"
            low = np.nanmin([rows["value"].min(), rows["null_low"].min(), 0])
            axis.set(title=name, ylim=(low - 0.05, 1.05))
            axis.axhline(0, color="black", lw=0.4, zorder=0)
            shown = evenly(list(range(len(sites))), 8)
            axis.set_xticks(shown, [_short(sites[place], sites) for place in shown])
        (figure.supylabel if narrow else axes[0].set_ylabel)(f"agreement with {against}", fontsize=8)
        figure.supxlabel(_sites_label(sites), fontsize=8)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3 if narrow else 6, frameon=False)
        figure.caption = agreement_caption(agreement)
        return figure


def residual_lens_heatmap(lens: pd.DataFrame, width: float = DOUBLE_COLUMN) -> Figure:
    """Target tokens through the layers: rank unsteered, rank steered, and the change in log-probability.

    Args:
        lens: from `residual_lens`: the unsteered run, one steered run, and runs whose names begin with "random".
        width: of the figure, inches.

    Returns:
        The figure; a dot marks a change within the range of the random runs.

    Raises:
        ScoreError: the frame is empty, lacks a column, or does not hold one steered run beside the unsteered one.
        MismatchError: results of different models.
    """
    frame = drawable(lens, ("run", "depth", "token_id", "label", "rank", "change", "n"))
    random = frame["run"].str.startswith("random")
    runs = [run for run in frame.loc[~random, "run"].unique() if run != "unsteered"]
    if len(runs) != 1 or "unsteered" not in set(frame["run"]):
        raise ScoreError(f"runs {runs}; give the unsteered one, one steered one, and random controls.")
    names = frame.drop_duplicates("token_id").set_index("token_id")["label"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 3 * (0.17 * len(names) + 0.35) + 0.3), layout="constrained")
        axes = list(figure.subplots(3, 1, sharex=True, sharey=True))
        image: Any = None
        most = np.log10(max(10.0, float(frame["rank"].max())))
        tables = [_grid(frame[frame["run"] == run], "rank") for run in ("unsteered", runs[0])]
        for axis, table, run in zip(axes, tables, ("unsteered", runs[0]), strict=False):
            image = axis.imshow(np.log10(table), cmap="viridis_r", vmin=0, vmax=most, aspect="auto")
            _numbers(axis, table, lambda value: np.log10(value) > 0.55 * most, "{:.0f}")
            axis.set_title(f"median rank, {words(run)}", loc="left", pad=2)
        bar = figure.colorbar(image, ax=axes[:2], aspect=25, pad=0.01)
        powers = range(int(most) + 1)
        bar.set_ticks(list(powers), labels=[f"{10**power:,}" for power in powers])
        bar.set_label("rank")
        change = _grid(frame[frame["run"] == runs[0]], "change")
        largest = max(float(change.abs().max().max()), 1e-9)
        image = axes[2].imshow(change, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
        _numbers(axes[2], change, lambda value: abs(value) > 0.6 * largest, "{:+.1f}")
        axes[2].set_title("change of log-probability (nats)", loc="left", pad=2)
        figure.colorbar(image, ax=axes[2], pad=0.01, aspect=12, label="nats")
        _dots(axes[2], change, frame[random])
        axes[0].set_yticks(range(len(names)), [visible(name) for name in names])
        depths: list[Any] = list(change.columns)
        axes[2].set_xticks(range(len(depths)), ["emb." if not depth else str(depth - 1) for depth in depths])
        axes[2].set_xlabel("after block" + (" (dot: within the random runs)" if random.any() else ""))
        figure.caption = residual_caption(lens)
        return figure


def _alike(frame: pd.DataFrame) -> list[list[str]]:
    """The readings in groups: each shares most tokens, at both ends of every site, with all others of its group."""
    shown = {
        reading: rows.groupby(["site", "end"])["label"].agg(set).to_dict()
        for reading, rows in frame.groupby("reading", sort=False)
    }
    groups: list[list[str]] = []
    for reading, own in shown.items():
        home = [
            group for group in groups
            if all(len(own[place] & shown[other][place]) >= ALIKE * len(own[place]) for other in group for place in own)
        ]  # fmt: skip
        (home[0] if home else groups.append([]) or groups[-1]).append(str(reading))
    return groups


def _tokens(axis: Axes, rows: pd.DataFrame, sites: list[str], k: int, cell: float) -> Any:
    """Readings that agree: promoted tokens above, suppressed ones below, one column per site, `cell` inches wide."""
    readings, longest = rows["reading"].nunique(), int(16 * cell)
    common = rows.groupby(["site", "end", "label"])["reading"].nunique() == readings
    rows = rows[rows["reading"] == rows["reading"].iloc[0]]
    largest = max(float(rows["value"].abs().max()), 1e-9)
    grid = np.full((2 * k, len(sites)), np.nan)
    row: Any
    for row in rows.itertuples():
        column = sites.index(row.site)
        place = row.rank - 1 if row.end == "top" else 2 * k - row.rank
        grid[place, column] = row.value / largest
        beyond = row.value > row.null_high if row.end == "top" else row.value < row.null_low
        look: dict[str, Any] = {
            "weight": "bold" if beyond else "normal",
            "style": "normal" if common[row.site, row.end, row.label] else "italic",
            "color": "white" if abs(row.value) > 0.6 * largest else "black",
        }
        label = str(row.label)
        text = label if len(label) <= longest else label[: longest - 1] + "…"
        axis.text(column, place, visible(text), ha="center", va="center", fontsize=6, **look)
    image = axis.imshow(grid, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axis.axhline(k - 0.5, color="black", lw=0.8)
    axis.set_yticks([(k - 1) / 2, k + (k - 1) / 2], ["raised", "lowered"], rotation=90, va="center")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return image


def _band(axis: Axes, rows: pd.DataFrame, sites: list[str]) -> None:
    """The band of the random directions."""
    low = rows.groupby("site", sort=False)["null_low"].min().loc[sites]
    high = rows.groupby("site", sort=False)["null_high"].max().loc[sites]
    if high.notna().any():
        axis.fill_between(range(len(sites)), low, high, color=CONTROL, alpha=0.35, lw=0, label="random directions")


def _grid(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A table of tokens (in the given order) by depth."""
    order = list(rows["token_id"].unique())
    return rows.pivot(index="token_id", columns="depth", values=column).loc[order]


def _numbers(axis: Axes, table: pd.DataFrame, dark: Any, form: str) -> None:
    """Writes the value into every field of the heat map."""
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        colour = "white" if dark(value) else "black"
        text = form.format(value).replace("-", "−").replace("+0.0", "0").replace("−0.0", "0")
        axis.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _dots(axis: Axes, change: pd.DataFrame, random: pd.DataFrame) -> None:
    """Marks every field whose change is within the range of random directions."""
    if random.empty:
        return
    bounds = random.groupby(["token_id", "depth"])["change"].agg(["min", "max"])
    for row, token in enumerate(change.index):
        for column, depth in enumerate(change.columns):
            low, high = bounds.loc[(token, depth)]
            if low < high and low <= change.loc[token, depth] <= high:
                axis.plot(column + 0.42, row - 0.36, "o", color="black", ms=1.8, mew=0)


def _short(site: str, sites: list[str]) -> str:
    """A site without its kind, where all sites have the same kind."""
    return site.partition("@")[2] if len({other.partition("@")[0] for other in sites}) == 1 else site


def _sites_label(sites: list[str]) -> str:
    kinds = {site.partition("@")[0] for site in sites}
    return f"layer ({kinds.pop()})" if len(kinds) == 1 else "site"
