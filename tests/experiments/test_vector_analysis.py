"""A vector taken apart: its tables agree with one another, and the heads that read it are needed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import DataError
from lens_steer.experiments.vector_analysis import VectorAnalysis, VectorAnalysisResult, analyse_vector
from lens_steer.extraction import extract
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector

NAMES = ("wealth_seeking", "anti_immigration")
SETTINGS = VectorAnalysis(
    site="resid_post@0", strength=2.0, positions="0:20", sites=("resid_post@0", "resid_post@7"), k=4, n_random=5
)
TEXTS = lab_corpus("text", 1, 1, 6).test


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def vectors(lab: Any) -> dict[str, SteeringVector]:
    return {
        name: extract(
            lab, contrast_from_choices(name, open_items(name, 40, split="train"), answer="text"), sites=SETTINGS.sites
        )
        for name in NAMES
    }


@pytest.fixture(scope="module", params=[NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def result(lab: Any, vectors: dict[str, SteeringVector], request: pytest.FixtureRequest) -> VectorAnalysisResult:
    items = open_items(request.param, 8, split="test")
    return analyse_vector(lab, request.param, vectors, items, TEXTS, SETTINGS)


def test_without_the_heads_that_read_the_vector_half_of_the_effect_is_gone_and_on_average_not_without_random_ones(
    result: VectorAnalysisResult,
) -> None:
    removed = result.ablation.set_index("set")["removed"]
    random = removed[removed.index.str.startswith("random")]
    assert result.ablation.set_index("set")["effect"].astype(float)["none"] > 1
    assert removed["found"] >= 0.5 and len(random) == 5 and random.mean() < removed["found"] - 0.3


def test_the_parts_of_the_effect_add_up_to_what_is_measured_without_ablation(result: VectorAnalysisResult) -> None:
    assert result.direct["value"].sum() == pytest.approx(result.direct["measured"].iloc[0], abs=1e-3)
    effect = result.ablation.set_index("set").loc["none", "effect"]
    assert result.direct["measured"].iloc[0] == pytest.approx(effect, abs=1e-3)
    assert set(result.projections["steered"]) == {True, False} and set(result.tokens["reading"]) >= {"contextual"}


def test_a_result_is_read_back_as_it_was_written(result: VectorAnalysisResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    again = VectorAnalysisResult.load(tmp_path)
    for name in VectorAnalysisResult.names():
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_dtype=False)


def test_a_vector_that_is_not_there_and_too_few_texts_are_refused(lab: Any, vectors: Any) -> None:
    items = open_items("myopic", 2, split="test")
    for name, texts in (("myopic", TEXTS), ("wealth_seeking", TEXTS[:3])):
        with pytest.raises(DataError, match="give one of the vectors"):
            analyse_vector(lab, name, vectors, items, texts, replace(SETTINGS, n_random=1))
