"""The common properties of all figures, those of studies among them: refusals, size, ink, fonts, written files."""

import inspect
import io
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import combinations
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as PlainFigure
from matplotlib.text import Text
from small_frames import ANALYSED, FRAMES, OPTIONS, analysed

from lens_steer import experiments, figures
from lens_steer.errors import MismatchError, ScoreError
from lens_steer.figures.style import DOUBLE_COLUMN, LEAST_FONT, SINGLE_COLUMN, STYLE, Figure
from lens_steer.vector import SteeringVector

Frames = dict[str, tuple[pd.DataFrame, ...]]
MODULES = (
    figures,
    *(import_module(name) for _, name, _ in walk_packages(experiments.__path__, "lens_steer.experiments.")),
)
PUBLIC = {
    name: found for module in MODULES for name, found in vars(module).items()
    if inspect.isfunction(found) and not name.startswith("_") and found.__annotations__.get("return") is Figure
}  # fmt: skip
REDRAWN = (
    "steering_curves", "simultaneous_curve", "combined_bars", "individual_bars", "lens_panel", "selectivity_curves",
    "retained_bars", "cosine_atlas_map", "collapse_diagnostics",
)  # fmt: skip
MAY_BE_EMPTY = (("interference_matrices", 1), ("evaluation_panels", 3))
"""Two behaviours have no agreement, and a vector may be evaluated without texts."""
WRITTEN = ("steering_curves", "lens_panel")
"""Figures that are written in every run of the tests, the others in slow ones."""
by_figure = pytest.mark.parametrize("name", sorted(PUBLIC))


@pytest.fixture(scope="module")
def frames(llama: Any, vector: SteeringVector) -> Frames:
    return FRAMES | {name: (frame,) for name, frame in analysed(llama, vector).items()}


def saved(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as its CSV gives it back."""
    return pd.read_csv(io.StringIO(frame.to_csv(index=False, float_format="%.6g")), keep_default_na=True)


def drawing(name: str) -> Callable[..., Figure]:
    """The public function, told what it must be told beside its frames."""
    return partial(PUBLIC[name], **OPTIONS.get(name, {}))


def draw(name: str, frames: Frames, **options: float) -> Figure:
    """The figure, from saved frames; a wide table's names are in its index, and it is drawn as it is."""
    wide = name == "method_heatmap"
    return drawing(name)(*(frame if wide else saved(frame) for frame in frames[name]), **options)


def drawn(figure: Figure) -> tuple[FigureCanvasAgg, np.ndarray]:
    """The canvas, and where it has ink."""
    canvas = FigureCanvasAgg(figure)
    with mpl.rc_context(STYLE):
        canvas.draw()
    return canvas, np.asarray(canvas.buffer_rgba())[::-1, :, :3].min(axis=2) < 250


def test_every_public_figure_has_a_small_frame_here() -> None:
    assert set(FRAMES) | set(ANALYSED) == set(PUBLIC) and len(PUBLIC) >= 29


@by_figure
def test_a_figure_has_ink_in_all_axes_nothing_beyond_its_edge_and_text_that_can_be_read(
    name: str, frames: Frames
) -> None:
    figure = draw(name, frames)
    canvas, ink = drawn(figure)
    assert figure.axes and figure.get_figwidth() <= DOUBLE_COLUMN + 1e-9
    for axis in figure.axes:
        box = np.round(axis.get_window_extent().extents).astype(int)
        assert not axis.get_visible() or ink[box[1] : box[3], box[0] : box[2]].mean() > 0.002
    reach, edge = figure.get_tightbbox(canvas.get_renderer()), 0.5 / figure.dpi
    assert reach.x0 >= -edge and reach.y0 >= -edge, reach
    assert reach.x1 <= figure.get_figwidth() + edge and reach.y1 <= figure.get_figheight() + edge, reach
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    small = [(text.get_text(), text.get_fontsize()) for text in shown if float(text.get_fontsize()) < LEAST_FONT]
    assert shown and not small and LEAST_FONT >= 6


@by_figure
def test_no_two_texts_of_a_figure_overlap(name: str, frames: Frames) -> None:
    figure = draw(name, frames)
    canvas, _ = drawn(figure)
    out_of_view = {
        label
        for side in (side for axis in figure.axes for side in (axis.xaxis, axis.yaxis))
        for tick in (*side.get_major_ticks(), *side.get_minor_ticks())
        if not min(side.get_view_interval()) <= tick.get_loc() <= max(side.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    upright = (text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_rotation() % 90 == 0)
    boxes = {
        text: text.get_window_extent(canvas.get_renderer())
        for text in upright
        if text.get_visible() and text.get_text().strip() and text not in out_of_view
    }
    assert not [
        (one.get_text(), other.get_text())
        for (one, box), (other, beside) in combinations(boxes.items(), 2)
        if min(box.x1, beside.x1) - max(box.x0, beside.x0) > 1 and min(box.y1, beside.y1) - max(box.y0, beside.y0) > 1
    ]


@pytest.mark.parametrize("name", REDRAWN)
def test_the_legend_of_a_figure_for_a_paper_lies_on_no_data(name: str, frames: Frames) -> None:
    for axis in draw(name, frames).axes:
        assert axis.get_legend() is None or not (axis.lines or axis.collections or axis.patches or axis.images)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in WRITTEN else pytest.mark.slow) for name in sorted(PUBLIC)]
)
def test_a_figure_is_written_twice_the_same_with_its_data_and_caption_and_leaves_matplotlib_as_it_was(
    name: str, frames: Frames, tmp_path: Path
) -> None:
    before, open_before = dict(mpl.rcParams), pyplot.get_fignums()
    written = [
        figures.save_figure(draw(name, frames), frames[name][0], tmp_path / folder, name) for folder in ("one", "two")
    ]
    assert dict(mpl.rcParams) == before and pyplot.get_fignums() == open_before
    assert [path.suffix for path in written[0]] == [".png", ".pdf", ".csv", ".txt"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 30
    page, text = written[0][1].read_bytes(), written[0][3].read_text(encoding="utf-8")
    assert b"/FontFile2" in page and b"/Type3" not in page, "fonts that a journal takes: TrueType, type 42"
    assert all(f"{word}: " in text for word in ("N", "Interval", "Control", "Strength")) and " nan" not in text
    assert "not in the data" not in text and not re.search(r"(: |[Nn]ot |[Nn]one( drawn)?)\.", text), "none, and why"


@by_figure
def test_an_empty_frame_and_one_of_two_models_are_refused_and_a_missing_column_is_named(
    name: str, frames: Frames
) -> None:
    function, given = drawing(name), frames[name]
    for place, frame in enumerate(given):

        def changed(other: pd.DataFrame, place: int = place) -> tuple[pd.DataFrame, ...]:
            return (*given[:place], other, *given[place + 1 :])

        if (name, place) not in MAY_BE_EMPTY:
            with pytest.raises(ScoreError, match="a frame of 0 rows"):
                function(*changed(frame.iloc[:0]))
        with pytest.raises(MismatchError, match="one figure of 2 models, one, two; draw one a model"):
            function(*changed(pd.concat([frame.assign(model="one"), frame.assign(model="two")])))
        for column in frame.columns:
            try:
                function(*changed(frame.drop(columns=column)))
            except ScoreError as error:
                assert f"without ['{column}']" in str(error)


@pytest.mark.parametrize("name", ANALYSED)
def test_a_figure_of_vectors_is_as_wide_as_either_column(name: str, frames: Frames) -> None:
    assert [draw(name, frames, width=width).get_figwidth() for width in (SINGLE_COLUMN, DOUBLE_COLUMN)] == [
        SINGLE_COLUMN,
        DOUBLE_COLUMN,
    ]


def test_a_figure_of_matplotlibs_own_is_written_without_a_caption(tmp_path: Path) -> None:
    figure = PlainFigure(figsize=(2, 1))
    frame = pd.DataFrame({"x": [1]})
    assert [path.suffix for path in figures.save_figure(figure, frame, tmp_path, "own")] == [".png", ".pdf", ".csv"]
