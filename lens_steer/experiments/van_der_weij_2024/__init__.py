"""The tables of van der Weij et al. 2024, rebuilt from a checkout of the paper's repository; nothing is re-run."""

from lens_steer.experiments.van_der_weij_2024.alignment_tax import published_alignment_tax as published_alignment_tax
from lens_steer.experiments.van_der_weij_2024.behaviours import PublishedBehaviours as PublishedBehaviours
from lens_steer.experiments.van_der_weij_2024.behaviours import published_behaviours as published_behaviours
from lens_steer.experiments.van_der_weij_2024.figures import (
    published_simultaneous_curve as published_simultaneous_curve,
)
from lens_steer.experiments.van_der_weij_2024.skills import PublishedSkills as PublishedSkills
from lens_steer.experiments.van_der_weij_2024.skills import published_skills as published_skills
from lens_steer.experiments.van_der_weij_2024.tables import PublishedTables as PublishedTables
from lens_steer.experiments.van_der_weij_2024.tables import published_tables as published_tables
from lens_steer.experiments.van_der_weij_2024.vectors import PublishedVectors as PublishedVectors
from lens_steer.experiments.van_der_weij_2024.vectors import published_vector as published_vector
from lens_steer.experiments.van_der_weij_2024.vectors import published_vectors as published_vectors
