"""Two lists of texts as a study: its figure and its question. `lens-steer study` runs it; a saved one is reported."""

from lens_steer.experiments.study import Study
from lens_steer.experiments.text_lists import TextListsResult
from lens_steer.experiments.text_lists.figures import text_list_panels
from lens_steer.experiments.text_lists.verdict import QUESTION

STUDY = Study(
    name="text_lists",
    title="two lists of texts",
    result=TextListsResult,
    figures={
        "text_lists": (
            text_list_panels,
            lambda result: (result.layers, result.vectors, result.curves, result.side_effects),
        )
    },
    questions=(QUESTION,),
)
