"""Generated text over strengths: judged, looked through for collapse, and its price on neutral text."""

from lens_steer.experiments.steered_text.experiment import SteeredText as SteeredText
from lens_steer.experiments.steered_text.experiment import SteeredTextResult as SteeredTextResult
from lens_steer.experiments.steered_text.experiment import steer_text as steer_text
