"""Where the embedded model lies. It knows nothing of what is in the folder."""

from pathlib import Path

LAB_FOLDER = Path(__file__).parent.parent / "lab" / "weights"
