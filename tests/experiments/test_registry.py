"""The registry: every study of a folder is in it, whole, and draws its figures from its result."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from small_frames import FRAMES, analysed

from lens_steer import experiments, figures
from lens_steer.experiments.finding import Question
from lens_steer.experiments.folder import read_results
from lens_steer.experiments.registry import NAMES, find, studies
from lens_steer.experiments.study import Study
from lens_steer.figures.style import Figure
from lens_steer.vector import SteeringVector

FOLDER = Path(experiments.__path__[0])
BY_FOLDER: dict[str, Study] = dict(zip(NAMES, studies(), strict=True))


def modules(name: str) -> list[ModuleType]:
    """Every module of a study's folder."""
    return [
        import_module(found.name) for found in walk_packages([str(FOLDER / name)], f"lens_steer.experiments.{name}.")
    ]


def test_every_folder_with_a_study_is_in_the_registry_once() -> None:
    assert sorted(NAMES) == sorted(path.parent.name for path in FOLDER.glob("*/study.py"))
    assert len({study.name for study in studies()}) == len({study.title for study in studies()}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_and_questions_of_a_folder_are_those_of_its_study(name: str) -> None:
    study, found = BY_FOLDER[name], [value for module in modules(name) for value in vars(module).values()]
    drawn = [draw for draw, _ in study.figures.values()]
    functions = [f for f in found if inspect.isfunction(f) and not f.__name__.startswith("_")]
    own = [f for f in functions if f.__annotations__.get("return") is Figure]
    assert all(any(draw is function for draw in drawn) for function in own)
    asked = {id(value): value for value in found if isinstance(value, Question)}
    assert {question.title for question in asked.values()} == {question.title for question in study.questions}


def test_no_two_studies_write_the_same_file_and_each_asks_its_own_tables() -> None:
    files = [name for study in studies() for name in study.figures]
    assert len(files) == len(set(files)) == 43
    for study in studies():
        for question in study.questions:
            folders = {str(Path(name).parent) for name in question.needs}
            assert folders == {study.folder}


def tables(model: Any, vector: SteeringVector) -> dict[str, Any]:
    """A small result of each study, with the tables that its figures are drawn from."""
    made, test = analysed(model, vector), {"split": "test"}
    joint, (pairs, agreement) = FRAMES["simultaneous_curve"], FRAMES["interference_matrices"]
    optimised = dict(zip(("configurations", "tested"), FRAMES["pareto_front"], strict=True))
    one = {name: frames[0] for name, frames in FRAMES.items()}
    found: dict[str, Any] = {
        "individual": {"curves": one["steering_curves"], "validation": one["layer_strength_map"]}
        | {"cosines": one["cosine_heatmap"], "lens": one["lens_bars"], "facts": {"mapped": True, "scoring": "letter"}},
        "broad": {"curves": one["selectivity_curves"].assign(**test), "retained": one["retained_bars"].assign(**test)}
        | {"points": FRAMES["retained_bars"][1]},
        "steered_text": {"strengths": one["text_curves"]},
        "function_vectors": dict(zip(("layers", "chosen", "accuracy"), FRAMES["function_vector_panels"], strict=True)),
        "collapse": dict(zip(("strengths", "thresholds"), FRAMES["collapse_diagnostics"], strict=True)),
        "joint": {"configurations": joint[0], "points": joint[1], "interference": pairs, "agreement": agreement},
        "optimiser": {**optimised, "facts": {"budget": 1.0, "settings": {"side_effect": "kl"}}},
        "vector_analysis": {"tokens": made["lens_panel"], "agreement": made["agreement_curves"]}
        | {"atlas": made["cosine_atlas_map"], "direct": one["attribution_bars"], "patched": one["attribution_bars"]}
        | {"readers": FRAMES["component_map"][0].assign(z=1.0), "persistence": one["persistence_curves"]}
        | {"projections": one["projection_strip"]},
        "reliability": dict(zip(("behaviours", "items"), FRAMES["steerability_violins"], strict=True))
        | {"shift": one["in_and_out"]},
    }
    found["open_ended"] = {"likelihoods": one["sorted_likelihoods"], "changes": one["change_bars"]}
    found["open_ended"] |= {"judged": one["judged_turns"]}
    found["in_context"] = {"effects": one["effect_strip"], "strengths": one["side_effect_curves"]}
    evaluated = ("curves", "items", "controls", "side_effects")
    found["evaluation"] = dict(zip(evaluated, FRAMES["evaluation_panels"], strict=True))
    listed = ("layers", "vectors", "curves", "side_effects")
    found["text_lists"] = dict(zip(listed, FRAMES["text_list_panels"], strict=True))
    found["inspect_task"] = {"arms": one["task_arms"]}
    found["painless"] = {"gains": one["gain_bars"], "points": one["tried_curves"], "sizes": one["size_curves"]}
    found["painless"] |= {"grid": one["grid_maps"], "on_top": one["on_top_bars"]}
    found["benchmark"] = {"table": one["method_heatmap"], "fronts": one["front_panels"]}
    return {name: SimpleNamespace(**frames) for name, frames in found.items()}


@pytest.mark.slow
def test_every_figure_of_every_study_is_drawn_through_the_registry_with_its_data(
    llama: Any, vector: SteeringVector, tmp_path: Path
) -> None:
    given = tables(llama, vector)
    for study in studies():
        drawn = study.drawn(given[study.name])
        assert list(drawn) == list(study.figures)
        for name, (figure, data) in drawn.items():
            written = figures.save_figure(figure, data, tmp_path, name)
            assert [path.suffix for path in written] == [".png", ".pdf", ".csv", ".txt"] and len(data)


def test_the_findings_of_a_folder_come_in_the_order_of_the_studies(results: Path) -> None:
    found = [question.title for question, _ in find(read_results(results))]
    order = [question.title for study in studies() for question in study.questions]
    assert len(found) == 9 and found == [title for title in order if title in found]
