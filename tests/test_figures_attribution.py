# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
"""Figures of attributions, persistence and projections: what is in the frame is in the picture."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lens_steer import figures


def contributions(additive: bool = True) -> pd.DataFrame:
    parts = [("edit resid_post@0", "edit", 0, -1, 0.02), ("z@1.0", "head", 1, 0, 1.0), ("z@1.1", "head", 1, 1, -0.5)]
    parts += [("mlp_out@1", "mlp", 1, -1, 0.25), ("z@2.0", "head", 2, 0, 0.1), ("z@2.1", "head", 2, 1, 0.05)]
    parts += [("mlp_out@2", "mlp", 2, -1, -0.2), ("norm scale", "norm", -1, -1, 0.3)]
    frame = pd.DataFrame(parts, columns=["component", "kind", "layer", "head", "value"])
    bounds = {"low": frame["value"] - 0.1, "high": frame["value"] + 0.1, "measured": frame["value"].sum()}
    return frame.assign(quantity="logit difference (nats)", n=8, additive=additive, **bounds)


def readings() -> pd.DataFrame:
    rows = [
        {"component": f"z@{layer}.{head}", "kind": "head", "layer": layer, "head": head, "measure": measure, "z": z}
        for layer in (1, 2, 3)
        for head in (0, 1)
        for measure, z in (("query", layer - 2.0), ("ov", 3.0 * head))
    ]
    mlps = [
        {"component": f"mlp_out@{k}", "kind": "mlp", "layer": k, "head": -1, "measure": "mlp", "z": 1.0} for k in (1, 3)
    ]
    return pd.DataFrame(rows + mlps)


def lasting() -> pd.DataFrame:
    rows = []
    for name in ("steering", "random 0", "random 1"):
        for layer in range(4):
            row = {
                "vector": name,
                "layer": layer,
                "along_relative": 1 / (1 + layer),
                "orthogonal_relative": 0.1 * layer,
            }
            row |= {"off_manifold": 2.0, "off_manifold_unsteered": 1.0}
            rows.append(row | ({"along_relative_low": 0.1, "along_relative_high": 0.9} if name == "steering" else {}))
    return pd.DataFrame(rows)


def projections() -> pd.DataFrame:
    pieces = ["<bos>", "A", " $cat$", " sat", ".\n", " on", "\x00"]
    rows = [
        {"vector": "myopic", "site": "resid_post@1", "text": 0, "position": place, "piece": piece, "steered": steered}
        | {"z": 50.0 if place == 0 else place * (1 + steered) - 3.0, "projection": 0.1}
        for steered in (False, True)
        for place, piece in enumerate(pieces)
    ]
    return pd.DataFrame(rows)


def read_map(frame: pd.DataFrame) -> Figure:
    return figures.component_map(frame, "z")


@pytest.mark.parametrize(
    ("draw", "frame"),
    [
        (figures.attribution_bars, contributions()),
        (figures.attribution_bars, contributions(additive=False)),
        (figures.component_map, contributions()),
        (read_map, readings()),
        (figures.persistence_curves, lasting()),
        (figures.projection_strip, projections()),
    ],
)
def test_a_figure_is_written_twice_the_same_and_leaves_matplotlib_as_it_was(
    draw: Callable[[pd.DataFrame], Figure], frame: pd.DataFrame, tmp_path: Path
) -> None:
    before = dict(mpl.rcParams)
    written = [figures.save_figure(draw(frame), frame, tmp_path / folder, "name") for folder in ("one", "two")]
    assert dict(mpl.rcParams) == before
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 40


def test_bars_are_sorted_by_size_with_the_edit_and_the_norm_always_shown_and_the_others_in_one() -> None:
    axis, layers = figures.attribution_bars(contributions(), most=2).axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["head 1.0", "head 1.1", "norm scale", "edit resid_post@0", "4 others"]
    widths = [patch.get_width() for patch in axis.patches]
    np.testing.assert_allclose(widths, [1.0, -0.5, 0.3, 0.02, 0.25 + 0.1 + 0.05 - 0.2])
    np.testing.assert_allclose([patch.get_height() for patch in layers.patches], [0.5, 0.15, 0.25, -0.2])


def test_parts_that_do_not_add_up_are_never_summed() -> None:
    axis, layers = figures.attribution_bars(contributions(additive=False), most=2).axes
    assert not any("others" in label.get_text() for label in axis.get_yticklabels())
    assert not layers.patches
    drawn = sorted(value for line in layers.lines for value in line.get_ydata() if line.get_marker() == "o")
    np.testing.assert_allclose(drawn, [-0.5, -0.2, 0.05, 0.1, 0.25, 1.0])


def test_a_map_has_one_scale_centred_on_0_a_panel_a_measure_and_the_mlp_behind_the_heads() -> None:
    figure = read_map(readings())
    images = [axis.images[0] for axis in figure.axes if axis.images]
    assert len(images) == 3 and {image.get_clim() for image in images} == {(-3.0, 3.0)}
    np.testing.assert_allclose(images[0].get_array(), [[-1, -1], [0, 0], [1, 1]])
    assert bool(np.ma.getmaskarray(np.ma.masked_invalid(images[2].get_array()))[1, 0]), "layer 2 has no MLP row"
    (single, _bar) = figures.component_map(contributions()).axes
    assert [label.get_text() for label in single.get_xticklabels()] == ["0", "1", "MLP"]
    np.testing.assert_allclose(single.images[0].get_array(), [[1.0, -0.5, 0.25], [0.1, 0.05, -0.2]])


def test_persistence_shows_the_edit_over_its_controls_and_the_unsteered_distance() -> None:
    axes = figures.persistence_curves(lasting()).axes
    assert len(axes) == 3
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(axes[2].lines[1].get_ydata(), 1.0)
    without = lasting().drop(columns=["off_manifold", "off_manifold_unsteered"])
    assert len(figures.persistence_curves(without).axes) == 2


def test_a_strip_shows_every_token_and_its_scale_leaves_the_first_one_out() -> None:
    figure = figures.projection_strip(projections())
    plain, steered, bar = figure.axes
    assert [text.get_text() for text in plain.texts] == ["<bos>", "A", " $cat$", " sat", ".↵", " on", "·"]
    assert plain.patches[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert bar.get_xlim() == (-9.0, 9.0)
    assert plain.patches[5].get_y() == 1, "a new line of the text begins a line"
    assert steered.get_title(loc="left") == "steered"
