"""Figures of broad skills and of collapse: what is in the frame is in the picture."""

import numpy as np
import pandas as pd
import pytest
from drawn_shapes import rectangles
from matplotlib.container import BarContainer
from small_frames import collapsing, points, retained, skills, thresholds

from lens_steer.errors import ScoreError
from lens_steer.experiments.broad_skill.figures import retained_bars, selectivity_curves
from lens_steer.experiments.collapse_check.figures import collapse_diagnostics


def test_selectivity_is_drawn_in_per_cent_of_both_skills_over_the_band_of_its_controls() -> None:
    axis = selectivity_curves(skills()).axes[0]
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axis.lines}
    np.testing.assert_allclose(lines["layer 1"], [(100, 100), (60, 90), (10, 50)])
    np.testing.assert_allclose(lines["permuted means (paper)"], [(100, 100), (60, 60), (10, 10)])
    band = np.asarray(axis.collections[0].get_paths()[0].vertices)
    np.testing.assert_allclose(band[:, 0], band[:, 1])


def test_retained_bars_are_as_high_as_the_frame_says_and_need_all_controls_to_reach_a_level() -> None:
    figure = retained_bars(retained(), points())
    heights = [
        sorted(round(bar.get_height(), 3) for bar in bars)
        for bars in figure.axes[0].containers
        if isinstance(bars, BarContainer)
    ]
    assert [60.0, 90.0] in heights and [10.0] in heights


def test_collapse_is_shaded_from_its_onset_and_not_where_it_is_censored() -> None:
    axis = collapse_diagnostics(collapsing(), thresholds()).axes[0]
    shaded = [span.get_xy() for span in rectangles(axis)]
    assert [round(float(np.ravel(xy)[0]), 3) for xy in shaded] == [0.5]


def test_each_panel_of_collapse_shows_one_number_with_its_limit_over_the_range_of_the_controls() -> None:
    figure = collapse_diagnostics(collapsing(), thresholds())
    titles = {axis.get_title().split("\n")[-1]: axis for axis in figure.axes}
    assert list(titles)[1] == "collapsed share" and len(titles) == 6
    axis = titles["collapsed share"]
    limit, line, *_ = (np.asarray(line.get_xydata()) for line in axis.lines)
    assert set(limit[:, 1]) == {0.5} and line[:, 1].tolist() == [0.2, 0.5, 1.0]
    band = np.asarray(axis.collections[0].get_paths()[0].vertices)[:, 1]
    assert (band.min(), band.max()) == (0.1, 0.3)
    said = figure.caption.text() if figure.caption else ""
    assert "12 items in both option orders, 12 prompts; 3 strengths" in said
    assert "2 random directions of the same norm, at the same strengths, with 2 onsets of 3 looked for" in said


def test_text_without_answers_is_one_column_of_panels() -> None:
    text = thresholds()
    columns = [name for name in collapsing().columns if not name.startswith(("answer", "modal", "faulty"))]
    figure = collapse_diagnostics(collapsing()[columns], text[text["rule"] == "generation"])
    assert len(figure.axes) == 3 and "answers" not in (figure.caption.text() if figure.caption else "")


def test_bars_of_several_splits_or_without_a_point_that_lowers_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"more than one split \(validation, test\)"):
        retained_bars(pd.concat([retained().assign(split=split) for split in ("validation", "test")]), points())
    with pytest.raises(ScoreError, match="no point that lowers code, as_published"):
        retained_bars(retained(), points().assign(direction="raise"))
