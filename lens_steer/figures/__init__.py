"""Figures from results: each function takes a tidy frame (or a result) and returns a matplotlib figure.

Figures of a single study are in that study's folder of `experiments`. Nothing here shows a window or changes global
matplotlib settings. `save_figure` writes PNG, PDF, the plotted data and a draft caption; `to_latex` makes a table for a
paper of any frame.

To add a figure: write a public function in a module here and import it below. Call `drawable` on each frame (and
`of_one` where several vectors would overlap), draw under `mpl.rc_context(STYLE)` no wider than `DOUBLE_COLUMN`, and set
`figure.caption` with a function in `captions`. Add a small frame to `tests/small_frames.py`; the common tests of all
figures fail until it exists.
"""

from lens_steer.figures.attribution import attribution_bars as attribution_bars
from lens_steer.figures.attribution import component_map as component_map
from lens_steer.figures.attribution import persistence_curves as persistence_curves
from lens_steer.figures.behaviours import layer_strength_map as layer_strength_map
from lens_steer.figures.behaviours import steering_curves as steering_curves
from lens_steer.figures.evaluation import evaluation_panels as evaluation_panels
from lens_steer.figures.geometry import cosine_atlas_map as cosine_atlas_map
from lens_steer.figures.geometry import energy_curves as energy_curves
from lens_steer.figures.geometry import norm_curves as norm_curves
from lens_steer.figures.geometry import plane_scatter as plane_scatter
from lens_steer.figures.latex import table_caption as table_caption
from lens_steer.figures.latex import to_latex as to_latex
from lens_steer.figures.latex import write_latex as write_latex
from lens_steer.figures.layers import layer_curves as layer_curves
from lens_steer.figures.layers import quality_curves as quality_curves
from lens_steer.figures.layers import step_curves as step_curves
from lens_steer.figures.projections import projection_strip as projection_strip
from lens_steer.figures.readings import agreement_curves as agreement_curves
from lens_steer.figures.readings import lens_panel as lens_panel
from lens_steer.figures.readings import residual_lens_heatmap as residual_lens_heatmap
from lens_steer.figures.style import Caption as Caption
from lens_steer.figures.style import save_figure as save_figure
from lens_steer.figures.vectors import cosine_heatmap as cosine_heatmap
from lens_steer.figures.vectors import lens_bars as lens_bars
from lens_steer.figures.vectors import method_heatmap as method_heatmap
