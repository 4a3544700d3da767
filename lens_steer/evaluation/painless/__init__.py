"""A tested vector of any labelled data set in one call."""

from lens_steer.evaluation.painless.result import Painless as Painless
from lens_steer.evaluation.painless.run import PainlessOptions as PainlessOptions
from lens_steer.evaluation.painless.run import painless as painless
