"""What lens_steer needs of a model: a structural type, which is TransformerLens' own bridge to a type checker.

Nothing of TransformerLens is imported at run time.
"""

from typing import TYPE_CHECKING

from lens_steer.errors import ArgumentError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge as SteerableModel
else:

    class _Structural(type):
        """The class of `SteerableModel`: an instance of it is whatever has its `NAMES`, and can be called.

        A runtime protocol will not do: from Python 3.12 on it does not see what an object gives through `__getattr__`,
        as a bridge does its blocks.
        """

        def __instancecheck__(cls, instance: object) -> bool:
            return callable(instance) and all(hasattr(instance, name) for name in cls.NAMES)

    class SteerableModel(metaclass=_Structural):
        """What lens_steer needs of a model; `transformer_lens.model_bridge.TransformerBridge` has it.

        `original_model` is the wrapped Hugging Face module; `hook_dict` and `hook_points` are the places that `hooks`
        installs forward hooks at, by name, while its context is open; `tokenizer` may be None; a call is one forward
        pass.
        """

        NAMES = (
            "cfg",
            "tokenizer",
            "blocks",
            "hook_dict",
            "compatibility_mode",
            "original_model",
            "hook_points",
            "hooks",
        )


def require_model(model: object, call: str, *others: object) -> None:
    """Refuses what is not a loaded model, where one is expected.

    Args:
        model: what was given as the model.
        call: how the call is written, such as `"extract(model, positives, negatives)"`.
        others: the other arguments; a model among them means that the order is wrong.

    Raises:
        ArgumentError: it is not a model.
    """
    if isinstance(model, SteerableModel):
        return
    if any(isinstance(other, SteerableModel) for other in others):
        advice = "the arguments are swapped; the model comes first"
    elif isinstance(model, str):
        advice = f"load it first: model = load_model({model!r})"
    else:
        advice = "load one first: model = load_model('a folder, a Hub name or lab'), which takes a ready bridge too"
    raise ArgumentError(f"the model is of type {type(model).__name__}: {advice}. Write {call}.")
