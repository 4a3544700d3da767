"""What lens_steer asks of a model, structurally; nothing here imports a model library."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SteerableModel(Protocol):
    """What lens_steer asks of a model; `transformer_lens.model_bridge.TransformerBridge` has it."""

    cfg: Any

    @property
    def original_model(self) -> Any:
        """The wrapped Hugging Face module."""
        ...

    def hooks(self, fwd_hooks: list[Any]) -> Any:
        """A context manager that installs forward hooks by name."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One forward pass."""
        ...
