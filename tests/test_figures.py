# pyright: reportArgumentType=false, reportCallIssue=false, reportReturnType=false
"""Figures: what is in the frame is in the picture, and nothing else changes."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lens_steer import figures

STRENGTHS = (-1.0, 0.0, 1.0)


def curves(names: tuple[str, ...] = ("a", "b_c")) -> pd.DataFrame:
    rows = []
    for name in names:
        for vector in ("steering", "random 0", "random 1"):
            for strength in STRENGTHS:
                rate = 0.5 + (0.4 * strength if vector == "steering" else 0.05)
                rows.append(
                    {
                        "behaviour": name,
                        "vector": vector,
                        "site": "resid_post@1",
                        "positions": "all",
                        "layer": 1,
                        "strength": strength,
                        "scale": "raw",
                        "matching_rate": rate,
                        "rate_low": rate - 0.1,
                        "rate_high": rate + 0.1,
                        "collapsed": vector == "steering" and strength == 1.0,
                        "chosen": vector == "steering" and strength == 1.0,
                    }
                )
    return pd.DataFrame(rows)


def cosines() -> pd.DataFrame:
    rows = [("resid_post@1", x, y, 1.0 if x == y else -0.25) for x in "ab" for y in "ab"]
    return pd.DataFrame(rows, columns=["site", "first", "second", "cosine"])


def tokens() -> pd.DataFrame:
    rows = [(n, "resid_post@1", e, 1, t, v) for n in "ab" for e, t, v in (("top", " $x", 2.0), ("bottom", "\n", -1.0))]
    return pd.DataFrame(rows, columns=["behaviour", "site", "end", "rank", "token", "logit"])


def cells() -> pd.DataFrame:
    return curves()[lambda frame: frame["vector"] == "steering"]


DRAWN = [
    (figures.steering_curves, curves),
    (figures.layer_strength_map, cells),
    (figures.cosine_heatmap, cosines),
    (figures.lens_bars, tokens),
]


@pytest.mark.parametrize(("draw", "frame"), DRAWN)
def test_a_figure_is_written_with_its_data_twice_the_same_and_leaves_matplotlib_as_it_was(
    draw: object, frame: object, tmp_path: Path
) -> None:
    before, open_before = dict(mpl.rcParams), pyplot.get_fignums()
    written = []
    for folder in ("one", "two"):
        figure = draw(frame())  # pyright: ignore[reportCallIssue]
        assert isinstance(figure, Figure)
        written.append(figures.save_figure(figure, frame(), tmp_path / folder, "name"))  # pyright: ignore
    assert dict(mpl.rcParams) == before and pyplot.get_fignums() == open_before
    assert [path.suffix for path in written[0]] == [".png", ".pdf", ".csv"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 40


def test_a_curve_shows_the_rates_of_its_frame_and_its_collapsed_points() -> None:
    axis = figures.steering_curves(curves()).axes[0]
    line, crosses = axis.lines[0], axis.lines[1]
    np.testing.assert_allclose(line.get_xydata(), [(-1, 0.1), (0, 0.5), (1, 0.9)])
    np.testing.assert_allclose(crosses.get_xydata(), [(1, 0.9)])


def test_a_heat_map_draws_only_the_chosen_position_rule() -> None:
    other = cells().assign(positions="0:20", matching_rate=0.0, chosen=False)
    figure = figures.layer_strength_map(pd.concat([cells(), other]))
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.1, 0.5, 0.9]])
