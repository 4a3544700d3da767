"""Passes of a grid on other processes and machines: any `concurrent.futures.Executor`, and how a worker gets its model.

    shards      passes of one batch, up to `passes` together; each shard asks its batch unsteered again
    worker      loads the model once, keeps it while it is the one that is wanted, and works on one shard at a time
    refused     a worker whose model, library versions, device type or settings of the forward pass are not the caller's

Only numbers come back; the caller writes them. Workers run the passes that a single process would run, so that the
numbers are the same to the last bit where the hardware and the number of threads are.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from dataclasses import dataclass
from typing import TypeVar

from lens_steer.errors import ArgumentError, LensSteerError, MismatchError, WorkerError
from lens_steer.model import Fingerprint, SteerableModel, fingerprint, held, versions
from lens_steer.model.causes import first_line
from lens_steer.model.content import digest
from lens_steer.model.settings import forward_settings, named_weights

T = TypeVar("T")
R = TypeVar("R")
_TURN = threading.Lock()
_KEPT: list[SteerableModel] = []
"""The model of a worker; none before its first shard."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Workers, and how each loads the model.

    `executor`: any executor of `concurrent.futures`, with as many workers as wanted; the caller closes it. `load`: what
    gives the model on a worker, such as `functools.partial(load_model, "smollm2")`; it is sent to the workers.
    `passes`: the most passes in one shard, which is what is lost with a worker.

    Raises:
        ArgumentError: no executor of `concurrent.futures`, nothing that loads, or no pass.
    """

    executor: Executor
    load: Callable[[], SteerableModel]
    passes: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.executor, Executor) or not callable(self.load) or self.passes < 1:
            raise ArgumentError(
                f"a pool of {type(self.executor).__name__}, load {type(self.load).__name__}, {self.passes} passes; "
                "give an executor of concurrent.futures, such as ProcessPoolExecutor or Dask's client.get_executor(), "
                "a function that loads the model, and at least one pass."
            )

    def run(self, model: SteerableModel, work: Callable[[SteerableModel, T], R], shards: Sequence[T]) -> Iterator[R]:
        """Has the workers do some work on each shard.

        Args:
            model: the caller's model, which the workers' must equal.
            work: a function of a module, of a worker's model and a shard; what it gives is sent back.
            shards: what to work on.

        Returns:
            What each shard gave, in the order in which they are done.

        Raises:
            MismatchError: a worker has another model, other versions, another type of device or other settings.
            WorkerError: a worker was lost, or could not do its shard; what the others did has been given before.
            LensSteerError: what the work itself raised.
            StorageError: a setting of the model cannot be told by its content.
        """
        futures: list[Future[R]] = []
        error: BaseException | None = None
        done, wanted = 0, _Running.of(model)
        try:
            try:
                for shard in shards:
                    futures.append(self.executor.submit(_work, self.load, wanted, work, shard))
            except RuntimeError as failure:  # an executor that is broken or closed
                error = failure
            for future in as_completed(futures):
                failure = CancelledError() if future.cancelled() else future.exception()
                if failure is None:
                    done += 1
                    yield future.result()
                elif error is None:
                    error = failure
                    _cancel(futures)
        finally:
            _cancel(futures)
        if isinstance(error, LensSteerError):
            raise error
        if error is not None:
            raise WorkerError(
                f"{done} of {len(shards)} shards were done when the workers failed: {type(error).__name__}: "
                f"{first_line(error)}. With a checkpoint folder these are kept: make a new executor and call again; "
                "what cannot be sent to a worker must be of a module that it can import."
            ) from error


@dataclass(frozen=True, kw_only=True)
class _Running:
    """What numbers depend on, beside what is asked: what a checkpoint is named by."""

    model: Fingerprint
    versions: dict[str, str]
    devices: tuple[str, ...]
    settings: str

    @classmethod
    def of(cls, model: SteerableModel) -> "_Running":
        """Of a model in this process."""
        return cls(
            model=fingerprint(model),
            versions=versions(),
            devices=tuple(sorted({tensor.device.type for _, tensor in named_weights(model)})),
            settings=digest(forward_settings(model)),
        )

    def differences(self, model: SteerableModel) -> list[str]:
        """What is other in this process; nothing where numbers are the same."""
        here = _Running.of(model)
        pairs = [(name, here.versions.get(name), version) for name, version in self.versions.items()]
        fields = self.model.differences(here.model)
        pairs += [(name, getattr(here.model, name), getattr(self.model, name)) for name in fields]
        pairs += [("device", ", ".join(here.devices), ", ".join(self.devices))]
        found = [f"{name} {str(own)[:12]} (wanted {str(wanted)[:12]})" for name, own, wanted in pairs if own != wanted]
        if not found and here.settings != self.settings:
            found.append("settings of the forward pass (mode, attention, attributes of modules, torch's precision)")
        return found


def _work(load: Callable[[], SteerableModel], wanted: _Running, work: Callable[[SteerableModel, T], R], shard: T) -> R:
    """Does one shard in a worker; threads of a process take turns, since hooks of a model belong to one."""
    with _TURN:
        model = _model(load, wanted)
        with held(model):
            return work(model, shard)


def _model(load: Callable[[], SteerableModel], wanted: _Running) -> SteerableModel:
    """The model that the worker has; where that is not the wanted one, what `load` gives."""
    if not _KEPT or wanted.differences(_KEPT[0]):
        _KEPT.clear()
        model = load()
        if found := wanted.differences(model):
            raise MismatchError(
                f"a worker would give other numbers; it has another {'; '.join(found)}. Install the same versions "
                "everywhere, and let `load` give the model that the call is given."
            )
        _KEPT.append(model)
    return _KEPT[0]


def _cancel(futures: Sequence[Future[R]]) -> None:
    """Takes back what has not begun."""
    for future in futures:
        future.cancel()
