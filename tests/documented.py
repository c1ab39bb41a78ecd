"""All public names of the package with their sources and the sections of their docstrings."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import jaxrecon

PACKAGE = Path(jaxrecon.__file__).parent
SECTION = re.compile(r"(Args|Attributes|Returns|Raises):")
ENTRY = re.compile(r"    (\*{0,2}\w+(?:, \w+)*): \S")
Node = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Public:
    """A public class, function or method.

    Attributes:
        module: where it is defined.
        path: its name in that module; for a method, behind that of its class.
        node: its source.
        helpers: the functions of its module, by name.
        exported: whether users import it, or its class, from the package.
    """

    module: str
    path: str
    node: Node
    helpers: dict[str, ast.FunctionDef]
    exported: bool

    def __str__(self) -> str:
        return f"{self.module}.{self.path}"

    @cached_property
    def text(self) -> str:
        return ast.get_docstring(self.node) or ""

    @cached_property
    def sections(self) -> dict[str, list[str]]:
        """The names in each section; a section without names has an empty list."""
        found: dict[str, list[str]] = {}
        names: list[str] | None = None
        for line in self.text.splitlines():
            if heading := SECTION.fullmatch(line):
                names = found.setdefault(heading[1], [])
            elif line and not line.startswith(" "):
                names = None
            elif names is not None and (entry := ENTRY.match(line)):
                names.extend(entry[1].split(", "))
        return found

    @property
    def is_property(self) -> bool:
        names = {ast.unparse(decorator) for decorator in self.node.decorator_list}
        return bool(names & {"property", "cached_property"})

    @property
    def overrides(self) -> bool:
        """Whether a base class has a method of this name, whose docstring holds for this one."""
        owner, _, name = self.path.partition(".")
        bases = getattr(importlib.import_module(self.module), owner).__mro__[1:] if name else ()
        return any(getattr(vars(base).get(name), "__doc__", None) for base in bases)

    @property
    def parameters(self) -> list[str]:
        """Parameters without ``self``; for a class, if its docstring has a section on them."""
        if isinstance(self.node, ast.ClassDef):
            if "Args" not in self.sections:
                return []
            made = getattr(importlib.import_module(self.module), self.path)
            return list(inspect.signature(made.__init__).parameters)[1:]
        return parameters(self.node)["." in self.path :]

    @property
    def fields(self) -> list[str]:
        """Public attributes of a class that are annotated and given to its constructor."""
        if isinstance(self.node, ast.FunctionDef):
            return []
        lines = [line for line in self.node.body if isinstance(line, ast.AnnAssign)]
        names = [
            ast.unparse(line.target)
            for line in lines
            if not any(word in ast.unparse(line) for word in ("init=False", "ClassVar"))
        ]
        return [name for name in names if name.islower() and not name.startswith("_")]

    @property
    def raised(self) -> set[str]:
        """Exceptions that it raises itself or through a private function of its module."""
        if isinstance(self.node, ast.FunctionDef):
            return self._raised(self.node, {self.node.name})
        names = ("__init__", "__post_init__")
        makers = [each for each in self.node.body if getattr(each, "name", None) in names]
        return set().union(*(self._raised(maker, set()) for maker in makers))

    def _raised(self, node: ast.AST, seen: set[str]) -> set[str]:
        found = set()
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = [part for part in ast.walk(node.exc) if isinstance(part, ast.Name)]
            found |= {name.id for name in named if is_exception(name.id)}
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("self.").removeprefix("cls.")
            if name.startswith("_") and name in self.helpers and name not in seen:
                found |= self._raised(self.helpers[name], seen | {name})
        for part in ast.iter_child_nodes(node):
            # An inner function raises only when it is called, possibly elsewhere.
            if not isinstance(part, ast.FunctionDef):
                found |= self._raised(part, seen)
        return found


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    names += [argument.arg for argument in given.kwonlyargs]
    return names + ([f"**{given.kwarg.arg}"] if given.kwarg else [])


def is_exception(name: str) -> bool:
    known = getattr(builtins, name, None)
    return isinstance(known, type) and issubclass(known, BaseException)


@lru_cache
def everything() -> list[Public]:
    """All public names of the package, in the order of the files."""
    homes = {
        (getattr(package, name).__module__, name)
        for package in (jaxrecon, jaxrecon.datasets, jaxrecon.images)
        for name in package.__all__
        if name not in {"datasets", "images"}
    }
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module, tree = ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text())
        helpers = {each.name: each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        for outer in public(tree.body):
            exported = (module, outer.name) in homes
            found.append(Public(module, outer.name, outer, helpers, exported))
            if isinstance(outer, ast.ClassDef):
                found += [
                    Public(module, f"{outer.name}.{inner.name}", inner, helpers, exported)
                    for inner in public(outer.body)
                ]
    return found


def public(body: list[ast.stmt]) -> Iterator[Node]:
    for each in body:
        if not isinstance(each, Node) or each.name.startswith("_"):
            continue
        # Forms of one function for type checkers alone have no docstring.
        if "overload" not in map(ast.unparse, each.decorator_list):
            yield each
