"""The model that a command names, loaded once its data have been read."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from lens_steer.evaluation.grid import Pool
from lens_steer.model import SteerableModel, load_model


@dataclass(frozen=True)
class ModelSource:
    """A model and where it goes, as `load_model` takes them; an empty `device_map` is none."""

    name: str = "lab"
    device: str = "cpu"
    dtype: str = "float32"
    device_map: str = ""
    prepend_bos: bool | None = None

    def load(self) -> SteerableModel:
        """Loads the model."""
        return load_model(
            self.name,
            device=self.device,
            dtype=self.dtype,
            device_map=self.device_map or None,
            prepend_bos=self.prepend_bos,
        )

    @contextmanager
    def workers(self, n: int) -> Iterator[Pool | None]:
        """So many processes, each with the model and its share of torch's threads; none where 0."""
        if not n:
            yield None
            return
        threads = max(torch.get_num_threads() // n, 1)
        with ProcessPoolExecutor(n, get_context("spawn"), torch.set_num_threads, (threads,)) as executor:
            yield Pool(executor=executor, load=self.load)
