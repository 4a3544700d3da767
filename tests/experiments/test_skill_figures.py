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


def test_selectivity_is_drawn_in_per_cent_of_both_skills_beside_each_of_its_controls() -> None:
    axis = selectivity_curves(skills()).axes[0]
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axis.lines}
    np.testing.assert_allclose(lines["layer 1"], [(100, 100), (60, 90), (10, 50)])
    np.testing.assert_allclose(lines["permuted means (paper)"], [(100, 100), (60, 60), (10, 10)])
    random = [np.asarray(line.get_xydata()) for line in axis.lines if line.get_label() == "random, same norm"]
    np.testing.assert_allclose(random, [[(100, 100), (60, 60), (10, 10)]] * 2)


def test_a_control_that_was_measured_at_one_strength_is_no_line_and_does_not_mark_its_site() -> None:
    frame = skills()
    raised = frame.query("vector == 'random 0' and strength == 1").assign(site="resid_post@0 + resid_post@1")
    axes = [selectivity_curves(rows).axes[0] for rows in (frame, pd.concat([frame, raised]))]
    assert len(axes[0].lines) == len(axes[1].lines) and len(axes[0].containers) == len(axes[1].containers) == 1


def test_retained_bars_are_as_high_as_the_frame_says_with_a_dash_for_each_control_that_reaches_the_level() -> None:
    figure = retained_bars(retained(), points())
    heights = [
        sorted(round(bar.get_height(), 3) for bar in bars)
        for bars in figure.axes[0].containers
        if isinstance(bars, BarContainer)
    ]
    assert heights == [[60.0, 90.0]] * 2
    dashes = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines if line.get_label() == "random, same norm"]
    np.testing.assert_allclose(dashes, [(50, 20), (40, np.nan)] * 2)


def test_a_level_that_is_not_reached_is_said_in_the_place_of_its_bar() -> None:
    frame = retained()
    frame.loc[frame["vector"].eq("steering") & frame["level"].eq(0.2), ["retained", "low", "high"]] = np.nan
    axis = retained_bars(frame, points()).axes[0]
    bars = [bar for box in axis.containers if isinstance(box, BarContainer) for bar in box]
    missing = [bar.get_x() + bar.get_width() / 2 for bar in bars if not bar.get_height() > 0]
    assert [text.get_text() for text in axis.texts] == ["not reached"] * 2
    np.testing.assert_allclose([text.get_position()[0] for text in axis.texts], missing)


def test_collapse_is_shaded_from_its_onset_and_not_where_it_is_censored() -> None:
    axis = collapse_diagnostics(collapsing(), thresholds()).axes[0]
    shaded = [span.get_xy() for span in rectangles(axis)]
    assert [round(float(np.ravel(xy)[0]), 3) for xy in shaded] == [0.5]


def test_each_panel_of_collapse_shows_one_number_with_its_limit_over_the_range_of_the_controls() -> None:
    figure = collapse_diagnostics(collapsing(), thresholds())
    titles = {axis.get_title().split("\n")[-1]: axis for axis in figure.axes}
    assert list(titles)[1] == "collapsed share" and len(titles) == 6
    axis = titles["collapsed share"]
    low, high, limit, line, *_ = (np.asarray(line.get_xydata()) for line in axis.lines)
    assert set(limit[:, 1]) == {0.5} and line[:, 1].tolist() == [0.2, 0.5, 1.0]
    assert low.tolist() == [[-1, 0.1], [0, 0.1], [1, 0.1]] and set(high[:, 1]) == {0.3}, "at each strength"
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
