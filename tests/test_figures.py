# pyright: reportArgumentType=false, reportCallIssue=false, reportReturnType=false, reportAttributeAccessIssue=false
"""Figures: what is in the frame is in the picture, and nothing else changes."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.container import BarContainer
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


def skills(vectors: tuple[str, ...] = ("steering", "random 0", "random 1", "permuted 0")) -> pd.DataFrame:
    rows = []
    for reading in ("faithful", "corrected"):
        for vector in vectors:
            for site in ("resid_post@1", "resid_post@0 + resid_post@1") if vector == "steering" else ("resid_post@1",):
                for strength, target, text in ((-1.0, 1.1, 1.0), (0.0, 1.0, 1.0), (1.0, 0.6, 0.9), (2.0, 0.1, 0.5)):
                    for skill, value in (("target", target), ("text", text if vector == "steering" else target)):
                        bounds = {"relative_top1_low": value - 0.05, "relative_top1_high": value + 0.05}
                        row = {"target": "code", "reading": reading, "vector": vector, "site": site, "skill": skill}
                        rows.append(row | {"strength": strength, "relative_top1": value, **bounds})
    return pd.DataFrame(rows)


def kept() -> pd.DataFrame:
    values = {("steering", 0.5): 0.9, ("steering", 0.2): 0.6, ("random 0", 0.5): 0.5, ("random 1", 0.5): 0.4}
    values |= {("random 0", 0.2): 0.2, ("random 1", 0.2): float("nan")}
    rows = [
        {"target": target, "reading": reading, "vector": vector, "site": "resid_post@1", "level": level}
        | {"kept": value, "low": value - 0.1, "high": value + 0.05}
        for target in ("code", "python")
        for reading in ("faithful", "corrected")
        for (vector, level), value in values.items()
    ]
    return pd.DataFrame(rows)


def draw_kept(frame: pd.DataFrame) -> Figure:
    points = frame[["target", "reading", "site"]].drop_duplicates().assign(direction="lower")
    return figures.kept_bars(frame, points)


def collapsing() -> pd.DataFrame:
    numbers = "matching_rate modal_letter_share letter_mass faulty_share answer_entropy gold_entropy distinct_n"
    numbers += " cross_prompt_similarity repetition_share looping_share ngram_entropy step_entropy"
    rows = {"strength": STRENGTHS, "scale": "raw", "answers_collapsed": (False, False, True)}
    rows |= {"generation_collapsed": (True, False, False), **dict.fromkeys(numbers.split(), (0.2, 0.5, 1.0))}
    return pd.DataFrame(rows)


def draw_collapse(frame: pd.DataFrame) -> Figure:
    onsets = [("answers", "adding", 0.5, 0.4, 0.6, False), ("generation", "subtracting", -0.5, -np.inf, -0.4, False)]
    onsets += [("answers", "subtracting", -np.inf, -np.inf, -np.inf, True)]
    columns = ["rule", "direction", "strength", "low", "high", "censored"]
    return figures.collapse_diagnostics(frame, pd.DataFrame(onsets, columns=columns))


DRAWN = [
    (figures.selectivity_curves, skills),
    (draw_kept, kept),
    (draw_collapse, collapsing),
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


def test_selectivity_is_drawn_in_per_cent_of_both_skills_over_the_band_of_its_controls() -> None:
    axis = figures.selectivity_curves(skills()).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_allclose(lines["layer 1"], [(100, 100), (60, 90), (10, 50)])
    np.testing.assert_allclose(lines["permuted means (paper)"], [(100, 100), (60, 60), (10, 10)])
    band = np.asarray(axis.collections[0].get_paths()[0].vertices)
    np.testing.assert_allclose(band[:, 0], band[:, 1])


def test_kept_bars_are_as_high_as_the_frame_says_and_need_all_controls_to_reach_a_level() -> None:
    figure = draw_kept(kept())
    heights = [
        sorted(round(bar.get_height(), 3) for bar in bars)
        for bars in figure.axes[0].containers
        if isinstance(bars, BarContainer)
    ]
    assert [60.0, 90.0] in heights and [10.0] in heights


def test_collapse_is_shaded_from_its_onset_and_not_where_it_is_censored() -> None:
    axis = draw_collapse(collapsing()).axes[0]
    shaded = [patch.get_xy() for patch in axis.patches]
    assert [round(float(np.ravel(xy)[0]), 3) for xy in shaded] == [0.5]
