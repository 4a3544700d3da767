"""Attribution: which components carry or counteract a steering edit, write a vector, or read it."""

from lens_steer.analysis.attribution.ablation import Ablation as Ablation
from lens_steer.analysis.attribution.ablation import ablate_heads as ablate_heads
from lens_steer.analysis.attribution.ablation import mean_ablations as mean_ablations
from lens_steer.analysis.attribution.contrast import TokenContrast as TokenContrast
from lens_steer.analysis.attribution.contrast import choice_contrast as choice_contrast
from lens_steer.analysis.attribution.contrast import token_contrast as token_contrast
from lens_steer.analysis.attribution.contributions import Component as Component
from lens_steer.analysis.attribution.contributions import Contributions as Contributions
from lens_steer.analysis.attribution.direct import attribute_directly as attribute_directly
from lens_steer.analysis.attribution.patching import patch_back as patch_back
from lens_steer.analysis.attribution.reading import Readings as Readings
from lens_steer.analysis.attribution.reading import attribute_reading as attribute_reading
from lens_steer.analysis.attribution.writing import attribute_writing as attribute_writing
from lens_steer.analysis.attribution.writing import writing_sites as writing_sites
