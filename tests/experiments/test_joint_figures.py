"""Figures of several behaviours at once: what is in the tables is in the picture, collapsed points among it."""

import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle
from small_frames import NAMES, joint_configurations, joint_pairs, joint_points

from lens_steer.experiments.joint_steering import figures
from lens_steer.figures.style import words


def test_bars_are_the_rates_of_the_table_each_with_its_interval() -> None:
    (axis,) = figures.individual_bars(joint_configurations()).axes
    points = [box for box in axis.containers if isinstance(box, ErrorbarContainer)]
    rates = [round(float(y), 2) for box in points for y in np.asarray(box.lines[0].get_ydata())]
    assert rates == [0.5] * 3 + [0.8] * 3 + [0.2] * 3
    ends = [np.round(segment[:, 1], 2).tolist() for box in points for segment in box.lines[2][0].get_segments()]
    assert ends == [[0.4, 0.6]] * 3 + [[0.7, 0.9]] * 3 + [[0.1, 0.3]] * 3


def test_a_rate_of_0_is_drawn_as_a_mark_inside_the_panel() -> None:
    none = joint_configurations().assign(matching_rate=0.0, matching_rate_low=0.0, matching_rate_high=0.0)
    for figure in (figures.individual_bars(none), figures.combined_bars(none)):
        for axis in figure.axes:
            boxes = [box for box in axis.containers if isinstance(box, ErrorbarContainer)]
            assert boxes and all(box.lines[0].get_marker() != "None" for box in boxes)
            assert axis.get_ylim()[0] < 0


def test_the_published_panel_and_the_one_at_equal_side_effect_have_all_their_schemes() -> None:
    figure = figures.combined_bars(joint_configurations())
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named[:3] == ["unsteered", "added", "subtracted"]
    assert named[3:] == ["own vector alone", *figures.AS_PUBLISHED, "orthogonalised", "gram"]
    for axis, schemes in zip(figure.axes, (figures.AS_PUBLISHED, figures.CORRECTED), strict=True):
        drawn = [box.lines[0] for box in axis.containers if isinstance(box, ErrorbarContainer)]
        assert [line.get_marker() for line in drawn[::2]] == [figures.MARKERS[s] for s in (figures.ALONE, *schemes)]
        spots = np.concatenate([np.asarray(line.get_xdata()) for line in drawn[::2]])
        assert np.diff(np.sort(spots)).min() > 0.1, "no scheme stands on another"


def test_a_collapsed_point_of_the_simultaneous_curve_is_crossed_and_stays_on_its_line() -> None:
    figure = figures.simultaneous_curve(joint_configurations(), joint_points())
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert list(panels) == [*map(words, NAMES), "top-1 retained on text"]
    for title, axis in panels.items():
        (line,) = (line for line in axis.lines if line.get_marker() == "o")
        assert np.asarray(line.get_xdata()).tolist() == [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
        crosses = [np.asarray(line.get_xdata()).tolist() for line in axis.lines if line.get_marker() == "x"]
        assert crosses == ([[-2.0, 2.0]] if title == words(NAMES[-1]) else [])


def test_a_scheme_that_collapses_answers_is_crossed_and_individual_comes_first() -> None:
    (axis,) = figures.scheme_intervals(joint_points()).axes
    assert axis.get_yticklabels()[0].get_text().startswith("individual")
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert [round(float(y)) for line in crosses for y in np.asarray(line.get_ydata())] == [2, 2]


def test_effect_over_side_effects_has_one_site_and_a_site_each_in_both_directions_and_crosses_what_collapsed() -> None:
    figure = figures.trade_off(joint_points())
    for axis in figure.axes:
        curves = [box for box in axis.containers if isinstance(box, ErrorbarContainer)]
        assert [box.get_label() for box in curves] == ["at one site", "at a site each"]
        assert all(box.has_xerr and box.has_yerr and np.size(box.lines[0].get_xdata()) == 4 for box in curves)
        crosses = [line for line in axis.lines if line.get_marker() == "x"]
        assert [np.size(line.get_xdata()) for line in crosses] == [1]
    assert figure.caption is not None and "4 strengths" in figure.caption.n


def test_both_matrices_share_one_scale_and_what_is_not_sure_has_a_dot() -> None:
    predicted, measured, *_ = figures.interference_matrices(*joint_pairs()).axes
    scales = {axis.images[0].get_clim() for axis in (predicted, measured)}
    assert scales == {(-1.2, 1.2)}
    dots = [line for line in measured.lines if line.get_marker() == "."]
    assert len(dots) == 3 and not predicted.lines


def test_own_effects_are_framed_and_each_pair_is_drawn_with_its_interval_beside_the_baseline_and_its_p() -> None:
    pairs, agreement = joint_pairs()
    figure = figures.interference_matrices(pairs, agreement)
    predicted, measured, *_, scatter = figure.axes
    for axis in (predicted, measured):
        frames = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        assert [frame.get_xy()[0] == frame.get_xy()[1] for frame in frames] == [True] * 3
    others, own = (box for box in scatter.containers if isinstance(box, ErrorbarContainer))
    assert np.size(others.lines[0].get_xdata()) == 6 and np.size(own.lines[0].get_xdata()) == 3
    (bars,) = others.lines[2]
    assert {tuple(np.round(segment[:, 1], 9)) for segment in bars.get_segments()} == {(-0.5, 0.1), (-0.5, -0.2)}
    assert "without geometry 0.30; p = 0.2" in scatter.get_title() and figure.caption is not None
    assert "without geometry, from each behaviour's own effect alone, 0.30; p = 0.2 by perm" in figure.caption.shown
