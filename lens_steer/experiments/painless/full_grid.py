"""The automatic choice beside the full grid of the paper: what is gained by trying everything, and what it costs.

    automatic   sites ranked by their slopes, few strengths, 0 among them (`evaluation.automatic`)
    full grid   every site x 14 raw strengths x every method; the point of largest accuracy on validation items, of
                equal ones that of the highest layer, then of the smallest strength; 0 is not tried

Both choose on the same validation items among the same vectors, and are tested on the same test items.

    difference  gain of the automatic choice - gain of the full grid, on test items
    passes      sequences forwarded for the choice, a backward pass as two

Source: Cui & Chen 2025 (arXiv 2509.22739), whose grid has 10 layers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from lens_steer._util.progress import track
from lens_steer.data.splits import split_items
from lens_steer.evaluation.automatic import correct, select
from lens_steer.evaluation.painless import PainlessOptions
from lens_steer.evaluation.painless.run import BEST, RANDOM, SeedRun, build
from lens_steer.evaluation.prompts import Item
from lens_steer.evaluation.score import score_grid
from lens_steer.extraction.own_answers import OwnAnswerRows
from lens_steer.hooks import Intervention
from lens_steer.hooks.sites import Site
from lens_steer.metrics.repeated_splits import splits_test
from lens_steer.model import SteerableModel

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0, 25.0, 28.0, 32.0)
"""The published strengths, multiples of the vector as extracted."""
CHOICES = ("seeds", "automatic", "full_grid", "difference", "difference_low", "difference_high", "automatic_passes",
           "full_grid_passes", "fewer_passes")  # fmt: skip
POINTS = ("seed", "vector", "site", "strength", "objective", "gain", "chosen")


def beside_the_full_grid(
    model: SteerableModel,
    items: Sequence[Item],
    rows: OwnAnswerRows,
    runs: Sequence[SeedRun],
    options: PainlessOptions,
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Searches the full grid on the splits of some runs.

    Args:
        model: a loaded model.
        items: the questions, as they were read.
        rows: what was read.
        runs: what the automatic choice found, one a seed; as many of the first seeds as there are runs are searched.
        options: as the runs had them; the sites of the grid are theirs.
        progress: draw a progress bar.

    Returns:
        One row of `CHOICES`, and one row a seed and point of the grid (`POINTS`); both empty where there are no runs.
    """
    seeds, found, points = options.seeds[: len(runs)], [], []
    for seed, run in track(list(zip(seeds, runs, strict=True)), "full grid", len(seeds), progress):
        grid, passes, gain = _searched(model, items, rows, seed, options)
        own = run.runs[~run.runs["method"].str.startswith(RANDOM)].set_index("method")
        row = {"automatic": own.loc[BEST, "gain"], "automatic_passes": own["passes"].drop(BEST).sum()}
        found.append(row | {"full_grid": gain, "full_grid_passes": passes, "n_test": own.loc[BEST, "n_test"]})
        points.append(grid.assign(seed=seed).reindex(columns=list(POINTS)))
    if not found:
        return pd.DataFrame(columns=list(CHOICES)), pd.DataFrame(columns=list(POINTS))
    table = pd.DataFrame(found)
    means: dict[str, Any] = {column: float(table[column].mean()) for column in table.columns}
    difference = torch.tensor((table["automatic"] - table["full_grid"]).to_numpy(float), device="cpu")
    test = splits_test(difference, means["n_test"], len(items) - means["n_test"])
    means |= {"seeds": len(table), "fewer_passes": means["full_grid_passes"] / means["automatic_passes"]}
    means |= {"difference": test.value, "difference_low": test.low, "difference_high": test.high}
    return pd.DataFrame([means])[list(CHOICES)], pd.concat(points, ignore_index=True)


def published_choice(points: pd.DataFrame) -> int:
    """The row that the paper's search ends at: largest accuracy, then highest layer, then smallest strength.

    Args:
        points: with the columns `site, strength, objective`.

    Returns:
        Its place in the table.
    """
    rows: list[dict[Any, Any]] = points.to_dict("records")
    keys = [(-row["objective"], -Site.parse(row["site"]).layer, row["strength"]) for row in rows]
    return min(range(len(keys)), key=keys.__getitem__)


def _searched(
    model: SteerableModel, items: Sequence[Item], rows: OwnAnswerRows, seed: int, options: PainlessOptions
) -> tuple[pd.DataFrame, int, float]:
    """Every point of the grid on validation items with the paper's choice, the passes, and the gain on test items."""
    splits, scoring = split_items(items, options.fractions, seed, options.near), options.select.scoring
    vectors, _ = build(rows, items, splits.train, options)
    grid = replace(options.select, strengths=STRENGTHS, scale="raw", places=None, objective="accuracy")
    found = select(model, vectors, splits.validation, grid)
    points = found.points[found.points["strength"] > 0].reset_index(drop=True)
    best = published_choice(points)
    end: Any = points.loc[best]
    edit = Intervention.of(vectors[end["vector"]], end["site"], end["strength"], "raw", grid.positions)
    scored = score_grid(model, scoring.prepare(model, splits.test), [[edit]], scoring)
    gain = correct(scored.configurations[0]).mean() - correct(scored.unsteered).mean()
    return points.assign(chosen=points.index == best), found.passes, float(gain)
