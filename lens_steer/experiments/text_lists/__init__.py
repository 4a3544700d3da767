"""Two lists of texts: does the vector between them steer, where, how strongly, and at what cost?"""

from lens_steer.experiments.text_lists.experiment import TextListsResult as TextListsResult
from lens_steer.experiments.text_lists.experiment import study_texts as study_texts
from lens_steer.experiments.text_lists.settings import TextLists as TextLists
