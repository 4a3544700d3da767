"""Steering behaviours one by one and several at once: van der Weij et al. 2024, as published and corrected."""

from lens_steer.experiments.multi_behaviour.bench import BehaviourBench as BehaviourBench
from lens_steer.experiments.multi_behaviour.bench import Measured as Measured
from lens_steer.experiments.multi_behaviour.individual import Individual as Individual
from lens_steer.experiments.multi_behaviour.individual import IndividualResult as IndividualResult
from lens_steer.experiments.multi_behaviour.individual import individual_steering as individual_steering
from lens_steer.experiments.multi_behaviour.together import Many as Many
from lens_steer.experiments.multi_behaviour.together import ManyResult as ManyResult
from lens_steer.experiments.multi_behaviour.together import many_behaviours as many_behaviours
