"""The optimiser end to end: on a tiny model for what is done, on the lab model for what is found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.errors import FormatError, ScoreError, SiteError
from lens_steer.experiments.evaluator import Evaluator
from lens_steer.experiments.optimiser import Optimise, OptimiseResult, optimise_assignment
from lens_steer.experiments.optimiser.figures import pareto_front
from lens_steer.experiments.optimiser.problem import SearchProblem
from lens_steer.experiments.optimiser.schemes import SCHEMES, random_configurations, refined_points, scheme_points
from lens_steer.experiments.optimiser.search import SLOPE_COST
from lens_steer.extraction import extract
from lens_steer.hooks.sites import parse_sites
from lens_steer.lab.corpora import lab_corpus
from lens_steer.lab.items import open_items
from lens_steer.lab.truth import BEHAVIOURS
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector

pytestmark = pytest.mark.slow

NAMES = ("cats", "money")
SETTINGS = Optimise(
    configurations=24, budget=0.2, n_random=3, resamples=49, schemes=("simultaneous", "combined, signed")
)
TARGETS = {"cats": 1, "money": -1}


def asked(name: str) -> Splits:
    words = {"cats": ("the cat", "a dog"), "money": ("one dollar", "ten dollars")}[name]
    parts = {
        split: tuple(
            ChoiceItem(id=f"{name} {split} {i}", stem=f"Which {split} {i}?", matching=words[0], other=f"{words[1]} {i}")
            for i in range(4)
        )
        for split in ("train", "validation", "test")
    }
    return Splits(**parts)  # pyright: ignore


@pytest.fixture(scope="module")
def behaviours() -> dict[str, Splits]:
    return {name: asked(name) for name in NAMES}


@pytest.fixture(scope="module")
def vectors(llama: Any, behaviours: dict[str, Splits]) -> dict[str, SteeringVector]:
    return {
        name: extract(llama, contrast_from_choices(name, splits.train, answer="text"))
        for name, splits in behaviours.items()
    }


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    train, validation = (
        tuple(f"The {split} cat {i} sat on the mat." for i in range(3)) for split in ("train", "validation")
    )
    return Corpus(
        name="text",
        train=train,
        validation=validation,
        test=tuple(f"One dollar today and {i} later." for i in range(3)),
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the configurations of `result` are kept."""
    return tmp_path_factory.mktemp("configurations")


@pytest.fixture(scope="module")
def result(llama: Any, vectors: Any, behaviours: Any, corpus: Corpus, kept: Path) -> OptimiseResult:
    settings = replace(SETTINGS, checkpoint=str(kept))
    return optimise_assignment(llama, vectors, behaviours, corpus, TARGETS, settings)


@pytest.fixture(scope="module")
def problem(llama: Any, vectors: Any, behaviours: Any, corpus: Corpus) -> SearchProblem:
    items = {name: splits.validation for name, splits in behaviours.items()}
    return SearchProblem(
        evaluator=Evaluator(model=llama, items=items, corpora={"text": corpus.validation}),
        vectors=vectors,
        sites=parse_sites("resid_post@*", 3, 2),
        targets=(1, -1),
        positions="1:40",
        scale="raw",
        side_effect="kl",
    )


def test_slopes_at_a_point_are_finite_differences_of_what_is_measured(problem: SearchProblem) -> None:
    point = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, -0.7]])
    slopes, h = problem.slopes(point), 5e-3
    for vector, site in ((0, 0), (1, 2)):
        step = np.zeros_like(point)
        step[vector, site] = h
        below, above = problem.outcomes([point - step, point + step])
        np.testing.assert_allclose(
            slopes[:, vector, site], (above.change - below.change) / (2 * h), rtol=0.05, atol=3e-3
        )


def test_gram_and_assignment_speak_of_the_same_vectors(problem: SearchProblem, vectors: Any) -> None:
    gram = problem.gram()
    assert gram.shape == (3, 2, 2)
    for place, site in enumerate(problem.sites):
        first, second = (vectors[name] for name in NAMES)
        cosine = gram[place, 0, 1] / np.sqrt(gram[place, 0, 0] * gram[place, 1, 1])
        assert cosine == pytest.approx(first.cosine(second, site), abs=1e-4)
        assert gram[place, 0, 0] == pytest.approx((first.norm(site) / first.activation_norm(site)) ** 2, rel=1e-4)
    placements = problem.assignment(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])).placements
    assert [(placement.behaviour, str(placement.site), placement.strength) for placement in placements] == [
        ("money", "resid_post@1", 2.0)
    ]
    assert problem.configuration(np.zeros((2, 3))) == []


def test_every_scheme_spends_its_configurations_and_no_more_and_failed_ones_are_rows(result: OptimiseResult) -> None:
    counts = result.configurations.groupby("scheme").size()
    assert counts["simultaneous"] == counts["combined, signed"] == SETTINGS.configurations
    assert counts["optimised"] + SLOPE_COST <= SETTINGS.configurations
    assert result.configurations.groupby("scheme")["chosen"].sum().tolist() == [1, 1, 1]
    assert {"collapsed", "valid", "front"} <= set(result.configurations.columns)
    assert not (result.configurations["front"] & ~result.configurations["valid"]).any()
    assert len(result.placements) == 2 * len(result.configurations)


def test_the_chosen_assignment_does_on_its_own_what_the_table_says(
    result: OptimiseResult, llama: Any, vectors: Any, behaviours: Any, corpus: Corpus
) -> None:
    configuration = result.assignment(vectors).interventions()
    items = {name: splits.validation for name, splits in behaviours.items()}
    evaluator = Evaluator(model=llama, items=items, corpora={"text": corpus.validation})
    measured = evaluator.measure([configuration])
    row = result.configurations.query("scheme == 'optimised' and chosen")
    assert float(measured.targeted(0, {"cats": 1.0, "money": -1.0}).mean()) == pytest.approx(
        row["objective"].item(), abs=1e-4
    )
    assert measured.side_effects[0].kl == pytest.approx(row["side_effect"].item(), rel=1e-3)
    assert row["side_effect"].item() <= SETTINGS.budget


def test_test_numbers_are_tested_in_pairs_and_random_directions_have_the_norm_of_what_is_written(
    result: OptimiseResult, vectors: Any
) -> None:
    assert set(result.tested["objective_why"]) == {"few"} and result.tested["objective_low"].isna().all(), "4 items"
    assert result.gains["p"].between(0.125, 1).all(), "of 16 exchanges of 4 items no p is below 2 / 16"
    assert (result.gains["p_holm"] >= result.gains["p"]).all() and result.gains["family"].str.startswith(
        "6 gains"
    ).all()
    assert (result.tested["scheme"] == "random").sum() == 3
    assert set(result.gains["scheme"]) == {"simultaneous", "combined, signed"} and len(result.gains) == 6
    assignment = result.assignment(vectors)
    for configuration in random_configurations(assignment, "raw", "all", 2, 0):
        for edit in configuration:
            written = [p.strength * p.direction() for p in assignment.placements if p.site == edit.site]
            norm = float(torch.stack(written).sum(dim=0).norm())
            assert float(edit.direction.norm()) == pytest.approx(norm, rel=1e-4)


def test_a_result_is_read_back_as_it_was_written_and_a_run_that_goes_on_gives_the_same(
    result: OptimiseResult, kept: Path, llama: Any, vectors: Any, behaviours: Any, corpus: Corpus, tmp_path: Path
) -> None:
    result.save(tmp_path)
    again = OptimiseResult.load(tmp_path)
    run = optimise_assignment(llama, vectors, behaviours, corpus, TARGETS, replace(SETTINGS, checkpoint=str(kept)))
    assert list(kept.glob("*.jsonl"))
    for name in OptimiseResult.names():
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_exact=True)
        pd.testing.assert_frame_equal(getattr(run, name), getattr(result, name), check_exact=True)
    (tmp_path / "gains.csv").write_text("nothing")
    with pytest.raises(FormatError, match=r"gains\.csv"):
        OptimiseResult.load(tmp_path)


@pytest.mark.slow
def test_the_side_effect_may_be_the_top1_that_text_loses() -> None:
    """Random models predict nothing right, so that the lab's own is asked, at one site."""
    settings = replace(
        LAB, sites="resid_post@0", side_effect="top1_loss", budget=0.1, configurations=20, schemes=("combined",)
    )
    found = lab_run({"sycophancy": 1, "agreeableness": 1}, replace(settings, n_random=2, resamples=49))
    np.testing.assert_allclose(found.configurations["side_effect"], 1 - found.configurations["relative_top1"])
    np.testing.assert_allclose(found.tested["side_effect_low"], 1 - found.tested["relative_top1_high"])
    assert found.configurations.query("chosen")["side_effect"].max() <= 0.1


def test_the_figure_shows_every_scheme_and_the_random_directions(result: OptimiseResult) -> None:
    figure = pareto_front(
        result.configurations, result.tested, result.facts["budget"], result.facts["settings"]["side_effect"]
    )
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"optimised", "simultaneous", "combined, signed", "random, same norm"} <= labels
    assert [axis.get_title() for axis in figure.axes] == ["validation", "test, with 95 % intervals"]


def test_schemes_write_what_they_say() -> None:
    for scheme in SCHEMES:
        points = scheme_points(scheme, (1, 0, -1), 5, 60, 2.0)
        assert len(points) <= 36
        for point in points:
            used = np.flatnonzero(point.any(axis=1))
            assert used.tolist() == [0, 2]
            places = np.abs(point).argmax(axis=1)[used]
            assert places[1] - places[0] == (1 if scheme.startswith("simultaneous") else 0)
            first, second = point.sum(axis=1)[used]
            assert first == (-second if scheme.endswith("signed") else second)
        assert {float(np.abs(point).max()) for point in points} == {2.0, 2 / 3, 2 / 9, 2 / 27}
    np.testing.assert_allclose([point[0, 0] for point in refined_points(np.array([[3.0]]), 4)], [1.5, 3.0, 4.5, 6.0])


@pytest.mark.parametrize(
    ("targets", "change", "error", "words"),
    [
        ({"cats": 1}, {}, ScoreError, "money missing"),
        ({"cats": 2, "money": 1}, {}, ScoreError, r"\+1, -1 or 0"),
        ({"cats": 0, "money": 0}, {}, ScoreError, "not 0 for all"),
        (TARGETS, {"budget": None, "schemes": ()}, ScoreError, "give a budget of side effects"),
        (TARGETS, {"budget": -1.0}, ScoreError, "give a number above 0"),
        (TARGETS, {"schemes": ("together",)}, ScoreError, "give one of 'simultaneous'"),
        (TARGETS, {"sites": "resid_post@1"}, ScoreError, "a site for each vector"),
        (TARGETS, {"sites": "attn_out@*"}, SiteError, "no direction at attn_out@0"),
        (TARGETS, {"configurations": 4, "schemes": ()}, ScoreError, "more than 4 configurations"),
    ],
)
def test_what_has_no_meaning_is_refused(
    llama: Any,
    vectors: Any,
    behaviours: Any,
    corpus: Corpus,
    targets: dict[str, int],
    change: dict[str, Any],
    error: type,
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        optimise_assignment(llama, vectors, behaviours, corpus, targets, replace(SETTINGS, **change))


def lab_run(targets: dict[str, int], settings: Optimise) -> OptimiseResult:
    """The optimiser on some of the lab's behaviours."""
    lab, sizes = load_model("lab"), {"train": 80, "validation": 12, "test": 30}
    behaviours = {
        name: Splits(**{split: open_items(name, n, split=split) for split, n in sizes.items()})  # pyright: ignore
        for name in targets
    }
    vectors = {
        name: extract(lab, contrast_from_choices(name, splits.train, answer="text"), sites=settings.sites)
        for name, splits in behaviours.items()
    }
    return optimise_assignment(lab, vectors, behaviours, lab_corpus("text", 1, 6, 12), targets, settings)


LAB = Optimise(positions="0:20", schemes=("simultaneous", "combined"), n_random=4, resamples=299)


@pytest.mark.slow
def test_at_the_side_effect_of_simultaneous_steering_the_optimised_effect_on_test_is_larger() -> None:
    found = lab_run(dict.fromkeys(BEHAVIOURS, 1), replace(LAB, schemes=("simultaneous",)))
    whole = found.gains[found.gains["budget"] == found.facts["budget"]]
    assert (whole["gain_low"] > 0.5).all(), found.gains.to_string()
    configurations = found.configurations[found.configurations["chosen"]].set_index("scheme")
    assert (
        configurations.loc["optimised", "side_effect"]
        <= found.facts["budget"]
        == configurations.loc["simultaneous", "side_effect"]
    )
    assert configurations.loc["optimised", "valid"]
    tested = found.tested.merge(configurations.reset_index()[["scheme", "configuration"]]).set_index("scheme")
    random = found.tested.loc[found.tested["scheme"] == "random", "objective"]
    assert tested.loc["optimised", "objective_low"] > random.max()


@pytest.mark.slow
def test_two_behaviours_are_pulled_apart_as_no_global_sign_can() -> None:
    settings = replace(LAB, goal="worst", budget=0.3, configurations=60)
    found = lab_run({"myopic": 1, "wealth_seeking": -1}, settings)
    whole = found.gains[found.gains["budget"] == 0.3]
    assert (whole["gain_low"] > 0).all(), found.gains.to_string()
    assert found.chosen()["strength"].gt(0).tolist() == [True, False]
    assert found.configurations.query("scheme == 'optimised' and chosen")["valid"].item()
