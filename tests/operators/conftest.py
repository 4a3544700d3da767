"""Property tests draw the same examples on every machine and every day, and take the time they need."""

from collections.abc import Callable

import jaxtyping
import pytest
from hypothesis import settings

settings.register_profile("operators", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("operators")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switches off the shape checks that only tests have, so that what a user meets is tested."""
    return lambda: monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
