"""The rules of the house, read from the source as text. Each test reports all that it finds."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from house import PLACE, README, with_map

import lens_steer
from lens_steer._util.shapes import AXES

PACKAGE = Path(lens_steer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES, ARGUMENTS, TOP_NAMES = 500, 10, 17
HOOKS = {
    "add_hook", "add_perma_hook", "hooks", "run_with_hooks",
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
}  # fmt: skip
SHAPE = re.compile(r"^(?:Float|Int|Bool)\[")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def at(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 1)}"


def every(*kinds: type[ast.AST]) -> Iterator[tuple[Path, str, ast.AST]]:
    """Each node of some kinds, with its file and place."""
    for path in FILES:
        yield from ((path, at(path, node), node) for node in nodes(path) if isinstance(node, kinds))


def imports() -> Iterator[tuple[Path, str, str]]:
    """Each import anywhere in a file: the file, the place, the module; '.' where it is relative."""
    for path, where, node in every(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((path, where, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                yield path, where, "."
            elif node.module == "lens_steer":
                yield from ((path, where, f"lens_steer.{alias.name}") for alias in node.names)
            else:
                yield path, where, node.module


def calls() -> Iterator[tuple[Path, str, str, str]]:
    """Each call: the file, the place, what it is called on ('' where plain) and its name."""
    for path, where, node in every(ast.Call):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Attribute):
            yield path, where, getattr(function.value, "id", "?"), function.attr
        elif isinstance(function, ast.Name):
            yield path, where, "", function.id


def test_no_two_test_modules_share_a_name() -> None:
    modules = [path.name for path in sorted(Path(__file__).parent.rglob("test_*.py"))]
    twice = sorted({name for name in modules if modules.count(name) > 1})
    assert not twice, f"pytest imports test modules by their bare names; a second one of a name is an error: {twice}"


def test_a_module_imports_only_from_rooms_to_its_left() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms == set(PLACE)
    assert len(rooms) + 1 <= TOP_NAMES
    found = []
    for path, where, name in imports():
        parts = name.split(".")
        if path == PACKAGE / "__init__.py" or (parts[0] not in ("lens_steer", "")):
            continue
        if len(parts) < 2 or not (parts[1] == room(path) or PLACE[parts[1]] < PLACE[room(path)]):
            found.append(f"{where}: {room(path)} imports {name}")
    assert not found, "\n".join(found)


def test_the_map_of_the_readme_is_the_list_of_rooms() -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_map(readme) == readme, "run python tests/house.py"


def test_files_and_argument_lists_stay_within_their_budgets() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    found = [f"{path}: {lines} lines" for path, lines in sizes.items() if lines > FILE_LINES]
    commands = [PACKAGE / "cli" / name for name in ("app.py", "vectors.py")]  # whose arguments are command options
    for path, where, node in every(ast.FunctionDef, ast.AsyncFunctionDef):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path not in commands:
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if len([a for a in arguments if a.arg not in ("self", "cls")]) > ARGUMENTS:
                found.append(f"{where}: {node.name} takes {len(arguments)} arguments")
            if node.args.kwarg is not None and not node.name.startswith("_"):
                found.append(f"{where}: {node.name} takes **{node.args.kwarg.arg}")
    assert not found, "\n".join(found)


def test_hooks_are_installed_and_transformer_lens_imported_in_one_place_each() -> None:
    found = [f"{where}: {name}()" for path, where, _, name in calls() if name in HOOKS and room(path) != "hooks"]
    for path, where, name in imports():
        if name.split(".")[0] == "transformer_lens" and room(path) not in ("model", "analysis"):
            found.append(f"{where}: imports {name}")
    assert not found, "\n".join(found)


def test_there_is_no_print_assert_pickle_global_blind_except_or_global_seed() -> None:
    found = []
    for path, where, on, name in calls():
        loads = (on, name) == ("torch", "load") and path != PACKAGE / "vector" / "exchange.py"
        prints = (on, name) == ("", "print") and room(path) != "cli"
        saves = (on, name) == ("torch", "save") and path != PACKAGE / "vector" / "harness.py"  # it reads nothing else
        if loads or prints or saves or (on, name) in {("torch", "manual_seed"), ("random", "seed")}:
            found.append(f"{where}: {on}.{name}()")
    for _, where, name in imports():
        if name.split(".")[0] in {"pickle", "dill", "joblib", "shelve"}:
            found.append(f"{where}: imports {name}")
    found += [f"{where}: {type(node).__name__}" for _, where, node in every(ast.Assert, ast.Global)]
    for _, where, node in every(ast.ExceptHandler):
        kind = node.type if isinstance(node, ast.ExceptHandler) else None
        if kind is None or getattr(kind, "id", "") in ("Exception", "BaseException"):
            found.append(f"{where}: blind except")
    assert not found, "\n".join(found)


def test_every_tensor_is_made_with_its_device_and_where_it_is_of_floats_with_its_dtype() -> None:
    floats = {"zeros", "ones", "empty", "eye", "linspace", "logspace", "rand", "randn"}
    makers = floats | {"arange", "full", "randint", "randperm", "tensor"}
    found = []
    for _, where, node in every(ast.Call):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "torch":
            said = {keyword.arg for keyword in getattr(node, "keywords", ())}
            wanted = {"device"} if function.attr in makers else set()
            wanted |= {"dtype"} if function.attr in floats else set()
            found += [f"{where}: torch.{function.attr}() without {name}" for name in sorted(wanted - said)]
    assert not found, "\n".join(found)


def test_the_one_file_that_loads_tensors_of_others_loads_weights_only() -> None:
    loads = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in nodes(PACKAGE / "vector" / "exchange.py")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads and all(keywords.get("weights_only") == "True" for keywords in loads)


def test_modules_and_public_names_are_documented() -> None:
    found = []
    for path in FILES:
        module = nodes(path)[0]
        assert isinstance(module, ast.Module)
        documented = [module, *(n for n in module.body if isinstance(n, ast.FunctionDef | ast.ClassDef))]
        for node in documented:
            if not getattr(node, "name", "").startswith("_") and not ast.get_docstring(node):
                found.append(f"{at(path, node)}: {getattr(node, 'name', path.name)} has no docstring")
    assert not found, "\n".join(found)


def test_every_axis_of_an_annotation_is_in_the_vocabulary() -> None:
    found = []
    for _, where, node in every(ast.Subscript):
        if isinstance(node, ast.Subscript) and SHAPE.match(ast.unparse(node)):
            elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
            axes = [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]
            words = [axis.lstrip("*").strip(".") for axis in (axes[0].split() if axes else [])]
            found += [f"{where}: axis {word!r}" for word in words if word and not word.isdigit() and word not in AXES]
    assert not found, "\n".join(found)


OLD_WORDS = re.compile(
    r"\b(?:doses?|damages?|unsound|faithful|letter[ _]mass(?:es)?|Asking|Manifold|[Aa]udits?|take_apart|[Uu]nbridged)\b"
)


def test_no_text_uses_a_word_that_the_glossary_has_replaced() -> None:
    """`data/tables.py` reads tables of the old names; the glossary and the changelog name them."""
    root = PACKAGE.parent
    texts = [
        *FILES,
        README,
        *(root / "docs").glob("*.md"),
        *(root / "notebooks").glob("*.ipynb"),
        root / "CONTRIBUTING.md",
    ]
    found = []
    for path in texts:
        if path not in (PACKAGE / "data" / "tables.py", root / "docs" / "glossary.md"):
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [
                f"{path.relative_to(root)}:{n}: {m[0]}"
                for n, line in enumerate(lines, 1)
                for m in OLD_WORDS.finditer(line)
            ]
    assert not found, "\n".join(found)
