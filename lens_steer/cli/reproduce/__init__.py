"""From a model's name to a folder of figures: what `lens-steer reproduce` runs."""

from lens_steer.cli.reproduce.run import reproduce as reproduce
