"""The order of the rooms: data flow one way, files don't import in circles and stay short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxrecon"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"

ORDER = (
    {"lanes", "pytrees"},
    {"numerics"},
    {"runtime"},
    {"structures"},
    {"descriptors"},
    {"search"},
    {"potentials"},
    {"datasets"},
    {"models"},
    {"images", "inverse_design"},
    {"plotting"},
    {"cli"},
)
"""Rooms from the ground up: each imports those before it, and none of its own floor."""

FLOORS = {room: number for number, rooms in enumerate(ORDER) for room in rooms}

LAZY = {("search.results", "plot"), ("inverse_design.generated", "plot")}
"""Methods that draw their own figure, the only ones that import from a higher room: plotting."""

LONGEST = 400
"""Largest number of lines of a file."""

REFERENCE = re.compile(r"jaxrecon((?:\.\w+)+)(?::\w+)?")
"""A module in a text, as registries and ``import_module`` name it."""


class Import(NamedTuple):
    """One import in a file.

    Attributes:
        module: imported module, without the name of the package.
        line: number of the line.
        function: name of the innermost function around it; empty at the top of the file.
        runs: whether Python ever executes it: it is neither for type checkers alone nor a text.
    """

    module: str
    line: int
    function: str
    runs: bool


def module_of(path: Path, package: Path) -> str:
    """The name of the module of a file, without that of the package: ``search.results``."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


def sources(package: Path) -> dict[str, Path]:
    """The files of a package by their modules, without its own ``__init__``."""
    found = {module_of(path, package): path for path in sorted(package.rglob("*.py"))}
    return {name: path for name, path in found.items() if name}


def imports(path: Path, package: Path) -> list[Import]:
    """All imports of modules of the package, inside functions and for type checkers too."""
    modules = sources(package)

    def visit(node: ast.AST, function: str, runs: bool) -> Iterator[Import]:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            runs = False
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("jaxrecon.")]
            yield from (Import(name[9:], node.lineno, function, runs) for name in names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"expected absolute imports, got {path}:{node.lineno}"
            if re.match(r"jaxrecon\b", node.module or ""):
                base = str(node.module)[9:]
                for alias in node.names:
                    inner = f"{base}.{alias.name}".lstrip(".")
                    whole = inner if inner in modules or not base else base
                    yield Import(whole, node.lineno, function, runs)
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and (match := REFERENCE.fullmatch(text)):
            yield Import(match[1][1:], node.lineno, function, runs=False)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, runs)

    return list(visit(ast.parse(path.read_text()), "", True))


def violations(package: Path) -> list[str]:
    """Imports that break the order of the rooms, each with its place and reason."""
    found = []
    for module, path in sources(package).items():
        room = module.partition(".")[0]
        if room not in FLOORS:
            found.append(f"{module} is in no room")
            continue
        for line in imports(path, package):
            place = f"{module}:{line.line} imports {line.module}"
            other = line.module.partition(".")[0]
            if line.module in {"", "__version__"} or room == other:
                continue
            lazy = other == "plotting" and (module, line.function) in LAZY
            if other not in FLOORS:
                found.append(f"{place}, which is in no room")
            elif FLOORS[other] >= FLOORS[room] and not lazy:
                found.append(f"{place}, which is not below")
    return found


def circle(package: Path) -> list[str]:
    """Modules that import each other in a circle when they run; an empty list if there is none."""
    modules = sources(package)
    graph = {
        module: {
            line.module
            for line in imports(path, package)
            if line.module in modules
            and line.module != module
            and line.runs
            and (module, line.function) not in LAZY
        }
        for module, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_imports_those_below_it_alone() -> None:
    assert violations(PACKAGE) == []


def test_no_files_import_each_other() -> None:
    assert circle(PACKAGE) == []


def test_methods_that_draw_are_still_those_two() -> None:
    """Otherwise an exception stays for which there is no reason any more."""
    used = {
        (module, line.function)
        for module in ("search.results", "inverse_design.generated")
        for line in imports(sources(PACKAGE)[module], PACKAGE)
        if line.module.startswith("plotting")
    }
    assert used == LAZY


def test_no_file_is_longer_than_400_lines() -> None:
    folders = ("jaxrecon", "tests", "benchmarks", "notebooks")
    lengths = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(lengths) > 150
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@cache
def tree() -> dict[str, str]:
    """The descriptions in CONTRIBUTING's tree, by the paths of files and folders."""
    text = CONTRIBUTING.read_text()
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in re.findall(r"```text\n(jaxrecon/.*?)```", text, re.DOTALL)[0].splitlines():
        indent, name, description = re.fullmatch(r"( *)(\S+)(?: +(\S.*))?", line).groups()
        folders[len(indent) // 2 :] = [name]
        found["".join(folders)] = description or ""
    return found


@pytest.mark.skipif(not CONTRIBUTING.exists(), reason="needs the repository")
def test_contributing_names_every_file() -> None:
    """One line each, with a description, and no file that does not exist."""
    files = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".html"} and path.name != "__init__.py"
    }
    listed = {name for name in tree() if not name.endswith("/")}
    assert files - listed == set()
    assert {name for name in listed if not (ROOT / name).exists()} == set()
    assert [name for name, description in tree().items() if not description] == []


@pytest.mark.parametrize(
    ("file", "code", "reason"),
    [
        ("search/wrong.py", "from jaxrecon.plotting.runs import x", "not below"),
        ("search/wrong.py", "import jaxrecon.models.config", "not below"),
        ("search/wrong.py", "def f():\n    from jaxrecon import models", "not below"),
        ("search/results.py", "def f():\n    from jaxrecon.plotting import runs", "not below"),
        ("search/results.py", "def plot():\n    from jaxrecon.models import config", "not below"),
        ("search/wrong.py", "if TYPE_CHECKING:\n    from jaxrecon.cli import main", "not below"),
        ("search/wrong.py", "ENTRY = 'jaxrecon.models.config:TrainConfig'", "not below"),
        ("images/wrong.py", "from jaxrecon.inverse_design.config import x", "not below"),
        ("lanes.py", "from jaxrecon.numerics import safe_norm", "not below"),
        ("search/wrong.py", "from jaxrecon import Structure", "in no room"),
        ("attic/wrong.py", "", "in no room"),
    ],
)
def test_wrong_imports_are_found(file: str, code: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "jaxrecon" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    (found,) = violations(tmp_path / "jaxrecon")
    assert reason in found


def test_right_imports_are_not_found(tmp_path: Path) -> None:
    code = """
        import jaxrecon.runtime.files
        from jaxrecon import __version__
        from jaxrecon.structures import matching
        from jaxrecon.search.config import ReconstructConfig
        from elsewhere import plotting

        def plot():
            from jaxrecon.plotting import runs
    """
    path = tmp_path / "search" / "results.py"
    path.parent.mkdir()
    path.write_text("\n".join(line[8:] for line in code.splitlines()))
    assert violations(tmp_path) == []


def test_circles_are_found(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        path = tmp_path / "search" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"def late():\n    from jaxrecon.search.{other} import x")
    assert set(circle(tmp_path)) == {"search.a", "search.b", "search.c"}
    path.write_text("")
    assert circle(tmp_path) == []
