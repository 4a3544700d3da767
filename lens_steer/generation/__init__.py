"""Generation with and without steering, with a record of each step and a trace of the edits."""

from lens_steer.generation.decoding import Decoding as Decoding
from lens_steer.generation.generate import generate as generate
from lens_steer.generation.generate import generate_pair as generate_pair
from lens_steer.generation.loop import Token as Token
from lens_steer.generation.loop import continue_rows as continue_rows
from lens_steer.generation.loop import finished as finished
from lens_steer.generation.loop import prepare_rows as prepare_rows
from lens_steer.generation.results import Continuation as Continuation
from lens_steer.generation.results import GenerationPair as GenerationPair
from lens_steer.generation.results import Generations as Generations
