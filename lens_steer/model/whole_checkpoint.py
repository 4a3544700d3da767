"""A checkpoint gives every weight of its model: transformers draws those that are missing at random, and only warns.

Weights that are tied to others, or that an architecture computes by itself, are not missing from a checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lens_steer.errors import ModelFolderError
from lens_steer.model.causes import first_line


@contextmanager
def whole_checkpoint(name: str) -> Iterator[None]:
    """Refuses what transformers loads inside from a checkpoint that lacks weights of its model.

    Args:
        name: what is loaded, for the error.

    Returns:
        A context manager.

    Raises:
        ModelFolderError: weights are missing; the first of them are named.
    """
    from transformers import PreTrainedModel

    own = PreTrainedModel.__dict__["from_pretrained"]

    def _whole(cls: type, *args: Any, output_loading_info: bool = False, **settings: Any) -> Any:
        model, report = own.__get__(None, cls)(*args, **settings, output_loading_info=True)
        if missing := sorted(report["missing_keys"]):
            raise ModelFolderError(
                f"the checkpoint of {name!r} lacks {len(missing)} of its model's weights ({', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}), which would be drawn at random; fetch its files again, or "
                "save it again with save_pretrained."
            )
        return (model, report) if output_loading_info else model

    setattr(PreTrainedModel, "from_pretrained", classmethod(_whole))  # noqa: B010
    try:
        yield
    finally:
        setattr(PreTrainedModel, "from_pretrained", own)  # noqa: B010


def unreadable_weights(folder: Path, error: BaseException) -> str:
    """What went wrong with a folder, with the name of the safetensors file that is broken, where one is."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as cause:
            return f"{file.name}, of {file.stat().st_size} bytes, is broken or cut off ({first_line(cause)})"
    return first_line(error)
