"""What values are told by: two of one content give one digest, and any change gives another."""

import functools
import sys
import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lens_steer.errors import StorageError
from lens_steer.hooks import Intervention
from lens_steer.hooks.operators import Add, NormPreserving
from lens_steer.model.content import digest

OPERATOR = """
class Push:
    token_wise = True

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, activation, direction, strength):
        return activation + {formula} * self.factor * direction
"""


def written(source: str, **names: Any) -> dict[str, Any]:
    """What a script of this source defines."""
    script: dict[str, Any] = {"__name__": "__main__", "torch": torch, **names}
    exec(compile(source, "script.py", "exec"), script)
    return script


@dataclass(frozen=True)
class Scaled:
    """An operator of the user's own."""

    factor: float = 1.0
    along: Any = None

    def __call__(self, activation: Tensor, direction: Tensor, strength: float) -> Tensor:
        return activation + strength * self.factor * direction


def closing_over(value: Any) -> Callable[[Any], Any]:
    return lambda given: given * value


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "numbers": (1, 1.0),
    "truth": (True, 1),
    "texts": ("1", 1),
    "tensors": (torch.zeros(2), torch.zeros(2, 1)),
    "arrays": (np.zeros(2), np.ones(2)),
    "keys": ({1: "a"}, {"1": "a"}),
    "sets": ({1, 2}, {1, 3}),
    "hidden state": (array("i", [1, 2]), array("i", [1, 3])),
    "proxies": (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
    "fields": (Scaled(1.0), Scaled(2.0)),
    "tensors in fields": (Scaled(along=torch.ones(2)), Scaled(along=torch.zeros(2))),
    "operators in operators": (NormPreserving(Add()), NormPreserving(Scaled())),
    "closures": (closing_over(1.0), closing_over(2.0)),
    "defaults": (written("f = lambda x, by=1: x * by")["f"], written("f = lambda x, by=2: x * by")["f"]),
    "constants": (written("f = lambda x: x * 1")["f"], written("f = lambda x: x * 2")["f"]),
    "code": (written("f = lambda x: x + 2")["f"], written("f = lambda x: x * 2")["f"]),
    "inner code": (
        written("def f(x):\n return [x + n for n in range(1)]")["f"],
        written("def f(x):\n return [x + n for n in range(2)]")["f"],
    ),
    "globals": (written("f = lambda x: x * SCALE", SCALE=1)["f"], written("f = lambda x: x * SCALE", SCALE=2)["f"]),
    "functions of globals": (
        written("g = lambda x: x + 1\nf = lambda x: g(x)")["f"],
        written("g = lambda x: x + 2\nf = lambda x: g(x)")["f"],
    ),
    "methods": (
        written(OPERATOR.format(formula="strength"))["Push"](1.0),
        written(OPERATOR.format(formula="2 * strength"))["Push"](1.0),
    ),
    "attributes": (
        written(OPERATOR.format(formula="strength"))["Push"](1.0),
        written(OPERATOR.format(formula="strength"))["Push"](2.0),
    ),
    "bases": (
        written(OPERATOR.format(formula="strength") + "class Child(Push): pass")["Child"](1.0),
        written(OPERATOR.format(formula="-strength") + "class Child(Push): pass")["Child"](1.0),
    ),
    "partials": (functools.partial(torch.mul, 1), functools.partial(torch.mul, 2)),
    "functions of libraries": (torch.relu, torch.sigmoid),
    "modules of torch": (nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False)),
    "strengths": (
        Intervention.at("resid_post@1", torch.ones(2), 1.0),
        Intervention.at("resid_post@1", torch.ones(2), 2.0),
    ),
    "operators": (
        Intervention.at("resid_post@1", torch.ones(2), operator=Scaled()),
        Intervention.at("resid_post@1", torch.ones(2), operator=Scaled(2.0)),
    ),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_values_of_another_content_have_another_digest(kind: str) -> None:
    one, other = DIFFERENT[kind]
    assert digest(one) == digest(one) != digest(other) == digest(other)


def test_the_same_source_gives_the_same_digest_wherever_and_whenever_it_is_run() -> None:
    source = OPERATOR.format(formula="strength")
    one, other = (written("\n" * lines + source)["Push"](torch.ones(3)) for lines in (0, 7))
    assert one is not other and digest(one) == digest(other)
    assert digest(closing_over((1, [2.0]))) == digest(closing_over((1, [2.0])))


def test_what_refers_to_itself_has_a_digest() -> None:
    script = written("def f(x):\n return f(x - 1) if x else SCALE", SCALE=1)
    loop: list[Any] = []
    loop.append(loop)
    assert digest(script["f"]) != digest(written("def f(x):\n return f(x - 1) if x else SCALE", SCALE=2)["f"])
    assert digest(loop) != digest([[]])


@pytest.mark.parametrize("kind", ["generator", "lock", "module", "in a closure", "in an attribute", "in a global"])
def test_what_cannot_be_taken_apart_is_refused_by_name(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("my_numbers")
    monkeypatch.setitem(sys.modules, "my_numbers", own)
    lock = threading.Lock()
    value, name = {
        "generator": ((n for n in ()), "generator"),
        "lock": (lock, "lock"),
        "module": (own, "module 'my_numbers'"),
        "in a closure": (closing_over(lock), "lock"),
        "in an attribute": (Scaled(along=lock), "lock"),
        "in a global": (written("f = lambda x: x * own.SCALE", own=own)["f"], "module 'my_numbers'"),
    }[kind]
    with pytest.raises(StorageError, match=f"{name}.* cannot be told from others by its content"):
        digest(value)


def test_a_known_object_is_told_by_what_stands_for_it() -> None:
    class Model:
        lock = threading.Lock()

    model = Model()
    assert digest(closing_over(model), {id(model): "model"}) == digest(closing_over("model"))


def test_a_script_named_like_a_module_of_python_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for factor in (1, 2):
        own = ModuleType("this")
        own.__file__ = str(tmp_path / "this.py")
        monkeypatch.setitem(sys.modules, "this", own)
        found.append(digest(written(f"f = lambda x: {factor} * x", __name__="this")["f"]))
    assert found[0] != found[1]


def test_what_is_not_in_memory_is_refused() -> None:
    with pytest.raises(StorageError, match="not in memory"):
        digest(torch.empty(3, device="meta"))
