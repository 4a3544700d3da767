"""A quantised model in one GGUF file, read as a Hugging Face model with ordinary weights.

transformers dequantises the file; the rounding of the quantisation stays. Memory for n parameters, whatever the file's
size: 4 n bytes of float32 while the file is read, up to 2.5 times as much at the peak, then n times the bytes of the
dtype (SmolLM2-135M, 0.1 GB on disk: 0.5 GB in float32).

The factors by which Llama 3.1 and later divide their rotary frequencies stand in a tensor that transformers leaves out;
they are put in here. Other scalings of the rotary frequencies are refused.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lens_steer.errors import ModelFolderError
from lens_steer.model.causes import first_line
from lens_steer.model.whole_checkpoint import whole_checkpoint

_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is read of a file before its weights: `rotary_factors` divide the rotary frequencies, where given."""

    architecture: str
    parameters: int
    rotary_factors: Tensor | None
    scaling: str


def read_gguf(path: Path, dtype: torch.dtype, device: str = "cpu") -> tuple[Any, Any]:
    """The Hugging Face model and the tokenizer of a GGUF file.

    Args:
        path: the file.
        dtype: what the weights become.
        device: where they go.

    Returns:
        A model in eval mode without a quantisation, and its tokenizer.

    Raises:
        ModelFolderError: the package `gguf` is missing, the file is truncated or none of this format, transformers
            does not know its architecture, its rotary frequencies are scaled in another way than Llama's, or its
            weights do not fit into memory.
    """
    header = _header(path)
    _check_memory(path, header.parameters)
    if header.scaling:
        raise ModelFolderError(
            f"GGUF file {str(path)!r} scales its rotary frequencies ({header.scaling}), which transformers does not "
            "read from GGUF, so that its logits would be wrong; give the model as a folder in Hugging Face format."
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with whole_checkpoint(str(path)):
            model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except ModelFolderError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"GGUF file {str(path)!r} of the architecture {header.architecture!r} could not be read: "
            f"{first_line(error)}; give the model as a folder in Hugging Face format."
        ) from error
    model.config._name_or_path = tokenizer.name_or_path = str(path)
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    if header.rotary_factors is not None:
        rotary = model.model.rotary_emb
        rotary.inv_freq /= header.rotary_factors
        rotary.original_inv_freq = rotary.inv_freq.clone()
    return model.to(device).eval(), tokenizer


def _header(path: Path) -> _Header:
    """What a file says of itself."""
    try:
        import gguf
    except ImportError as error:
        raise ModelFolderError("a GGUF file needs the package gguf: pip install 'lens-steer[gguf]'.") from error
    try:
        reader = gguf.GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        field = reader.get_field("general.architecture")
        architecture = str(field.contents()) if field else ""
        scaling = reader.get_field(f"{architecture}.rope.scaling.type")
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ModelFolderError(
            f"{str(path)!r} is no whole GGUF file ({str(error).strip()[:80]}; {path.stat().st_size} bytes); it may "
            "have been cut off: fetch it again, or give a folder in Hugging Face format."
        ) from error
    scaled = str(scaling.contents()) if scaling and architecture != "gpt-oss" else "none"
    if any(name.startswith("rope_factors") for name in tensors):
        scaled = "longrope"
    factors = torch.from_numpy(tensors[_FACTORS].data.copy()).float() if _FACTORS in tensors else None
    return _Header(
        architecture=architecture,
        parameters=sum(prod(map(int, tensor.shape)) for tensor in tensors.values()),
        rotary_factors=factors,
        scaling="" if scaled == "none" else scaled,
    )


def _check_memory(path: Path, parameters: int) -> None:
    """Refuses a file whose dequantised weights are larger than the machine's memory."""
    if not hasattr(os, "sysconf"):
        return
    needed, there = 4 * parameters / 1e9, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    if needed > there:
        raise ModelFolderError(
            f"GGUF file {str(path)!r} has {parameters / 1e9:.2f} billion parameters: {needed:.1f} GB once dequantised, "
            f"and this machine has {there:.1f} GB; take a smaller model, or a folder in Hugging Face format and "
            "dtype='bfloat16'."
        )
