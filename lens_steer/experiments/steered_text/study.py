"""Steered text as a study: its figure and its question. `steer_text` is called with prompts and a judge."""

from lens_steer.experiments.steered_text import SteeredTextResult
from lens_steer.experiments.steered_text.figures import text_curves
from lens_steer.experiments.steered_text.verdict import QUESTION
from lens_steer.experiments.study import Study

STUDY = Study(
    name="steered_text",
    title="steered text",
    result=SteeredTextResult,
    figures={"text_curves": (text_curves, lambda result: (result.strengths,))},
    questions=(QUESTION,),
)
