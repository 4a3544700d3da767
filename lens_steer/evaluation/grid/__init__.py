"""Many steered runs of the same sequences, exactly: what does not change between them is forwarded once."""

from lens_steer.evaluation.grid.passes import followed_tokens as followed_tokens
from lens_steer.evaluation.grid.plan import Configuration as Configuration
from lens_steer.evaluation.grid.plan import of_prompt as of_prompt
from lens_steer.evaluation.grid.pool import Pool as Pool
from lens_steer.evaluation.grid.run import GridOptions as GridOptions
from lens_steer.evaluation.grid.run import GridTable as GridTable
from lens_steer.evaluation.grid.run import GridTokens as GridTokens
from lens_steer.evaluation.grid.run import Numbers as Numbers
from lens_steer.evaluation.grid.run import run_grid as run_grid
from lens_steer.evaluation.grid.trial import why_not_reused as why_not_reused
