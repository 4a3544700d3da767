"""lens_steer: a TransformerLens-native toolkit for the science of activation steering.

Importing it is inert: transformer_lens is loaded with the first model. Methods, operators, metrics, analysis,
experiments and figures stay one level down.
"""

from lens_steer.data.choices import ChoiceItem as ChoiceItem
from lens_steer.data.choices import ChoiceTemplate as ChoiceTemplate
from lens_steer.data.contrast import ContrastPair as ContrastPair
from lens_steer.data.contrast import ContrastSet as ContrastSet
from lens_steer.data.contrast import contrast_from_choices as contrast_from_choices
from lens_steer.data.read import read as read
from lens_steer.data.splits import split_items as split_items
from lens_steer.errors import LensSteerError as LensSteerError
from lens_steer.evaluation.score import ScoringOptions as ScoringOptions
from lens_steer.evaluation.score import score_choices as score_choices
from lens_steer.evaluation.sweep import SweepResult as SweepResult
from lens_steer.evaluation.sweep import sweep as sweep
from lens_steer.extraction import extract as extract
from lens_steer.extraction.record import record as record
from lens_steer.generation import Decoding as Decoding
from lens_steer.generation import generate as generate
from lens_steer.generation import generate_pair as generate_pair
from lens_steer.hooks import Intervention as Intervention
from lens_steer.hooks import steer as steer
from lens_steer.hooks.positions import Positions as Positions
from lens_steer.hooks.preflight import preflight as preflight
from lens_steer.hooks.sites import Site as Site
from lens_steer.model import load_model as load_model
from lens_steer.vector import SteeringVector as SteeringVector
from lens_steer.vector import load_vector as load_vector
