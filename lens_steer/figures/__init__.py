"""Figures from results alone: each function takes a tidy frame and returns a matplotlib figure.

Nothing here runs a model, shows a window or changes global matplotlib settings. `save_figure` writes PNG, PDF and the
data behind them.
"""

from lens_steer.figures.behaviours import layer_strength_map as layer_strength_map
from lens_steer.figures.behaviours import steering_curves as steering_curves
from lens_steer.figures.collapse import collapse_diagnostics as collapse_diagnostics
from lens_steer.figures.many import detection_points as detection_points
from lens_steer.figures.many import interference_matrices as interference_matrices
from lens_steer.figures.many import scheme_intervals as scheme_intervals
from lens_steer.figures.many import simultaneous_curve as simultaneous_curve
from lens_steer.figures.many_bars import combined_bars as combined_bars
from lens_steer.figures.many_bars import individual_bars as individual_bars
from lens_steer.figures.optimiser import pareto_front as pareto_front
from lens_steer.figures.skills import kept_bars as kept_bars
from lens_steer.figures.skills import selectivity_curves as selectivity_curves
from lens_steer.figures.style import save_figure as save_figure
from lens_steer.figures.vectors import cosine_heatmap as cosine_heatmap
from lens_steer.figures.vectors import lens_bars as lens_bars
from lens_steer.figures.vectors import method_heatmap as method_heatmap
