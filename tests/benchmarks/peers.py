"""The other side of `extraction.py`: runs steering-vectors or repeng in their own environment, on request.

It is started with the checkpoint's folder and the file of pairs, and answers each line of standard input, `name
batch_size`, with one line of JSON: the seconds taken (by the clock, of the processor) and the vectors by layer. It
imports nothing of lens_steer.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def steering_vectors(model: Any, tokenizer: Any, pairs: list[list[str]], batch_size: int) -> dict[int, Any]:
    """`train_steering_vector` of all layers, by its default aggregator, the mean difference."""
    from steering_vectors import train_steering_vector  # pyright: ignore[reportMissingImports]

    samples = [(positive, negative) for positive, negative in pairs]
    return train_steering_vector(model, tokenizer, samples, batch_size=batch_size).layer_activations


def repeng(model: Any, tokenizer: Any, pairs: list[list[str]], batch_size: int) -> dict[int, Any]:
    """`ControlVector.train`, by its default method; its default layers leave out the first."""
    from repeng import ControlVector, DatasetEntry  # pyright: ignore[reportMissingImports]

    entries = [DatasetEntry(positive=positive, negative=negative) for positive, negative in pairs]
    return ControlVector.train(model, tokenizer, entries, batch_size=batch_size).directions


def main(folder: Path, pairs: Path) -> None:
    """Answers requests until standard input ends."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    texts = json.loads(pairs.read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {name: said[name] for name in ("bos_token", "eos_token", "pad_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    for line in sys.stdin:
        name, batch_size = line.split()
        train = {"steering-vectors": steering_vectors, "repeng": repeng}[name]
        with contextlib.redirect_stdout(sys.stderr):
            wall, cpu = time.perf_counter(), time.process_time()
            vectors = train(model, tokenizer, texts, int(batch_size))
            seconds = [time.perf_counter() - wall, time.process_time() - cpu]
        found = {int(layer): torch.as_tensor(vector).tolist() for layer, vector in vectors.items()}
        sys.stdout.write(json.dumps({"seconds": seconds, "vectors": found}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
