"""Steering behaviours one by one: van der Weij et al. 2024, corrected."""

from lens_steer.experiments.individual_steering.experiment import Individual as Individual
from lens_steer.experiments.individual_steering.experiment import IndividualResult as IndividualResult
from lens_steer.experiments.individual_steering.experiment import individual_steering as individual_steering
from lens_steer.experiments.individual_steering.experiment import own_vector as own_vector
from lens_steer.experiments.individual_steering.experiment import p_value as p_value
