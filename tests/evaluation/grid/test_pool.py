"""Sweeps on many workers: the bytes of the serial run, whoever is killed; other workers are refused."""

import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import torch
import worker_models

from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import ArgumentError, MismatchError, WorkerError
from lens_steer.evaluation.grid import GridOptions, Pool
from lens_steer.evaluation.likelihood import text_likelihoods
from lens_steer.evaluation.score import ScoringOptions
from lens_steer.evaluation.side_effects import side_effect_grid
from lens_steer.evaluation.sweep import sweep
from lens_steer.hooks import Intervention
from lens_steer.model import load_model
from lens_steer.vector import SteeringVector

Run = Callable[..., dict[str, bytes]]
SHARDS = 27
"""Three batches of 4 prompts, 9 configurations of one pass each."""


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    """Two processes of this machine."""
    with processes() as executor:
        yield executor


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """A client of two worker processes of Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def _(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of this process begin without a model."""
    monkeypatch.setattr("lens_steer.evaluation.grid.pool._KEPT", [])


@pytest.fixture
def swept(llama: Any, vector: SteeringVector, items: Sequence[ChoiceItem], tmp_path: Path) -> Run:
    """Runs one sweep; what it leaves, byte by byte: the result and the checkpoint."""

    def run(name: str, pool: Pool | None = None, scoring: Any = "letter") -> dict[str, bytes]:
        folder = tmp_path / name
        options = ScoringOptions(batch_size=4, checkpoint=folder, pool=pool, scoring=scoring)
        found = sweep(llama, vector, items, "resid_post@*", [-1, 1, 2], options=options)
        found.save(tmp_path / f"{name}.csv")
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        return {**files, "result": (tmp_path / f"{name}.csv").read_bytes()}

    return run


def pids(log: Path) -> list[str]:
    return log.read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "dask"])
def test_workers_leave_the_bytes_of_the_serial_run_and_load_the_model_once_each(
    kind: str, swept: Run, llama_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(kind)
    executor = found.get_executor(pure=False) if kind == "dask" else found
    pool = Pool(executor=executor, load=partial(worker_models.noted, llama_folder, tmp_path / "log"), passes=1)
    for scoring in ("letter", "option_sum"):
        assert swept(f"pooled {scoring}", pool, scoring) == swept(f"serial {scoring}", None, scoring)
    assert len(pids(tmp_path / "log")) == len(set(pids(tmp_path / "log"))) <= 2


@pytest.mark.slow
def test_a_killed_worker_is_taken_over(swept: Run, llama_folder: Path, tmp_path: Path, dask: Any) -> None:
    dask.restart()  # workers without a model
    load = partial(worker_models.doomed, llama_folder, tmp_path / "log", tmp_path / "mark")
    found = swept("pooled", Pool(executor=dask.get_executor(pure=False), load=load, passes=1))
    assert (tmp_path / "mark").exists() and found == swept("serial")


@pytest.mark.slow
def test_a_pool_that_dies_is_said_and_a_second_run_goes_on_from_what_was_done(
    swept: Run, llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = partial(worker_models.doomed, llama_folder, tmp_path / "log", tmp_path / "mark")
    said = rf"\d+ of {SHARDS} shards were done when the workers failed: BrokenProcessPool: .* make a new executor"
    with processes() as executor, pytest.raises(WorkerError, match=said):
        swept("pooled", Pool(executor=executor, load=load, passes=1))
    (file,) = (tmp_path / "pooled").iterdir()
    done, asked, run = file.read_bytes().splitlines(), [], Pool.run

    def spy(self: Pool, model: Any, work: Any, shards: Any) -> Any:
        asked.append(len(shards))
        return run(self, model, work, shards)

    monkeypatch.setattr(Pool, "run", spy)
    with processes() as executor:
        found = swept("pooled", Pool(executor=executor, load=load, passes=1))
    assert found == swept("serial") and set(done) < set(found[file.name].splitlines())
    assert 0 < asked[0] < SHARDS and len(done) > 1


@pytest.mark.slow
def test_a_cluster_that_dies_is_said(swept: Run, llama_folder: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    client = distributed.Client(cluster)

    def end() -> None:
        while not (tmp_path / "pooled").exists():
            time.sleep(0.1)
        cluster.close()

    thread = threading.Thread(target=end)
    thread.start()
    load = partial(worker_models.slow, llama_folder)
    with pytest.raises(WorkerError, match=rf"\d+ of {SHARDS} shards were done when the workers failed: CancelledError"):
        swept("pooled", Pool(executor=client.get_executor(pure=False), load=load, passes=1))
    thread.join()
    client.close()
    assert list((tmp_path / "pooled").iterdir())


@pytest.mark.slow
def test_a_worker_of_another_model_is_refused(swept: Run, llama_folder: Path, other_llama: Any) -> None:
    said = r"a worker would give other numbers; it has another weight_hash \w{12} \(wanted \w{12}\); content_hash"
    other = Path(str(other_llama.original_model.config.name_or_path))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        with pytest.raises(MismatchError, match=said):
            swept("refused", Pool(executor=executor, load=partial(load_model, other)))
        assert swept("pooled", Pool(executor=executor, load=partial(load_model, llama_folder))) == swept("serial")


@pytest.mark.parametrize("kind", ["versions", "device", "settings"])
def test_a_worker_of_another_version_or_setting_is_refused(
    kind: str, swept: Run, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        model = load_model(llama_folder)
        if kind == "versions":
            monkeypatch.setattr("lens_steer.evaluation.grid.pool.versions", lambda: {"torch": "1.0"})
        elif kind == "device":
            meta = torch.zeros(1, device="meta")
            monkeypatch.setattr("lens_steer.evaluation.grid.pool.named_weights", lambda _: [("w", meta)])
        else:
            model.original_model.train()
        return model

    said = {"versions": r"torch 1.0 \(wanted ", "device": r"device meta \(wanted cpu\)", "settings": "settings of the"}
    with ThreadPoolExecutor(1) as executor, pytest.raises(MismatchError, match=f"it has another .*{said[kind]}"):
        swept("pooled", Pool(executor=executor, load=load))


def test_threads_take_turns_on_one_model(swept: Run, llama_folder: Path, tmp_path: Path) -> None:
    load = partial(worker_models.noted, llama_folder, tmp_path / "log")
    with ThreadPoolExecutor(4) as executor:
        assert swept("pooled", Pool(executor=executor, load=load, passes=2)) == swept("serial")
    assert len(pids(tmp_path / "log")) == 1


@pytest.mark.slow
def test_side_effects_and_likelihoods_of_a_grid_are_those_of_one_process(
    llama: Any, vector: SteeringVector, texts: list[str], llama_folder: Path, local: Executor
) -> None:
    edits = [[Intervention.of(vector, f"resid_post@{layer}", strength)] for layer in (0, 1) for strength in (-1.0, 1.0)]
    pool = Pool(executor=local, load=partial(load_model, llama_folder), passes=1)
    pooled, serial = GridOptions(batch_size=4, pool=pool), GridOptions(batch_size=4)
    for one, other in zip(
        side_effect_grid(llama, texts, edits, pooled), side_effect_grid(llama, texts, edits, serial), strict=True
    ):
        pd.testing.assert_frame_equal(one.to_frame(), other.to_frame(), check_exact=True)
    found = text_likelihoods(llama, texts, edits, pooled).steered
    assert torch.equal(found, text_likelihoods(llama, texts, edits, serial).steered)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interventions_are_sent_without_sharing_memory(dtype: torch.dtype) -> None:
    direction = torch.arange(4.0).to(dtype)
    sent = ForkingPickler.dumps(Intervention.at("resid_post@1", direction, 2.0, positions="last_prompt"))
    back = pickle.loads(sent)
    assert torch.equal(back.direction, direction) and back.direction.dtype == dtype and not direction.is_shared()
    assert str(back) == "'direction' at resid_post@1 x 2, positions last_prompt"
    ForkingPickler.dumps(direction)
    assert direction.is_shared(), "as a tensor by itself is"


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_the_scripts_of_the_manual_run(number: int, tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "many_machines.md"
    script = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)[number]
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("SweepResult(vector='myopic'"), ran.stderr


def test_a_pool_of_something_else_is_refused(local: Executor, unchecked: Callable[[], None]) -> None:
    unchecked()
    for executor, load, passes in ((object(), load_model, 1), (local, None, 1), (local, load_model, 0)):
        with pytest.raises(
            ArgumentError, match=r"a pool of \w+, load \w+, [01] passes; give an executor of concurrent"
        ):
            Pool(executor=cast(Any, executor), load=cast(Any, load), passes=passes)


def test_what_cannot_be_sent_and_an_executor_that_is_closed_are_said(
    swept: Run, llama_folder: Path, local: Executor
) -> None:
    with pytest.raises(WorkerError, match=r"0 of 3 shards .*pickle.* must be of a module that it can import"):
        swept("pooled", Pool(executor=local, load=lambda: load_model(llama_folder)))
    with ThreadPoolExecutor(1) as executor:
        pass
    with pytest.raises(WorkerError, match=r"0 of 3 shards .*RuntimeError: cannot schedule new futures after shutdown"):
        swept("pooled", Pool(executor=executor, load=partial(load_model, llama_folder)))
