"""The other side of `generation.py`: steered generation by steering-vectors or repeng, in their own environment.

It is started with the checkpoint's folder and a file of token rows of one length, a direction, its layer and how many
tokens to write, and answers each line of standard input, the name of a peer, with one line of JSON: the seconds by the
clock and of the processor, and the tokens written. It imports nothing of lens_steer.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def steering_vectors(model: Any, direction: Any, layer: int) -> Iterator[Any]:
    """`SteeringVector.apply`, which adds at every token."""
    from steering_vectors import SteeringVector  # pyright: ignore[reportMissingImports]

    with SteeringVector({layer: direction}, "decoder_block").apply(model):
        yield model


@contextlib.contextmanager
def repeng(model: Any, direction: Any, layer: int) -> Iterator[Any]:
    """`ControlModel` around the model, and unwrapped again."""
    from repeng import ControlModel, ControlVector  # pyright: ignore[reportMissingImports]

    wrapped = ControlModel(model, [layer])
    try:
        wrapped.set_control(ControlVector(model.config.model_type, {layer: direction.numpy()}), 1.0)
        yield wrapped
    finally:
        wrapped.unwrap()


STEERED: dict[str, Callable[..., Any]] = {"steering-vectors": steering_vectors, "repeng": repeng}


def main(folder: Path, given: Path) -> None:
    """Answers requests until standard input ends."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    content = json.loads(given.read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    tokens, direction, new = torch.tensor(content["rows"]), torch.tensor(content["direction"]), content["new_tokens"]
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            wall, cpu = time.perf_counter(), time.process_time()
            with STEERED[line.strip()](model, direction, content["layer"]) as steered:
                out = steered.generate(
                    tokens,
                    attention_mask=torch.ones_like(tokens),
                    max_new_tokens=new,
                    min_new_tokens=new,
                    do_sample=False,
                    pad_token_id=2,
                )
            seconds = [time.perf_counter() - wall, time.process_time() - cpu]
        written = out[:, tokens.shape[1] :].tolist()
        sys.stdout.write(json.dumps({"seconds": seconds, "tokens": written}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
