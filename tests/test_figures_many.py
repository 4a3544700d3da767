# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
"""Figures of several behaviours at once: what is in the tables is in the picture, collapsed points among it."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from lens_steer import figures
from lens_steer.figures.style import SINGLE_COLUMN

NAMES = ("a", "b_c", "d")
SCHEMES = ("mean", "sum", "mean weighted", "sum weighted", "orthogonalised", "gram", "simultaneous")


def cell(scheme: str, steered: str, direction: str, point: str, strength: float, name: str) -> dict[str, object]:
    rate = 0.5 + (0.3 if direction == "add" else -0.3) * min(strength, 1.0)
    fallen = scheme == "simultaneous" and strength == 2.0 and name == "d"
    numbers = {"matching_rate": rate, "matching_rate_low": rate - 0.1, "matching_rate_high": min(rate + 0.1, 1.0)}
    split = {"hit_rate": rate, "false_alarm_rate": 1 - rate, "collapsed": fallen, "part": "test", "scale": "raw"}
    place = {"scheme": scheme, "steered": steered, "direction": direction, "point": point, "strength": strength}
    return {**place, "behaviour": name, **numbers, **split}


def cells() -> pd.DataFrame:
    rows = []
    for direction, name in product(("add", "subtract"), NAMES):
        for scheme, point in product(SCHEMES, ("best", "equal")):
            rows.append(cell(scheme, "all", direction, point, 0.5, name))
        for scheme in ("mean", "sum", "mean weighted", "sum weighted"):
            rows.append(cell(scheme, "all", direction, "faithful", 1.0, name))
        for strength in (0.0, 0.5, 1.0, 2.0):
            rows.append(cell("simultaneous", "all", direction, "grid", strength, name))
        for steered, point in product(NAMES, ("best", "equal")):
            rows.append(cell("individual", steered, direction, point, 1.0, name))
    return pd.DataFrame(rows)


def points() -> pd.DataFrame:
    rows = []
    for direction in ("add", "subtract"):
        for scheme, steered in [("individual", "each"), *((scheme, "all") for scheme in SCHEMES)]:
            place = {"scheme": scheme, "steered": steered, "direction": direction, "point": "equal", "strength": 0.5}
            rows.append({**place, "objective": 1.0, "newly_collapsed": scheme == "sum"})
        for strength in (0.0, 0.5, 1.0, 2.0):
            place = {"scheme": "simultaneous", "steered": "all", "direction": direction, "point": "grid"}
            rows.append({**place, "strength": strength, "objective": 1.0, "newly_collapsed": False})
    frame = pd.DataFrame(rows)
    return frame.assign(
        objective_low=0.8, objective_high=1.3, relative_top1=0.9, relative_top1_low=0.8, relative_top1_high=1
    )


def pairs() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        {"steered": x, "read": y, "predicted": 1.0 if x == y else -0.4, "measured": 1.2 if x == y else -0.3}
        | {"measured_low": -0.5, "measured_high": 0.1 if x == "a" else -0.2, "random_low": -0.1, "random_high": 0.1}
        for x, y in product(NAMES, NAMES)
    ]
    agreement = {"statistic": "spearman", "value": 0.8, "low": 0.5, "high": 0.9, "where": "combined"}
    return pd.DataFrame(rows).assign(where="combined"), pd.DataFrame([agreement])


DRAWN = {
    "individual_bars": lambda: figures.individual_bars(cells()),
    "combined_bars": lambda: figures.combined_bars(cells()),
    "simultaneous_curve": lambda: figures.simultaneous_curve(cells(), points()),
    "scheme_intervals": lambda: figures.scheme_intervals(points()),
    "interference_matrices": lambda: figures.interference_matrices(*pairs()),
    "detection_points": lambda: figures.detection_points(cells()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_figure_is_one_column_wide_and_draws(name: str) -> None:
    figure = DRAWN[name]()
    assert isinstance(figure, Figure) and figure.get_figwidth() == pytest.approx(SINGLE_COLUMN)
    figure.canvas.draw()


def test_bars_are_the_rates_of_the_table_each_with_its_interval() -> None:
    (axis,) = figures.individual_bars(cells()).axes
    bars = [container for container in axis.containers if isinstance(container, BarContainer)]
    assert [round(bar.get_height(), 2) for container in bars for bar in container] == [0.5] * 3 + [0.8] * 3 + [0.2] * 3
    assert sum(isinstance(container, ErrorbarContainer) for container in axis.containers) == 3


def test_the_published_panel_and_the_one_at_equal_damage_have_all_their_schemes() -> None:
    upper, lower = figures.combined_bars(cells()).axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == [
        "mean",
        "mean weighted",
        "sum",
        "sum weighted",
    ]
    for axis in (upper, lower):
        assert sum(isinstance(container, BarContainer) for container in axis.containers) == 8


def test_a_collapsed_point_of_the_simultaneous_curve_is_crossed_and_stays_on_its_line() -> None:
    (axis,) = figures.simultaneous_curve(cells(), points()).axes
    crosses = [line for line in axis.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert sorted(np.concatenate([line.get_xdata() for line in crosses])) == [-2.0, 2.0]
    lines = {line.get_label(): line for line in axis.lines if line.get_marker() == "o"}
    assert list(lines["d"].get_xdata()) == [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
    assert "top-1 kept on text" in {line.get_label() for line in axis.lines}


def test_a_scheme_that_collapses_answers_is_crossed_and_individual_comes_first() -> None:
    (axis,) = figures.scheme_intervals(points()).axes
    assert axis.get_yticklabels()[0].get_text().startswith("individual")
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert [round(float(y)) for line in crosses for y in np.asarray(line.get_ydata())] == [2, 2]


def test_both_matrices_share_one_scale_and_what_is_not_sure_is_grey() -> None:
    predicted, measured, _ = figures.interference_matrices(*pairs()).axes
    scales = {axis.images[0].get_clim() for axis in (predicted, measured)}
    assert scales == {(-1.2, 1.2)}
    grey = [text for text in measured.texts if text.get_color() == "0.55"]
    assert len(grey) == 3 and not [text for text in predicted.texts if text.get_color() == "0.55"]
