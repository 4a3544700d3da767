"""CircuitsVis views for notebooks and reports, drawn from results without a model or network access."""

from lens_steer.figures.views.attention import attention_view as attention_view
from lens_steer.figures.views.tokens import audit_view as audit_view
from lens_steer.figures.views.tokens import lens_view as lens_view
from lens_steer.figures.views.tokens import projection_view as projection_view
from lens_steer.figures.views.view import View as View
