"""The paper's figure of simultaneous steering, drawn again from its released answers and its alignment tax."""

import matplotlib as mpl
import numpy as np
import pandas as pd

from lens_steer.experiments.van_der_weij_2024.behaviours import BLOCKS
from lens_steer.figures.captions.common import counted, sample
from lens_steer.figures.style import INK, SINGLE_COLUMN, STYLE, Caption, Figure, add_legend, drawable, words
from lens_steer.metrics.statistics import share_interval

ANSWERS = ("strength", "behaviour", "total", "matches", "faulty", "matching_score", "collapsed")
TAX = ("strength", "documents", "top1", "relative_top1")
MARKERS = ("o", "s", "^", "D", "v")


def published_simultaneous_curve(simultaneous: pd.DataFrame, alignment_tax: pd.DataFrame) -> Figure:
    """Matching scores of simultaneous steering over its scalar, and below them the alignment tax.

    Args:
        simultaneous: of `PublishedBehaviours`.
        alignment_tax: from `published_alignment_tax`.

    Returns:
        The figure; collapsed points are crosses, which the paper's own figure did not mark.

    Raises:
        ScoreError: a frame is empty or lacks a column.
    """
    answers, tax = drawable(simultaneous, ANSWERS), drawable(alignment_tax, TAX).sort_values("strength")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SINGLE_COLUMN, 3.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for name, colour, marker in zip(answers["behaviour"].unique(), INK * 9, MARKERS * 9, strict=False):
            rows = answers[answers["behaviour"] == name].sort_values("strength")
            x, y = rows["strength"], rows["matching_score"]
            upper.fill_between(x, *_bounds(rows), color=colour, alpha=0.12, lw=0)
            every = max(len(rows) // 9, 1)
            upper.plot(x, y, color=colour, lw=1, marker=marker, ms=3, markevery=every, label=words(str(name)))
            fallen = rows["collapsed"].eq(True)
            upper.plot(x[fallen], y[fallen], "x", color=colour, ms=3.5, mew=0.7)
        upper.plot([], [], "x", color="0.3", ms=3.5, label="collapsed")
        upper.axhline(0.5, color="black", lw=0.4, ls="--", zorder=0)
        upper.set(ylabel="matching score", ylim=(-0.03, 1.03))
        lower.plot(tax["strength"], tax["top1"], color="black", lw=1)
        lower.axhline(tax.loc[tax["strength"] == 0, "top1"].mean(), color="black", lw=0.4, ls="--", zorder=0)
        lower.set(xlabel="scalar (times each vector as extracted)", ylabel="top-1 (Pile)")
        for axis in (upper, lower):
            axis.axvline(0, color="black", lw=0.4, ls="--", zorder=0)
        add_legend(figure)
        figure.caption = _caption(answers, tax)
        return figure


def _bounds(rows: pd.DataFrame) -> np.ndarray:
    """The lower and upper ends of the 95 % interval of each matching score."""
    intervals = [share_interval(int(k), int(n)) for k, n in zip(rows["matches"], rows["total"], strict=True)]
    return np.array([(interval.low, interval.high) for interval in intervals]).T


def _caption(answers: pd.DataFrame, tax: pd.DataFrame) -> Caption:
    kept, at = min(zip(tax["relative_top1"], tax["strength"], strict=True))
    blocks = ", ".join(f"{words(name)} {block}" for name, block in BLOCKS.items())
    return Caption(
        shown="The released answers of simultaneous steering in van der Weij et al. 2024: matching score of each "
        f"behaviour over one scalar for all vectors, one block each ({blocks}); crosses are collapsed answers. Below: "
        "top-1 accuracy on all of the Pile under the same injection, the alignment tax, token-weighted; at least "
        f"{100 * kept:.0f} % of the unsteered one is retained (scalar {at:g}).",
        n=f"{sample(answers.rename(columns={'total': 'n'}), 'test item')} a behaviour and scalar, "
        f"{counted(answers['strength'].nunique(), 'scalar')}; {tax['documents'].min()} or more documents a scalar",
        interval="95 % over items (Agresti-Coull) for scores; none for top-1: scalars may share documents",
        control="the unsteered model (scalar 0); no random directions were released",
        strength_scale="raw: each vector as extracted",
    )
