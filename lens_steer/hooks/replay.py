"""Forward passes that begin at a middle block: a saved block output is reused, and the blocks up to it are not run.

    kept_outputs    the outputs of some blocks of one forward pass
    replayed        blocks 0 ... l are not run: block l's output is the one given, and is seen at its own hook point

The rest of the pass is the model's own: embedding, masks, positions, the later blocks with all their hook points, and
the unembedding. TransformerLens 4.3's `start_at_layer` runs the earlier blocks and discards their results. Hook points
inside the blocks that are not run do not fire; that of block l's output does.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lens_steer.model import SteerableModel


@contextmanager
def kept_outputs(model: SteerableModel, layers: Collection[int]) -> Iterator[dict[int, Any]]:
    """Saves the outputs of some blocks, after every edit of them.

    Args:
        model: a loaded model.
        layers: which blocks.

    Returns:
        A context manager giving a dictionary; a forward pass puts each block's output into it: a tensor or, where the
        block gave a tuple (with attention patterns, say), one as long that holds the tensor and otherwise None. When
        the context ends nothing is left behind on the model.
    """
    outputs: dict[int, Any] = {}

    def keep(layer: int) -> Callable[..., None]:
        def run(_module: Any, _args: Any, output: Any) -> None:
            outputs[layer] = (output[0], *[None] * (len(output) - 1)) if isinstance(output, tuple) else output

        return run

    blocks, handles = model.blocks, []
    try:
        for layer in layers:
            handles.append(blocks[layer].register_forward_hook(keep(layer)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replayed(model: SteerableModel, layer: int, output: Tensor, length: int) -> Iterator[None]:
    """Replaces a block and all blocks before it by a given output, while the context is open.

    Args:
        model: a loaded model.
        layer: the last block that is not run; -1 runs all of them.
        output: what leaves it in every pass, (batch, pos, d_model).
        length: of the tuples that this architecture's blocks give, None behind the output; 0 where they give a tensor.

    Returns:
        A context manager; when it ends, for whatever reason, all blocks are run again.
    """

    def silent(number: int) -> Callable[..., Any]:
        def _run(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
            shown = blocks[layer].hook_out(output) if number == layer else hidden_states
            return (shown, *[None] * (length - 1)) if length else shown

        return _run

    blocks, silenced = model.blocks, []
    try:
        for number in range(layer + 1):
            silenced.append(vars(blocks[number]))  # not setattr: a bridge hands new attributes on to what it wraps
            silenced[-1]["forward"] = silent(number)
        yield
    finally:
        for attributes in silenced:
            attributes.pop("forward", None)
