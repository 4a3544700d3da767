"""Checkpoints: numbers are those of what is asked now, of this model, these operators, these gates, this reduction."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from lens_steer.data.choices import ChoiceItem, ChoiceTemplate
from lens_steer.errors import CacheWarning, SteeringError
from lens_steer.evaluation.grid import GridOptions, Numbers, run_grid
from lens_steer.evaluation.score import ScoringOptions, prepare_choices, score_grid
from lens_steer.evaluation.side_effects import measure_side_effects, side_effect_grid
from lens_steer.evaluation.sweep import first_order, sweep, sweep_together
from lens_steer.experiments.evaluator import Evaluator
from lens_steer.hooks import Intervention, steer
from lens_steer.model.stored import checksummed
from lens_steer.vector import SteeringVector

ROWS = [[5, 9, 4, 3, 8, 6, 7, 3], [7, 3, 5, 4], [4, 8, 6]]
Items = Sequence[ChoiceItem]


class Scaled:
    """An operator of the user's own."""

    token_wise = True
    shift = 0.0

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, activation: Tensor, direction: Tensor, strength: float) -> Tensor:
        return activation + strength * self.factor * direction + self.shift * direction.flip(0)


@dataclass(frozen=True)
class Above:
    """A gate of the user's own."""

    least: float
    per: Literal["row", "token"] = "token"

    def fires(self, activation: Tensor, real: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return activation[..., 0] > self.least


def keep_logits(_: list[int], __: Tensor) -> Numbers:
    return lambda logits: logits.flatten(1)


def push(operator: Any = None, gate: Any = None, strength: float = 2.0) -> list[Intervention]:
    direction = torch.randn(16, generator=torch.Generator().manual_seed(0))
    return [Intervention.at("resid_post@1", direction, strength, operator=operator, gate=gate)]


def numbers(model: Any, folder: Path | None, *configurations: Any, reduce: Any = keep_logits) -> Tensor:
    return torch.stack(run_grid(model, ROWS, configurations, reduce, GridOptions(checkpoint=folder)).configurations)


@pytest.mark.parametrize("kind", ["attribute", "class attribute", "closure", "code", "gate", "reduction"])
def test_objects_of_the_user_are_part_of_the_key(
    llama: Any, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(factor: float) -> Any:
        def reduce(_: list[int], __: Tensor) -> Numbers:
            return lambda logits: factor * logits.flatten(1)

        return reduce

    def closing(factor: float) -> Any:
        return lambda activation, direction, strength: activation + factor * strength * direction

    def both() -> list[tuple[list[Intervention], Any]]:
        return {
            "attribute": [(push(Scaled(1.0)), keep_logits), (push(Scaled(2.0)), keep_logits)],
            "class attribute": [(push(Scaled()), keep_logits)] * 2,
            "closure": [(push(closing(1.0)), keep_logits), (push(closing(2.0)), keep_logits)],
            "code": [
                (push(lambda h, v, s: h + s * v), keep_logits),
                (push(lambda h, v, s: h - s * v), keep_logits),
            ],
            "gate": [(push(gate=Above(-9.0)), keep_logits), (push(gate=Above(0.0)), keep_logits)],
            "reduction": [(push(), times(1.0)), (push(), times(2.0))],
        }[kind]

    stored = []
    for number, (configuration, reduce) in enumerate(both()):
        if kind == "class attribute":
            monkeypatch.setattr(Scaled, "shift", float(number))
        stored.append(numbers(llama, tmp_path, configuration, reduce=reduce))
        assert torch.equal(stored[-1], numbers(llama, None, configuration, reduce=reduce))
    assert not torch.allclose(*stored, atol=1e-3) and len(list(tmp_path.iterdir())) == 2


def test_what_was_stored_under_an_object_of_the_user_is_read_again(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = numbers(llama, tmp_path, push(Scaled(1.5)), push(gate=Above(0.0)))
    monkeypatch.setattr("lens_steer.evaluation.grid.run.forward_unsteered", None)
    assert torch.equal(numbers(llama, tmp_path, push(Scaled(1.5)), push(gate=Above(0.0))), first)


def test_an_object_that_cannot_be_told_is_computed_afresh_and_said_once(llama: Any, tmp_path: Path) -> None:
    lock, factor = threading.Lock(), 1.0

    def locked(activation: Tensor, direction: Tensor, strength: float) -> Tensor:
        with lock:
            return activation + factor * strength * direction

    found = []
    for factor in (1.0, 2.0):  # noqa: B007
        with pytest.warns(CacheWarning, match=r"numbers are computed and not stored: .*lock cannot be told") as told:
            found.append(numbers(llama, tmp_path, push(locked), push(locked, strength=1.0)))
        assert len(told) == 1
    assert not torch.allclose(*found, atol=1e-3) and not list(tmp_path.iterdir())


def test_a_line_that_is_no_pass_though_it_is_signed_is_computed_again(llama: Any, tmp_path: Path) -> None:
    first = numbers(llama, tmp_path, push())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    deep = "[" * 200 + "]" * 200
    for change in (
        {"batch": [0]},
        {"configurations": 5},
        {"values": [[1], [1, 2]]},
        {"values": "x"},
        {"more": json.loads(deep)},
    ):
        piece = {**json.loads(whole.splitlines()[0]), **change}
        path.write_bytes(json.dumps(checksummed({k: v for k, v in piece.items() if k != "sha256"})).encode() + b"\n")
        if change.keys() == {"more"}:
            path.write_bytes(json.dumps(piece).encode() + b"\n")
        with pytest.warns(CacheWarning, match="1 of 1 lines are truncated or edited"):
            assert torch.equal(numbers(llama, tmp_path, push()), first)
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_checkpoint_inside_a_steering_context_is_refused(llama: Any, tmp_path: Path) -> None:
    outside = numbers(llama, tmp_path, push())
    for strength in (1.0, -1.0):
        with pytest.raises(SteeringError, match="not to be kept on disk"), steer(llama, push(strength=strength)):
            numbers(llama, tmp_path, push())
    assert len(list(tmp_path.iterdir())) == 1 and torch.equal(numbers(llama, tmp_path, push()), outside)


@pytest.mark.parametrize(
    "call", ["sweep", "sweep_together", "first_order", "score_grid", "side effects", "side effect grid", "evaluator"]
)
def test_what_compares_with_the_unsteered_model_is_refused_inside_a_steering_context(
    llama: Any, vector: SteeringVector, items: Items, texts: list[str], call: str
) -> None:
    prompts = prepare_choices(llama, items, ChoiceTemplate())
    evaluator = Evaluator(model=llama, items={"money": tuple(items)}, corpora={"texts": texts}, neutral="texts")
    calls = {
        "sweep": lambda: sweep(llama, vector, items, "resid_post@1", [1]),
        "sweep_together": lambda: sweep_together(llama, [vector], items, ["resid_post@1"], [[1]]),
        "first_order": lambda: first_order(llama, [vector], items),
        "score_grid": lambda: score_grid(llama, prompts, [push()], ScoringOptions()),
        "side effects": lambda: measure_side_effects(llama, texts, push()),
        "side effect grid": lambda: side_effect_grid(llama, texts, [push()]),
        "evaluator": lambda: evaluator.measure([push()]),
    }
    said = r"an open steering context steers it \('direction' at resid_post@1 x 0.5"
    with pytest.raises(SteeringError, match=said), steer(llama, push(strength=0.5)):
        calls[call]()
    calls[call]()
