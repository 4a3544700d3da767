"""Numbers do not depend on settings that a notebook has made for everybody, and the settings are left as they were.

Each call of `CALLS` is made plainly and under each setting of `SETTINGS`; both give the same bits.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from lens_steer.analysis.attribution import attribute_directly, choice_contrast, patch_back
from lens_steer.analysis.attribution.ablation import ablate_heads
from lens_steer.analysis.attribution.reading import attribute_reading
from lens_steer.analysis.geometry.cosines import layer_map
from lens_steer.analysis.geometry.halves import half_directions
from lens_steer.analysis.geometry.profiles import norm_profile
from lens_steer.analysis.lens.readings import fit_jacobian_lens
from lens_steer.analysis.lens.residuals import residual_lens
from lens_steer.analysis.lens.vectors import read_vector, vector_lens
from lens_steer.analysis.persistence import persistence
from lens_steer.analysis.projections import projection_map
from lens_steer.analysis.quality import vector_quality
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.contrast import ContrastSet
from lens_steer.data.in_context import InContextTask
from lens_steer.errors import ArgumentError
from lens_steer.evaluation.score import ScoringOptions, score_choices
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.evaluation.sweep import sweep
from lens_steer.evaluation.sweep.first_order import first_order
from lens_steer.extraction import extract
from lens_steer.extraction.activations import contrast_activations
from lens_steer.extraction.function_vector import Demonstrations, extract_function_vector
from lens_steer.extraction.methods import METHODS
from lens_steer.extraction.optimise import Descent, extract_optimised
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding, generate_pair
from lens_steer.generation.trace import trace
from lens_steer.hooks import Intervention
from lens_steer.hooks.preflight import preflight
from lens_steer.hooks.sites import Site
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import fingerprint, load_model, next_logits, tokenize
from lens_steer.vector import SteeringVector, load_vector, random_like
from lens_steer.vector.compose import assign, gram_strengths

TEXTS = ["The cat sat on the mat.", "Which do you take?", "one dollar today and ten dollars later, the cat"]
TASK = InContextTask(
    name="later", pairs=(("cat", "ten"), ("mat", "one"), ("sat", "the"), ("day", "you"), ("two", "to"))
)


@dataclass(frozen=True)
class World:
    """What the calls work on."""

    model: Any
    folder: Path
    vector: SteeringVector
    contrast: ContrastSet
    items: tuple[ChoiceItem, ...]
    here: Path

    @property
    def push(self) -> list[Intervention]:
        return [Intervention.of(self.vector, "resid_post@1", 0.7)]


def _saved(world: World) -> Any:
    return load_vector(world.vector.save(world.here / "v.safetensors"), world.model)


def _swept(world: World) -> Any:
    options = ScoringOptions(checkpoint=world.here / "grid")
    return sweep(world.model, world.vector, world.items, "resid_post@0:2", [-1.0, 0.0, 1.0], options=options).to_frame()


def _sides(world: World) -> Mapping[Site, tuple[Tensor, Tensor]]:
    return contrast_activations(world.model, world.contrast, sites="resid_post@1")


CALLS: dict[str, Callable[[World], Any]] = {
    "load": lambda w: next_logits(load_model(w.folder), tokenize(w.model, TEXTS)),
    "load in bfloat16": lambda w: next_logits(load_model(w.folder, dtype="bfloat16"), tokenize(w.model, TEXTS)),
    "fingerprint": lambda w: fingerprint(w.model),
    "preflight": lambda w: preflight(load_model(w.folder)),
    "record": lambda w: list(record(w.model, TEXTS, "resid_post@0:2")),
    **{
        f"extract {name}": lambda w, name=name: (
            extract(w.model, w.contrast, sites="resid_post@1", method=name).directions
        )
        for name in METHODS
        if name not in ("single_pair", "balanced_mean_difference")
    },
    "extract stored": lambda w: extract(w.model, w.contrast, cache=w.here / "cache").directions,
    "function vector": lambda w: extract_function_vector(
        w.model, TASK, n_heads=2, demonstrations=Demonstrations(n_shots=3, n_prompts=4, n_corrupted=2)
    ),
    "optimise": lambda w: extract_optimised(w.model, w.contrast, "resid_post@1", Descent(steps=2)).directions,
    "vector": lambda w: (2 * w.vector.unit() + random_like(w.vector, seed=3)).directions,
    "saved vector": lambda w: _saved(w).directions,
    "several vectors": lambda w: gram_strengths(
        assign({"a": w.vector, "b": random_like(w.vector, seed=1)}, "resid_post@1"), {"a": 1.0, "b": 0.5}
    ),
    "score": lambda w: score_choices(w.model, w.items, w.push).to_frame(),
    "side effects": lambda w: measure_side_effects(w.model, TEXTS, w.push).to_frame(),
    "sweep": _swept,
    "first-order sweep": lambda w: first_order(w.model, [w.vector], w.items),
    "generate": lambda w: generate_pair(
        w.model, TEXTS, w.push, Decoding(max_new_tokens=5, temperature=1.0, seed=1), record=True
    ).to_frame(),
    "trace": lambda w: trace(w.model, TEXTS[0], w.push).to_frame(),
    "vector lens": lambda w: vector_lens(w.model, w.vector, "resid_post@1"),
    "readings": lambda w: read_vector(w.model, w.vector, "resid_post@1", n_random=2),
    "jacobian lens": lambda w: read_vector(
        w.model, w.vector, "resid_post@1", jacobian=fit_jacobian_lens(w.model, TEXTS, "texts", skip=1), n_random=2
    ),
    "residual lens": lambda w: residual_lens(w.model, TEXTS, [5], {"pushed": w.push}),
    "direct attribution": lambda w: attribute_directly(w.model, choice_contrast(w.model, w.items), w.push),
    "patching": lambda w: patch_back(w.model, choice_contrast(w.model, w.items), w.push),
    "ablation": lambda w: ablate_heads(
        w.model, choice_contrast(w.model, w.items), w.push, [Site("z", 1, 0)], controls=2
    ),
    "reading": lambda w: attribute_reading(w.model, w.vector, "resid_post@1", n_random=4),
    "persistence": lambda w: persistence(w.model, TEXTS, w.push).to_frame(),
    "projections": lambda w: projection_map(w.model, TEXTS, w.vector, "resid_post@1", w.push).to_frame(),
    "quality": lambda w: vector_quality(w.model, w.vector, w.contrast, repeats=2).to_frame(),
    "halves": lambda w: half_directions(_sides(w), METHODS["mean_difference"].function, splits=2),
    "geometry": lambda w: (layer_map(w.vector).to_frame(), norm_profile({"v": w.vector})),
    "statistics": lambda _: mean_interval(torch.tensor(range(9), dtype=torch.float32, device="cpu")),
}


def read(value: Any) -> Any:
    """A value in plain types, with every bit of its numbers."""
    if isinstance(value, Tensor):
        assert not value.requires_grad
        return [str(value.dtype), str(value.device), value.tolist()]
    if isinstance(value, pd.DataFrame):
        return [list(value.columns), [str(kind) for kind in value.dtypes], value.to_numpy().tolist()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if is_dataclass(value):
        return {field.name: read(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): read(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [read(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Other states of the global generators than those of the plain run."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(4711)
        yield


Setting = Callable[[], contextlib.AbstractContextManager[Any]]
SETTINGS: dict[str, Setting] = {
    "inference mode": torch.inference_mode,
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
}
MORE: dict[str, Setting] = {
    "no grad": torch.no_grad,
    "default device meta": lambda: torch.device("meta"),
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype float16": lambda: default_dtype(torch.float16),
    "deterministic algorithms": deterministic,
    "another seed": seeded,
    "pandas": lambda: pd.option_context("display.precision", 1, "display.max_columns", 2),
    "matplotlib": lambda: mpl.rc_context({"axes.grid": True, "font.size": 30, "figure.dpi": 40}),
}


def state() -> list[Any]:
    """What must be left as it was. (Python's generator is left out: the shape checks of tests draw from it.)"""
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        str(torch.get_default_dtype()),
        str(torch.get_default_device()),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.random.get_rng_state().tolist(),
        str(np.random.get_state()),  # noqa: NPY002
        dict(mpl.rcParams),
    ]


@pytest.fixture(scope="module")
def run(
    llama: Any,
    llama_folder: Path,
    vector: SteeringVector,
    contrast: ContrastSet,
    items: tuple[ChoiceItem, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Any]:
    """Makes a call, in a folder of its own."""

    def make(call: str) -> Any:
        return CALLS[call](World(llama, llama_folder, vector, contrast, items, tmp_path_factory.mktemp("world")))

    return make


@pytest.fixture(scope="module")
def plain(run: Callable[[str], Any]) -> dict[str, Any]:
    """What each call gives under no setting."""
    return {call: read(run(call)) for call in CALLS}


def unlike(run: Callable[[str], Any], plain: Mapping[str, Any], setting: Setting) -> dict[str, str]:
    """The calls that give other numbers under a setting, fail, or leave another state behind."""
    found: dict[str, str] = {}
    for call in CALLS:
        with setting():
            before = state()
            try:
                value = run(call)
            except Exception as error:
                found[call] = f"{type(error).__name__}: {error}"
                continue
            finally:
                if state() != before:
                    found[call] = "another state"
        if repr(read(value)) != repr(plain[call]):
            found[call] = "other numbers"
    return found


@pytest.mark.parametrize("setting", [*SETTINGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_a_setting_changes_no_number_and_is_left_as_it_was(
    setting: str, run: Callable[[str], Any], plain: dict[str, Any]
) -> None:
    assert unlike(run, plain, (SETTINGS | MORE)[setting]) == {}


def test_autocast_is_refused_by_what_runs_the_model_and_changes_nothing_else(
    run: Callable[[str], Any], plain: dict[str, Any]
) -> None:
    found = unlike(run, plain, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert all(said.startswith("ArgumentError: torch.autocast is on for cpu") for said in found.values()), found
    assert {"score", "generate", "sweep", "record"} <= set(found)
    assert not {"vector", "saved vector", "several vectors", "vector lens", "readings", "statistics"} & set(found)


@pytest.mark.slow
def test_more_threads_change_only_the_rounding(run: Callable[[str], Any], plain: dict[str, Any]) -> None:
    def differ(one: Any, other: Any) -> bool:
        if isinstance(one, list | dict):
            pairs = zip(one, other, strict=True) if isinstance(one, list) else ((one[key], other[key]) for key in one)
            return any(differ(*pair) for pair in pairs)
        return one != pytest.approx(other, rel=1e-4, abs=1e-6, nan_ok=True) if isinstance(one, float) else one != other

    with threads(2):
        assert [call for call in CALLS if differ(plain[call], read(run(call)))] == []


def test_a_vector_made_in_inference_mode_can_be_learnt_from_outside(llama: Any, contrast: ContrastSet) -> None:
    with torch.inference_mode():
        vector = extract(llama, contrast, sites="resid_post@1")
        assert torch.ones(1).is_inference()
    made, factor = vector.at("resid_post@1"), torch.ones(1, requires_grad=True)
    (factor * made).sum().backward()
    assert factor.grad is not None and float(factor.grad) == pytest.approx(float(made.sum()))


def test_a_model_whose_weights_were_made_in_inference_mode_is_refused_where_gradients_are_needed(
    llama_folder: Path, contrast: ContrastSet
) -> None:
    with torch.inference_mode():
        loaded = load_model(llama_folder)
        config: Any = loaded.original_model.config
        own: Any = LlamaForCausalLM(config).eval()
        wrapped = load_model(own, tokenizer=loaded.tokenizer)
    extract_optimised(loaded, contrast, "resid_post@1", Descent(steps=1))
    with pytest.raises(ArgumentError, match=r"weights were made inside torch.inference_mode\(\)"):
        extract_optimised(wrapped, contrast, "resid_post@1", Descent(steps=1))


def test_a_list_becomes_a_direction_of_float32_whatever_the_default_dtype_is(unchecked: Callable[[], None]) -> None:
    unchecked()
    numbers: Any = [0.1, 0.2, 0.3]
    with default_dtype(torch.bfloat16):
        edit = Intervention.at("resid_post@1", numbers)
    assert edit.direction.tolist() == torch.tensor(numbers, dtype=torch.float32).tolist()
