"""One error tree: a class for each way of failing; and the warnings.

Every message says what was given, what was expected and what to do. All errors are `ValueError`s, so a caller may
catch one of them, all of them (`LensSteerError`), or just `ValueError`. This module knows nothing about models or
tensors.
"""


class LensSteerError(ValueError):
    """The root of every error that lens_steer raises on purpose."""


class ArgumentError(LensSteerError):
    """An argument that is no model where one is expected, or arguments in the wrong order."""


class ModelNotFoundError(LensSteerError):
    """A model name that is neither the lab, a folder, nor a model that could be fetched."""


class ModelFolderError(LensSteerError):
    """A model folder that lacks its configuration, its weights or its tokenizer, or cannot be read."""


class SiteError(LensSteerError):
    """A site that does not parse, does not exist on the model, or failed its preflight."""


class PositionError(LensSteerError):
    """A position rule that does not parse, or lacks what it needs to be resolved."""


class ContrastError(LensSteerError):
    """A contrast set that is empty, one-sided, or whose two sides are the same."""


class DataError(LensSteerError):
    """A data item or file that is malformed."""


class OptionTokenError(LensSteerError):
    """Two options that the tokenizer does not tell apart by one token, in context."""


class MethodError(LensSteerError):
    """A method that is unknown, or was given activations it cannot work on."""


class NotFiniteError(LensSteerError):
    """A number of a forward pass that is NaN or infinite: what it is, the model's dtype, and what steered the model.

    `steered` holds the interventions that acted, outermost first; the contexts that the error passes on its way out
    put themselves in front (`under`), until one of them says that it did not act (`settle`).
    """

    def __init__(self, what: str, dtype: str) -> None:
        super().__init__(what, dtype)
        self.what, self.dtype, self.steered, self._settled = what, dtype, (), False

    def under(self, interventions: tuple[object, ...]) -> None:
        """Puts interventions that acted on the pass in front of those already named."""
        if not self._settled:
            self.steered = (*map(str, interventions), *self.steered)

    def settle(self) -> None:
        """Leaves out all interventions that are named from here on: they did not act on the pass."""
        self._settled = True

    def __str__(self) -> str:
        acting = f"steered by {'; '.join(self.steered)}" if self.steered else "not steered"
        advice = ["lower the strength" if self.steered else "look for NaN or infinite weights"]
        if self.dtype == "float16":
            advice.insert(0, "load the model in float32 or bfloat16, as load_model(name, dtype=torch.float32) does")
        if self.dtype == "float64":
            advice.insert(
                0, "load it in float32, or give batch_size=1: few architectures mask padding right in float64"
            )
        return f"{self.what}. The model runs in {self.dtype} and is {acting}; {', or '.join(advice)}."


class ActivationError(NotFiniteError):
    """An activation, or a gradient of one, that is NaN or infinite."""


class LogitError(NotFiniteError):
    """Logits that are NaN or infinite, or that give a number which is."""


class DirectionError(LensSteerError):
    """A direction that is NaN, infinite, zero or of the wrong shape."""


class FormatError(LensSteerError):
    """A file that is truncated, foreign, or written by a newer version."""


class StorageError(LensSteerError):
    """A result that cannot be named by everything that it depends on, and is therefore not stored."""


class MismatchError(LensSteerError):
    """A vector of another model, or two vectors that do not belong together."""


class SettingsError(LensSteerError):
    """Settings of a run that are unknown, of another type, or not those with which its folder was begun."""


class BudgetError(LensSteerError):
    """A budget that is no time, or too little for the least plan."""


class BusyError(LensSteerError):
    """A folder of results in which another run is at work."""


class WorkerError(LensSteerError):
    """Workers that were lost in the middle of their work, or work that could not be sent to them."""


class ScoreError(LensSteerError):
    """Scores, strengths or items that a metric or a sweep cannot work on."""


class SteeringError(LensSteerError):
    """An intervention that would have gone by without steering anything."""


class AttributionError(LensSteerError):
    """A model, or a run of it, that is not the sum which an attribution takes apart."""


class SteeringWarning(UserWarning):
    """Something that leaves the model unsteered without being a certain mistake."""


class CacheWarning(UserWarning):
    """Stored work that could not be used, and is computed again."""


class CheckpointWarning(UserWarning):
    """A checkpoint has weights that its model does not use."""


class BatchWarning(UserWarning):
    """A batch for which memory did not suffice, and which was run in halves."""


class SharedPrefixWarning(UserWarning):
    """A model on which the common prefix of a pair cannot be forwarded once, so that both sides are forwarded whole."""
