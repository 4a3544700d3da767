"""Every model with every rule, of which the default run has each rule once and each model at least once."""

from collections.abc import Sequence
from typing import Any

import pytest


def crossed(models: Sequence[str], rules: Sequence[str]) -> list[Any]:
    """Parameters (model, rule), slow but for a diagonal."""
    return [
        pytest.param(model, rule, marks=() if i == j % len(models) else (pytest.mark.slow,))
        for i, model in enumerate(models)
        for j, rule in enumerate(rules)
    ]
