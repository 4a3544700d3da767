"""What a notebook has set in torch for everybody, and how code that depends on it is kept apart.

The package's own code says dtype and device of every tensor that it makes. `initial_torch` is for the code of other
libraries, which does not; `gradients_on` for what needs gradients.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def initial_torch() -> Iterator[None]:
    """Torch as in a new process: default dtype float32, default device CPU, no autocast, no inference mode.

    Returns:
        A context manager; when it ends, every setting is what it was.
    """
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), torch.device("cpu"), ExitStack() as stack:
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients can be taken inside, under `torch.no_grad()` and `torch.inference_mode()` too."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
