"""Why a model could not be loaded from the Hub, in words that say what to do."""

import difflib
from collections.abc import Iterator

from lens_steer.errors import ModelNotFoundError
from lens_steer.model.causes import first_line
from lens_steer.model.packaged import how_to_get


def hub_error(name: str, error: BaseException) -> ModelNotFoundError:
    """The error of a Hub name that could not be loaded.

    Args:
        name: the name, such as `meta-llama/Llama-3.2-1B`.
        error: what transformers, huggingface_hub or TransformerLens raised.

    Returns:
        An error that tells apart restricted access, a name that does not exist, and a Hub out of reach.
    """
    from huggingface_hub import errors

    kinds = [type(cause) for cause in _causes(error)]

    def is_a(*classes: type[BaseException]) -> bool:
        return any(issubclass(kind, classes) for kind in kinds)

    if is_a(errors.GatedRepoError):
        advice = (
            f"access to it is restricted: accept its terms at https://huggingface.co/{name}, then log in with "
            "`hf auth login`."
        )
    elif is_a(errors.RepositoryNotFoundError):
        advice = f"the Hub has no model of this name, or it is private. {_similar(name)}Check the spelling, or log in."
    else:
        advice = (
            f"{first_line(error)}. {_similar(name)}{how_to_get(name)}Check the name and the connection, download it "
            "once with a connection, give a local folder, or use 'lab', which needs no network."
        )
    return ModelNotFoundError(f"model {name!r} could not be loaded: {advice}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _similar(name: str) -> str:
    """The nearest names that TransformerLens knows."""
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    near = [known for known in difflib.get_close_matches(name, ["lab", *OFFICIAL_MODEL_NAMES], n=2) if known != name]
    return f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
