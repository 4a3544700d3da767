"""Steering a broad skill away, beside a narrow one: van der Weij et al. 2024, as published and corrected."""

from lens_steer.experiments.broad_skill.experiment import BroadSkill as BroadSkill
from lens_steer.experiments.broad_skill.experiment import BroadSkillResult as BroadSkillResult
from lens_steer.experiments.broad_skill.experiment import broad_skill as broad_skill
from lens_steer.experiments.broad_skill.experiment import skill_vectors as skill_vectors
from lens_steer.experiments.broad_skill.vectors import ReadingRule as ReadingRule
from lens_steer.experiments.broad_skill.vectors import mean_activations as mean_activations
from lens_steer.experiments.broad_skill.vectors import permuted_control as permuted_control
