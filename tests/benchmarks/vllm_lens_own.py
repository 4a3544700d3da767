"""Vectors compiled for vllm-lens and added by vllm-lens' own code, beside `steer`; on the lab, without vLLM.

    pip download --no-deps vllm-lens==1.3.0; python tests/benchmarks/vllm_lens_own.py vllm_lens-1.3.0-py3-none-any.whl

Of its worker only the functions that add are run, as they stand in the wheel: the module itself imports vLLM. The plain
model is forwarded in two cached passes, a prompt and what follows it. Every position rule is compared with vectors as
they are made, and with what its HTTP client sends.

It prints a table and, last, one line of JSON: the largest difference of logits, which is to be below 1e-4.
"""

import argparse
import ast
import json
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lens_steer import load_model
from lens_steer.hooks import vllm_lens_vectors

sys.path.append(str(Path(__file__).parents[1] / "hooks"))

plain_model: Any = import_module("test_remote_workers")
RULES = ("all", "content", "prompt", "after_prompt", "last_prompt | generated", "2,6")
FUNCTIONS = ("_apply_steering", "norm_match")
ALLOWED = 1e-4


def code_of(folder: Path) -> tuple[type, Callable[..., None]]:
    """The class of vectors and the function that adds them, of the unpacked wheel."""
    package: Any = types.ModuleType("vllm_lens")
    package.__path__ = [str(folder / "vllm_lens")]
    sys.modules["vllm_lens"] = package
    vector = import_module("vllm_lens._helpers.types").SteeringVector
    whole = ast.parse((folder / "vllm_lens" / "_worker_ext.py").read_text(encoding="utf-8"))
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    wanted = [node for node in whole.body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS]
    names: dict[str, Any] = {"torch": torch, "SteeringVector": vector}
    exec(compile(ast.fix_missing_locations(ast.Module([future, *wanted], [])), "_worker_ext.py", "exec"), names)
    return vector, names["_apply_steering"]


def main() -> None:
    """Compares every rule and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    given, found = parser.parse_args(), {}
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(given.wheel).extractall(folder)
        vector, add = code_of(Path(folder))
    lab = load_model("lab")
    print(f"{'positions':<24}{'difference':>12}{'effect':>10}")
    for rule in RULES:
        edits = [
            plain_model.edit("resid_post@3", positions=rule),
            plain_model.edit("resid_pre@6", 1.5, 1, positions=rule),
        ]
        ours, plain = plain_model.steered(lab, edits)
        made = [
            vector(**fields)
            for fields in vllm_lens_vectors(lab, edits, plain_model.ROW[: plain_model.PROMPT], new_tokens=3)
        ]
        sent = [vector.model_validate(one.model_dump(mode="json")) for one in made]  # type: ignore[attr-defined]
        for vectors in (made, sent):

            def write(layer: int, vectors: list[Any] = vectors) -> Callable[[Tensor, int], Tensor]:
                def run(h: Tensor, begun: int) -> Tensor:
                    h = h.clone()
                    add(vectors, layer, h[0], 0, h.shape[1], begun, h[0])
                    return h

                return run

            writes = {f"layers.{layer}": write(layer) for layer in range(lab.cfg.n_layers)}
            theirs = plain_model.rewritten(writes, plain_model.PROMPT)
            found[rule] = max(float((theirs - ours).abs().max()), found.get(rule, 0.0))
        print(f"{rule:<24}{found[rule]:>12.1e}{float((ours - plain).abs().max()):>10.2f}")
    print(json.dumps({"largest difference": max(found.values())}))
    sys.exit(max(found.values()) > ALLOWED)


if __name__ == "__main__":
    main()
