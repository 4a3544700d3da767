"""Lets the modules of the campaign import those of the folders of tests beside it, whoever imports them first."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(path) for path in (TESTS, TESTS / "model", TESTS / "cli") if str(path) not in sys.path]
