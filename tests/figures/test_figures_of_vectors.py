"""Figures of readings and geometry, drawn from frames that the analyses gave: what is in them is in the picture."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from small_frames import analysed

from lens_steer import figures
from lens_steer.errors import ScoreError
from lens_steer.figures.labels import visible
from lens_steer.vector import SteeringVector


@pytest.fixture(scope="module")
def frames(llama: Any, vector: SteeringVector) -> dict[str, pd.DataFrame]:
    return analysed(llama, vector)


def test_the_lens_panel_shows_each_token_with_its_value_and_bold_beyond_the_controls(
    frames: dict[str, pd.DataFrame],
) -> None:
    frame = frames["lens_panel"].assign(null_low=-np.inf, null_high=np.inf)
    first = (frame["reading"] == "raw") & (frame["site"] == "resid_post@0") & (frame["rank"] == 1)
    frame.loc[first, ["null_low", "null_high"]] = 0.0
    axis = figures.lens_panel(frame).axes[0]
    rows = frame[frame["reading"] == "raw"]
    grid = np.asarray(axis.images[0].get_array())
    best = rows[(rows["end"] == "top") & (rows["rank"] == 1) & (rows["site"] == "resid_post@0")].iloc[0]
    assert grid[0, 0] == pytest.approx(best["value"] / rows["value"].abs().max())
    bold = [text.get_text() for text in axis.texts if text.get_fontweight() == "bold"]
    ends = rows[(rows["site"] == "resid_post@0") & (rows["rank"] == 1)]["label"]
    assert bold == [visible(label) for label in ends] and len(axis.texts) == 3 * 6
    with pytest.raises(ScoreError, match="a lens panel of more than one vector"):
        figures.lens_panel(pd.concat([frame, frame.assign(vector="other")]))


def test_readings_that_agree_are_one_panel_with_what_they_do_not_share_in_italics() -> None:
    def reading(kind: str, raised: str) -> pd.DataFrame:
        rows = [("top", rank, token) for rank, token in enumerate(raised, 1)]
        rows += [("bottom", rank, token) for rank, token in enumerate("wxyz", 1)]
        frame = pd.DataFrame(rows, columns=["end", "rank", "label"]).assign(reading=kind, vector="v", unit="logits")
        frame["value"] = np.where(frame["end"] == "top", 5.0, -5.0) / frame["rank"]
        return frame.assign(site="resid_post@0", null_low=-9.0, null_high=9.0, n=0, n_random=0, note="")

    kinds = {"raw": "abcd", "folded": "bace", "jacobian": "abef"}
    figure = figures.lens_panel(pd.concat([reading(kind, raised) for kind, raised in kinds.items()]))
    first, second = figure.axes[:2]
    assert first.get_title(loc="left").startswith("raw, folded (") and second.get_title(loc="left").startswith("jaco")
    assert [text.get_text() for text in first.texts] == [*"abcd", *"wxyz"], "the tokens of the first"
    assert [text.get_text() for text in first.texts if text.get_fontstyle() == "italic"] == ["d"]
    assert figure.caption is not None and "raw, folded agree and are drawn once" in figure.caption.shown


def test_agreement_is_drawn_with_the_band_of_its_controls(frames: dict[str, pd.DataFrame]) -> None:
    axis = figures.agreement_curves(frames["agreement_curves"]).axes[0]
    want = frames["agreement_curves"].query("first == 'raw' and second == 'contextual' and measure == 'spearman'")
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axis.lines}
    np.testing.assert_allclose(lines["raw"], want["value"])
    assert len(axis.collections) == 1
    with pytest.raises(ScoreError, match="with the reading 'jacobian'"):
        figures.agreement_curves(frames["agreement_curves"], against="jacobian")


def test_the_steered_lens_is_centred_on_zero_and_needs_one_steered_run(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["residual_lens_heatmap"]
    change = figures.residual_lens_heatmap(frame).axes[2].images[0]
    low, high = change.get_clim()
    assert low == -high and np.abs(np.asarray(change.get_array())).max() == pytest.approx(high)
    with pytest.raises(ScoreError, match="give the unsteered one, one steered one"):
        figures.residual_lens_heatmap(frame[frame["run"] != "steering"])


def test_the_atlas_is_symmetric_with_dots_where_chance_reaches_and_corrections_below(
    frames: dict[str, pd.DataFrame],
) -> None:
    frame = frames["cosine_atlas_map"]
    axis = figures.cosine_atlas_map(frame).axes[0]
    grid = np.asarray(axis.images[0].get_array())
    np.testing.assert_allclose(grid, grid.T)
    assert np.size(axis.lines[0].get_xdata()) == 2 * int((frame["p_holm"] >= 0.05).sum()) > 0
    assert axis.images[0].get_clim() == (-1, 1)
    corrected = figures.cosine_atlas_map(frame.assign(corrected=frame["cosine"] / 2)).axes[0].images[0].get_array()
    np.testing.assert_allclose(np.tril(np.asarray(corrected), -1), np.tril(grid, -1) / 2)


def test_points_held_in_the_fit_are_left_out_and_sides_are_filled_or_hollow(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["plane_scatter"]
    axes = figures.plane_scatter(frame).axes
    drawn = [sum(len(np.asarray(split.get_offsets())) for split in axis.collections) for axis in axes]
    assert drawn == [16, 8]
    faces = [len(split.get_facecolor()) for split in axes[0].collections]
    assert sorted(faces) == [0, 0, 1, 1]
    assert {to_hex(np.asarray(split.get_edgecolor())[0]) for split in axes[0].collections} == {"#0072b2"}
    with pytest.raises(ScoreError, match="0 rows"):
        figures.plane_scatter(frame.assign(held_out=False))


def test_norms_and_energy_are_those_of_the_frame(frames: dict[str, pd.DataFrame]) -> None:
    above, below = figures.norm_curves(frames["norm_curves"]).axes
    want = frames["norm_curves"].query("vector == 'v'")
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in above.lines}
    np.testing.assert_allclose(lines["v"], want["norm"])
    np.testing.assert_allclose(np.asarray(below.lines[0].get_ydata()), want["relative"])
    axis = figures.energy_curves(frames["energy_curves"]).axes[0]
    share = frames["energy_curves"].query("vector == 'v' and site == 'resid_post@0'")["share"]
    np.testing.assert_allclose(np.asarray(axis.lines[0].get_ydata()), share)


def test_many_layers_are_thinned_evenly_and_many_sites_are_named_by_their_block(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = [("v", f"{kind}@{layer}") for kind in ("attn_out", "resid_post") for layer in range(20)]
    rows = [
        {"first": a, "first_site": b, "second": c, "second_site": d, "cosine": rng.uniform(-1, 1)}
        for i, (a, b) in enumerate(names)
        for c, d in names[i:]
    ]
    frame = pd.DataFrame(rows).assign(corrected=np.nan, p_holm=0.0, null="isotropic", model="m")
    axis = figures.cosine_atlas_map(frame).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["attn_out", "resid_post"]
    assert axis.get_yticks().tolist() == [9.5, 29.5]
    one = frame[frame["first_site"].str.startswith("resid") & frame["second_site"].str.startswith("resid")]
    axis = figures.cosine_atlas_map(one).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["resid_post"]
    assert [label.get_text() for label in axis.get_yticklabels(minor=True)] == [str(layer) for layer in range(20)]
    labels = [label.get_text() for label in figures.cosine_atlas_map(frame).axes[0].get_yticklabels(minor=True)]
    assert labels == [str(layer) for layer in range(0, 20, 2)] * 2, "every second one, beginning anew in each block"
    figures.save_figure(figures.cosine_atlas_map(one), one, tmp_path, "atlas")


def test_every_token_can_be_drawn_and_told_apart() -> None:
    assert visible(" left") == "·left" and visible("$x$") == r"\$x\$" and visible("\n") == "\\n"
    assert visible("中") == "\\u4e2d" and visible("é→") == "é→" and visible("\u200b") == "\\u200b"
