"""The studies of the package: one line each, the folder in which the study is kept."""

from importlib import import_module

from lens_steer.experiments.finding import Finding, Question
from lens_steer.experiments.folder import ResultFolder
from lens_steer.experiments.study import Study

NAMES = (
    "individual_steering",
    "steered_text",
    "broad_skill",
    "collapse_check",
    "joint_steering",
    "optimiser",
    "vector_analysis",
    "reliability",
    "function_vectors",
    "benchmark",
    "open_ended",
    "in_context",
    "painless",
    "evaluation",
    "text_lists",
    "inspect_task",
)
"""In the order in which studies are run and reported."""


def studies() -> tuple[Study, ...]:
    """Every study, in order."""
    return tuple(import_module(f"lens_steer.experiments.{name}.study").STUDY for name in NAMES)


def find(results: ResultFolder) -> list[tuple[Question, list[Finding]]]:
    """What the tables of a folder show: the findings of every question whose tables are there.

    Args:
        results: a folder.

    Returns:
        Questions in the order of the studies, each with at least one finding.
    """
    asked = [question for study in studies() for question in study.questions if question.is_in(results)]
    found = [(question, question.find(results)) for question in asked]
    return [(question, findings) for question, findings in found if findings]
