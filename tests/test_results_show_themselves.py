"""What a user gets back shows itself in one line, in Jupyter as a table, as a figure, and survives pickle."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer import (
    Decoding,
    Intervention,
    LensSteerError,
    SteeringVector,
    contrast_from_choices,
    extract,
    figures,
    generate_pair,
    load_model,
    preflight,
    score_choices,
    sweep,
)
from lens_steer.analysis.geometry import cosine_map, layer_map
from lens_steer.analysis.lens import read_vector, vector_lens
from lens_steer.data.splits import split_items
from lens_steer.hooks.operators import Ablate, Mimic, NormPreserving
from lens_steer.lab.items import open_items


def html(entry: Any) -> str:
    """What Jupyter shows of an object."""
    return entry._repr_html_()


@dataclass
class Results:
    model: Any
    vector: SteeringVector
    other: SteeringVector
    swept: Any
    pair: Any


@pytest.fixture(scope="module")
def results() -> Results:
    model = load_model("lab")
    vector, other = (
        extract(model, contrast_from_choices(name, open_items(name, 8, split="train"), answer="text"))
        for name in ("myopic", "agreeableness")
    )
    items: Any = open_items("myopic", 6, split="test")
    swept = sweep(model, vector, items, sites="resid_post@0:2", strengths=[-1, 1], positions="0:20")
    decoding = Decoding(max_new_tokens=4, stop_at_eos=False)
    pair = generate_pair(model, "Sometimes I see the", Intervention.of(vector, 0, 2.0), decoding, record=True)
    return Results(model=model, vector=vector, other=other, swept=swept, pair=pair)


def test_every_object_has_a_line_of_at_most_200_characters_without_tensors(results: Results) -> None:
    items: Any = open_items("myopic", 8, split="train")
    scores = score_choices(results.model, items)
    edit = Intervention.of(results.vector, 0, 1.0)
    rows = [torch.randn(9, 128) + shift for shift in (0, 1)]
    given = [
        results.vector, results.vector + results.other, results.swept, results.pair, results.pair.steered,
        results.pair.steered.continuations[0], scores, scores.collapse, edit, edit.site, edit.positions, edit.operator,
        Ablate(results.vector.at(0)), NormPreserving(Mimic.fit(rows[0], rows[1])), results.vector.fingerprint, items[0],
        contrast_from_choices("x", items), contrast_from_choices("x", items).pairs[0], split_items(items),
        cosine_map([results.vector, results.other], 0), read_vector(results.model, results.vector, 7, n_random=1),
        preflight(results.model), Decoding(),
    ]  # fmt: skip
    found = [(type(entry).__name__, repr(entry)) for entry in given]
    for entry in given:
        assert repr(copy.deepcopy(entry)) == repr(entry) == repr(pickle.loads(pickle.dumps(entry)))
    assert not [entry for entry in found if len(entry[1]) > 200 or "tensor(" in entry[1] or "\n" in entry[1]]
    assert repr(results.vector) == "SteeringVector('myopic', lab, mean_difference of 16 pairs, resid_post@0:8)"


def test_in_jupyter_results_are_tables_and_what_the_model_wrote_is_no_markup(results: Results) -> None:
    assert "<td>resid_post@7</td>" in html(results.vector)
    assert "matching_rate" in html(results.swept)
    shown = html(results.pair)
    assert "Sometimes I see the" in shown
    text = "<script>alert(1)</script>"
    one = copy.copy(results.pair.steered.continuations[0])
    object.__setattr__(one, "text", text)
    generations = copy.copy(results.pair.steered)
    object.__setattr__(generations, "continuations", (one,))
    assert text not in html(generations) and "&lt;script&gt;" in html(generations)


def test_vectors_and_interventions_come_back_from_pickle_and_deepcopy_as_they_were(results: Results) -> None:
    for back in (pickle.loads(pickle.dumps(results.vector)), copy.deepcopy({"v": results.vector})["v"]):
        assert back.sites == results.vector.sites and back.fingerprint == results.vector.fingerprint
        assert all((back.at(site) == results.vector.at(site)).all() for site in back.sites)
        with pytest.raises(TypeError):
            vars(back)["directions"]["resid_post@0"] = None
    edit = pickle.loads(pickle.dumps(Intervention.of(results.vector, 0, 2.0)))
    assert str(edit) == str(Intervention.of(results.vector, 0, 2.0))
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(results.swept)).frame, results.swept.frame)


def test_vectors_are_loaded_summed_and_refuse_sums_at_different_sites(results: Results, tmp_path: Any) -> None:
    path = results.vector.save(tmp_path / "v.safetensors")
    back = SteeringVector.load(path, results.model)
    assert (back.at(3) == results.vector.at(3)).all() and back.to("cuda") is back
    total = sum([results.vector, results.other])
    assert isinstance(total, SteeringVector) and (total.at(0) == (results.vector + results.other).at(0)).all()
    with pytest.raises(LensSteerError, match=r"resid_post@0:8\) and .* \(resid_post@1\).*v\.only\(site\) \+ w"):
        _ = results.vector + results.other.only(1)
    with pytest.raises(LensSteerError, match="only vectors can be added"):
        _ = 1 + results.vector


def test_results_draw_themselves(results: Results) -> None:
    assert len(results.swept.plot().axes) == 2, "a map and its scale"
    assert results.vector.plot_lens(results.model, 7).axes[0].get_title() == "myopic\nresid_post@7"
    assert results.pair.plot().axes[0].get_ylabel() == "entropy (nats)"
    heat = cosine_map([results.vector, results.other], 3).plot().axes[0]
    assert [label.get_text() for label in heat.get_yticklabels()] == ["myopic", "agreeableness"]
    plain = generate_pair(
        results.model, "Sometimes", Intervention.of(results.vector, 0, 2.0), Decoding(max_new_tokens=4)
    )
    with pytest.raises(LensSteerError, match="record=True"):
        plain.plot()


def test_figures_take_results_as_they_take_tidy_frames(results: Results) -> None:
    curves: Any = figures.steering_curves(results.swept).axes
    assert [axis.get_title().split("\n")[0] for axis in curves] == ["myopic, resid_post@0", "myopic, resid_post@1"]
    rates = results.swept.summary().query("site == 'resid_post@1'")["matching_rate"].tolist()
    assert list(curves[1].lines[0].get_ydata()) == rates
    assert figures.layer_strength_map(results.swept).caption is not None
    assert figures.layer_curves(results.swept).caption is not None
    heat = figures.cosine_heatmap(layer_map(results.vector)).axes[0]
    assert heat.get_yticklabels()[7].get_text() == "resid_post@7"
    assert figures.lens_bars(vector_lens(results.model, results.vector, 7)).caption is not None
    with pytest.raises(LensSteerError, match="a list cannot be drawn here; give a tidy frame or a result"):
        figures.steering_curves([1, 2])


def test_one_sided_unsteered_answers_are_not_called_collapsed(results: Results) -> None:
    summary = results.swept.summary()
    unsteered = summary[summary["strength"] == 0]
    assert len(unsteered) and not unsteered["collapsed"].any()
    curves: Any = results.swept.figure_frame().assign(reason="unsteered answers are one-sided: ...", behaviour="b")
    curves: Any = curves[curves["site"] == "resid_post@0"].assign(vector="steering")
    axis = figures.steering_curves(curves).axes[0]
    lines: Any = {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in axis.lines}
    assert lines["one-sided unsteered"] == [0.0] and "collapsed" not in lines
