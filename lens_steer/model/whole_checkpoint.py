"""A checkpoint gives every weight of its model: transformers draws those that are missing at random, and only logs it.

Weights that are tied to others, or that an architecture computes by itself, are not missing from a checkpoint. Weights
that the model has no place for are left out with a warning, but for those that its architecture is known to leave out.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lens_steer.errors import CheckpointWarning, ModelFolderError
from lens_steer.model.causes import first_line


@contextmanager
def whole_checkpoint(name: str) -> Iterator[None]:
    """Refuses what transformers loads inside from a checkpoint that lacks weights, or has them in other shapes.

    Args:
        name: what is loaded, for the error.

    Returns:
        A context manager.

    Raises:
        ModelFolderError: weights are missing or of other shapes; the first of them are named.

    Warns:
        CheckpointWarning: there are weights that the model has no place for.
    """
    from transformers import PreTrainedModel

    own = PreTrainedModel.__dict__["from_pretrained"]

    def _whole(cls: type, *args: Any, output_loading_info: bool = False, **settings: Any) -> Any:
        settings["ignore_mismatched_sizes"] = True  # they are reported, and refused here with their shapes
        model, report = own.__get__(None, cls)(*args, **settings, output_loading_info=True)
        _check(name, report)
        return (model, report) if output_loading_info else model

    setattr(PreTrainedModel, "from_pretrained", classmethod(_whole))  # noqa: B010
    try:
        yield
    finally:
        setattr(PreTrainedModel, "from_pretrained", own)  # noqa: B010


def _check(name: str, report: Mapping[str, Any]) -> None:
    """Refuses or tells what transformers reports of a checkpoint that it has loaded."""
    wrong = [
        f"{weight}: {tuple(there)}, expected {tuple(expected)}"
        for weight, there, expected in sorted(report["mismatched_keys"])
    ]
    again = "fetch its files again, or save it again with save_pretrained"
    if wrong:
        raise ModelFolderError(
            f"the checkpoint of {name!r} has weights whose shapes do not fit its config.json, {len(wrong)} in all "
            f"({_first(wrong, '; ')}); {again}."
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelFolderError(
            f"the checkpoint of {name!r} lacks {len(missing)} of its model's weights ({_first(missing)}), which would "
            f"be drawn at random; {again}."
        )
    if unused := sorted(report["unexpected_keys"]):
        warnings.warn(
            f"the checkpoint of {name!r} has {len(unused)} weights that its model has no place for and leaves out "
            f"({_first(unused)}); if they belong to the model, its config.json is not that of these weights.",
            CheckpointWarning,
            stacklevel=2,
        )


def _first(names: Sequence[str], separator: str = ", ") -> str:
    """The first three of some names."""
    return separator.join([*names[:3], *(["..."] if len(names) > 3 else [])])


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
