"""Mode collapse: a rule for answers, a rule for generated text, and the strength at which collapse begins."""

from lens_steer.metrics.collapse.answers import ANSWER_PROBABILITY_LIMIT as ANSWER_PROBABILITY_LIMIT
from lens_steer.metrics.collapse.answers import FAULTY_LIMIT as FAULTY_LIMIT
from lens_steer.metrics.collapse.answers import MODAL_LIMIT as MODAL_LIMIT
from lens_steer.metrics.collapse.answers import Collapse as Collapse
from lens_steer.metrics.collapse.answers import collapse as collapse
from lens_steer.metrics.collapse.answers import collapse_of_responses as collapse_of_responses
from lens_steer.metrics.collapse.answers import entropy as entropy
from lens_steer.metrics.collapse.generation import GenerationCollapse as GenerationCollapse
from lens_steer.metrics.collapse.generation import Loop as Loop
from lens_steer.metrics.collapse.generation import compression_ratio as compression_ratio
from lens_steer.metrics.collapse.generation import continuation_collapsed as continuation_collapsed
from lens_steer.metrics.collapse.generation import cross_prompt_similarity as cross_prompt_similarity
from lens_steer.metrics.collapse.generation import distinct_n as distinct_n
from lens_steer.metrics.collapse.generation import entropy_summary as entropy_summary
from lens_steer.metrics.collapse.generation import find_loop as find_loop
from lens_steer.metrics.collapse.generation import generation_collapse as generation_collapse
from lens_steer.metrics.collapse.generation import generation_margin as generation_margin
from lens_steer.metrics.collapse.generation import ngram_entropy as ngram_entropy
from lens_steer.metrics.collapse.generation import repetition_share as repetition_share
from lens_steer.metrics.collapse.threshold import Threshold as Threshold
from lens_steer.metrics.collapse.threshold import collapse_threshold as collapse_threshold
from lens_steer.metrics.collapse.threshold import onset as onset
