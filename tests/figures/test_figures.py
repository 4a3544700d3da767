"""Figures of steered behaviours: what is in the frame is in the picture."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from small_frames import configurations, curves

from lens_steer import figures
from lens_steer.errors import ScoreError


def test_a_curve_shows_the_rates_of_its_frame_and_its_collapsed_points() -> None:
    axis = figures.steering_curves(curves()).axes[0]
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axis.lines}
    np.testing.assert_allclose(lines["steering vector"], [(-1, 0.1), (0, 0.5), (1, 0.9)])
    np.testing.assert_allclose(lines["collapsed"], [(1, 0.9)])


def test_random_directions_are_drawn_where_they_were_measured_and_nowhere_between() -> None:
    measured = curves(("a",)).query("vector == 'steering' or strength == 1")
    measured = measured.assign(matching_rate=measured["matching_rate"] - 0.1 * measured["vector"].eq("random 1"))
    (axis,) = figures.steering_curves(measured).axes
    (bars,) = (found for found in axis.collections if isinstance(found, LineCollection))
    ends = [0.55 - 0.1 * (1 - tail) for tail in (0.025, 0.975)]
    np.testing.assert_allclose(bars.get_segments(), [[(1, ends[0]), (1, ends[1])]])


def test_one_sided_unsteered_answers_have_a_square_and_unsteered_answers_that_are_only_improbable_have_none() -> None:
    for reason, drawn in (("unsteered answers are one-sided: 1.000", True), ("unsteered: answer probability", False)):
        frame = curves(("a",)).assign(collapsed=False)
        axis = figures.steering_curves(frame.assign(reason=np.where(frame["strength"] == 0, reason, ""))).axes[0]
        squares = [np.asarray(line.get_xydata()).tolist() for line in axis.lines if line.get_marker() == "s"]
        assert squares == ([[[0.0, 0.5]]] if drawn else [])


def test_a_place_that_all_curves_share_is_named_once_and_different_ones_in_each_panel() -> None:
    figure = figures.steering_curves(curves())
    assert [axis.get_title() for axis in figure.axes] == ["a", "b c"]
    assert figure.get_supxlabel() == "strength (raw), resid_post@1, positions all"
    moved = curves().assign(site=lambda frame: np.where(frame["behaviour"] == "a", "resid_post@1", "resid_post@2"))
    figure = figures.steering_curves(moved)
    assert figure.axes[1].get_title() == "b c\nresid_post@2" and figure.get_supxlabel().endswith(", positions all")
    assert "resid_post" not in figure.get_supxlabel()


def test_a_heat_map_draws_only_the_chosen_position_rule() -> None:
    other = configurations().assign(positions="0:20", matching_rate=0.0, chosen=False)
    figure = figures.layer_strength_map(pd.concat([configurations(), other]))
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), [[0.1, 0.5, 0.9]])


def test_curves_that_would_lie_over_each_other_and_maps_without_a_chosen_point_are_refused() -> None:
    other = curves().assign(site="resid_post@2")
    with pytest.raises(ScoreError, match=r"more than one site \(resid_post@1, resid_post@2\); draw one"):
        figures.steering_curves(pd.concat([curves(), other]))
    with pytest.raises(ScoreError, match=r"more than one scale \(raw, sigma\)"):
        figures.layer_strength_map(pd.concat([configurations(), configurations().assign(scale="sigma")]))
    with pytest.raises(ScoreError, match="no chosen point of b_c"):
        figures.layer_strength_map(
            configurations().assign(chosen=configurations()["chosen"] & (configurations()["behaviour"] == "a"))
        )
    with pytest.raises(ScoreError, match="a frame of 0 rows"):
        figures.steering_curves(curves()[lambda frame: frame["vector"] != "steering"])
