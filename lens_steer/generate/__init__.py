"""Continuing prompts with and without steering, and what was edited on the way."""

from lens_steer.generate.decoding import Decoding as Decoding
from lens_steer.generate.generate import generate as generate
from lens_steer.generate.generate import generate_pair as generate_pair
from lens_steer.generate.loop import Token as Token
from lens_steer.generate.loop import continue_rows as continue_rows
from lens_steer.generate.loop import finished as finished
from lens_steer.generate.loop import prepare_rows as prepare_rows
from lens_steer.generate.results import Continuation as Continuation
from lens_steer.generate.results import GenerationPair as GenerationPair
from lens_steer.generate.results import Generations as Generations
