"""The content of a value in JSON's types, by which results on disk are named: two values of one content give the same
numbers.

    texts, numbers, lists, dictionaries     themselves; keys in any order
    tensors, arrays                         dtype, shape and the XXH3 (128 bits) of their bytes
    objects                                 their class and their attributes
    functions and classes of a user         bytecode, defaults, closure, and the globals that they use
    those of installed libraries            their name; a library is of one version

What cannot be taken apart (a generator, a lock, a module of the user's own) is refused by name, and what depends on it
is not stored.
"""

import hashlib
import json
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache, cached_property, partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from lens_steer.errors import StorageError

_LIBRARIES = {
    "accelerate",
    "beartype",
    "builtins",
    "concept_erasure",
    "einops",
    "jaxtyping",
    "lens_steer",
    "numpy",
    "pandas",
}
_LIBRARIES |= {"peft", "safetensors", "scipy", "sklearn", "tokenizers", "torch", "transformer_lens", "transformers"}
_WRITTEN_OUT = (torch.dtype, torch.device, torch.layout, PurePath, re.Pattern, Fraction, Decimal, date)
_WRITTEN_OUT += (range, slice, complex, type(Ellipsis), type(NotImplemented))
_UNSAID = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__dataclass_fields__", "__slots__"}
_UNSAID |= {"__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl", "__parameters__"}
_UNSAID |= {"__orig_bases__", "__firstlineno__", "__static_attributes__", "__annotate__", "__qualname__"}
_MADE = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__"}  # by @dataclass


def content(value: Any, known: Mapping[int, Any] | None = None) -> Any:
    """A value in JSON's types.

    Args:
        value: of any type.
        known: what stands for some objects, by their `id`.

    Returns:
        Lists, dictionaries, texts and numbers; equal for values of equal content.

    Raises:
        StorageError: something in it cannot be taken apart; it is named.
    """
    return _Reader(known or {}).read(value)


def digest(value: Any, known: Mapping[int, Any] | None = None) -> str:
    """The sha256 of a value's content, in 64 hexadecimal digits.

    Args:
        value: as for `content`.
        known: as for `content`.

    Raises:
        StorageError: as `content`.
    """
    return hashlib.sha256(json.dumps(content(value, known), sort_keys=True).encode()).hexdigest()


def of_library(module: str | None) -> bool:
    """Whether a module is of an installed library or of Python, so that its name says what it does."""
    root = str(module).partition(".")[0]
    return root in _LIBRARIES or _of_python(root)


@cache
def _of_python(root: str) -> bool:
    """Whether a module is Python's own; not so a script of the user's that has the name of one, such as test.py."""
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return root in sys.stdlib_module_names and (not file or file.startswith(sysconfig.get_path("stdlib")))


def tensor_content(tensor: Tensor) -> list[Any]:
    """A tensor's dtype, shape and the XXH3 of its bytes, 128 bits of it, found as fast as memory is read.

    Raises:
        StorageError: its entries are not in memory.
    """
    if tensor.is_meta:
        raise StorageError("a tensor whose entries are not in memory (offloaded weights) cannot be told from others")
    data = tensor.detach().cpu().contiguous()
    found = xxhash.xxh3_128_hexdigest(data.flatten().view(torch.uint8).numpy().data)
    return [str(data.dtype), list(data.shape), found]


class _Reader:
    """Takes values apart; remembers which functions and classes it has met, and what it is inside of."""

    def __init__(self, known: Mapping[int, Any]) -> None:
        self._known = known
        self._met: dict[int, int] = {}
        self._open: list[int] = []

    def read(self, value: Any) -> Any:
        """A value in JSON's types."""
        if id(value) in self._known:
            return self._known[id(value)]
        if value is None or type(value) in (str, int, float, bool):
            return value
        if id(value) in self._open:
            return ["cycle", len(self._open) - self._open.index(id(value))]
        self._open.append(id(value))
        try:
            return self._taken_apart(value)
        finally:
            self._open.pop()

    def _taken_apart(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return tensor_content(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            data = np.ascontiguousarray(value)
            return [str(value.dtype), list(value.shape), hashlib.sha256(data.tobytes()).hexdigest()]
        if isinstance(value, bytes | bytearray):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if isinstance(value, np.generic):
            return [str(value.dtype), value.tobytes().hex()]
        if isinstance(value, _WRITTEN_OUT):
            return [type(value).__name__, repr(value)]
        if isinstance(value, Enum):
            return [self.read(type(value)), value.name]
        if isinstance(value, type):
            return self._once(value, self._class)
        if isinstance(value, FunctionType):
            return self._once(value, self._function)
        if of_library(type(value).__module__):
            if isinstance(value, Mapping):
                return self._mapping(value)
            if isinstance(value, list | tuple):
                return [self.read(entry) for entry in value]
            if isinstance(value, set | frozenset):
                return ["set", *sorted((self.read(entry) for entry in value), key=json.dumps)]
        return self._callable_or_object(value)

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(type(key) is str for key in value):
            return {key: self.read(entry) for key, entry in value.items()}
        pairs = [[self.read(key), self.read(entry)] for key, entry in value.items()]
        return ["mapping", *sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))]

    def _callable_or_object(self, value: Any) -> Any:
        if isinstance(value, MethodType):
            return [self.read(value.__func__), self.read(value.__self__)]
        if isinstance(value, partial):
            return [self.read(value.func), self.read(value.args), self.read(value.keywords)]
        if isinstance(value, property):
            return [self.read(part) for part in (value.fget, value.fset, value.fdel)]
        if isinstance(value, staticmethod | classmethod | cached_property):
            return [type(value).__name__, self.read(getattr(value, "__func__", getattr(value, "func", None)))]
        if isinstance(value, BuiltinFunctionType) or hasattr(value, "__objclass__"):
            owner = getattr(value, "__self__", None)
            return [value.__qualname__, None if isinstance(owner, ModuleType) else self.read(owner)]
        if hasattr(value, "__wrapped__") and of_library(type(value).__module__):
            return [type(value).__name__, self.read(value.__wrapped__)]
        if isinstance(value, ModuleType) and of_library(value.__name__):
            return ["module", value.__name__]
        return self._object(value)

    def _object(self, value: Any) -> list[Any]:
        """An object by its class and by what pickle would write of it."""
        kind = type(value)
        if is_dataclass(value) and of_library(kind.__module__):
            state = {field.name: self.read(getattr(value, field.name)) for field in fields(value)}
            return ["object", self.read(kind), state]
        reduce: Any = value.__reduce_ex__
        try:
            parts = reduce(4)
        except (TypeError, AttributeError, RuntimeError) as error:
            raise StorageError(_untold(value)) from error
        if isinstance(parts, str) or isinstance(value, ModuleType):
            raise StorageError(_untold(value))
        items = [None if part is None else list(part) for part in parts[3:5]]
        return ["object", *(self.read(part) for part in (*parts[:3], *items))]

    def _once(self, value: Any, read: Any) -> Any:
        """A function or class in full where it is met first, afterwards by its place in the order."""
        if id(value) in self._met:
            return ["met", self._met[id(value)]]
        self._met[id(value)] = len(self._met)
        return read(value)

    def _class(self, kind: type) -> list[Any]:
        """A class by its name; one of the user's own with everything that it and its bases define."""
        if of_library(kind.__module__):
            return ["class", _name(kind)]
        defined: dict[str, Any] = {}
        for name, entry in vars(kind).items():
            made = name in _MADE and is_dataclass(kind)
            if name not in _UNSAID and not made and not hasattr(entry, "__objclass__"):
                defined[name] = self.read(entry)
        bases = [self.read(base) for base in kind.__bases__ if base is not object]
        return ["class", kind.__qualname__, bases, defined]

    def _function(self, function: Any) -> list[Any]:
        """A function by its name and closure; one of the user's own with its code and what that refers to."""
        home = str(function.__globals__.get("__name__"))
        if home.partition(".")[0] in ("jaxtyping", "beartype", "functools") and hasattr(function, "__wrapped__"):
            return ["wrapped", self.read(function.__wrapped__)]
        cells = [self.read(_held(cell)) for cell in function.__closure__ or ()]
        if of_library(home):
            return ["function", home, function.__qualname__, cells]
        names = sorted(_names(function.__code__) & set(function.__globals__))
        used = {name: self.read(function.__globals__[name]) for name in names}
        defaults = [self.read(function.__defaults__), self.read(function.__kwdefaults__)]
        return ["function", self._code(function.__code__), defaults, cells, used]

    def _code(self, code: CodeType) -> list[Any]:
        parts = [self._code(part) if isinstance(part, CodeType) else self.read(part) for part in code.co_consts]
        return [code.co_code.hex(), list(code.co_names), list(code.co_freevars), parts]


def _names(code: CodeType) -> set[str]:
    """All names that a function's code may look up among its globals."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def _held(cell: Any) -> Any:
    """What a closure's cell holds; nothing where it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _untold(value: Any) -> str:
    """Why a value has no content."""
    name = f"module {value.__name__!r}" if isinstance(value, ModuleType) else f"an object of type {_name(type(value))}"
    return f"{name} cannot be told from others by its content"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
