"""The public names exist, and their docstrings are complete and true."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

from documented import PACKAGE, Public, everything

import jaxrecon

MISSING = {"NotImplementedError"}
"""Exceptions of methods that subclasses write."""

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?:[^`<]*<)?~?([\w.]+)>?`")


def test_exported_names_are_there() -> None:
    assert all(callable(getattr(jaxrecon, name)) for name in set(jaxrecon.__all__) - modules())
    assert dir(jaxrecon) == jaxrecon.__all__


def test_no_module_hides_an_exported_name() -> None:
    """A module is an attribute of the package as soon as anything imports it."""
    assert {name for name in jaxrecon.__all__ if name in modules()} == {"datasets", "images"}


def test_import_costs_nothing() -> None:
    code = "import sys, jaxrecon; print({'jax', 'ase', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def exported() -> list[Public]:
    return [each for each in everything() if each.exported]


def test_every_exported_name_is_looked_at() -> None:
    """Otherwise the following tests would find nothing."""
    seen = {each.path for each in exported()}
    assert seen >= set(jaxrecon.__all__) - modules()
    assert seen >= {"Fingerprint.find", "load", "rmsd", "Result.continued"}
    assert len(everything()) > 400


def test_every_public_name_has_a_docstring() -> None:
    assert [str(each) for each in everything() if not each.text] == []


def test_arguments_are_those_that_there_are() -> None:
    """A section lists all arguments, and exported functions and methods have one."""
    wrong = {
        str(each): each.parameters
        for each in everything()
        if ("Args" in each.sections or (each.exported and each.parameters and not each.overrides))
        and each.sections.get("Args") != each.parameters
    }
    assert wrong == {}


def test_attributes_are_those_that_there_are() -> None:
    wrong = {
        str(each): missing
        for each in everything()
        if (missing := set(each.fields) - set(each.sections.get("Attributes", ())))
    }
    assert wrong == {}


def test_exported_functions_say_what_they_return() -> None:
    wrong = [
        str(each)
        for each in exported()
        if "." not in each.path
        and ast.unparse(getattr(each.node, "returns", None) or ast.Constant(None)) != "None"
        and "Returns" not in each.sections
    ]
    assert wrong == []


def test_what_is_raised_is_said() -> None:
    """Except for verbs of the command line, whose docstrings are the text of ``--help``."""
    wrong = {
        str(each): missing
        for each in everything()
        if not (each.module.startswith("jaxrecon.cli.") or each.is_property or each.overrides)
        if (missing := {name for name in each.raised - MISSING if not said(name, each)})
    }
    assert wrong == {}


def said(name: str, each: Public) -> bool:
    """Whether an exception, or a broader one, is among those that a docstring names."""
    named = [getattr(builtins, word, None) for word in each.sections.get("Raises", ())]
    known = [error for error in named if isinstance(error, type)]
    return issubclass(getattr(builtins, name), tuple(known))


def test_exported_names_have_an_example() -> None:
    """Their own, that of a method, or that of the function that makes them, if they name it."""
    with_one = [each for each in exported() if ">>>" in each.text]
    shown = {f"{each.module}.{each.path.partition('.')[0]}" for each in with_one}
    wrong = [
        str(each)
        for each in exported()
        if "." not in each.path and not shown & {str(each), *ROLE.findall(each.text)}
    ]
    assert wrong == []


def test_references_lead_somewhere() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        names = ROLE.findall(path.read_text())
        wrong += [f"{module.__name__}: {name}" for name in names if not leads(name, module)]
    assert wrong == []


def leads(name: str, module: ModuleType) -> bool:
    """Whether the name exists: from the top, in the module, or in one of its classes."""
    classes = [each for each in vars(module).values() if isinstance(each, type)]
    if any(has(place, name.split(".")) for place in (module, *classes)):
        return True
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            return has(importlib.import_module(".".join(parts[:length])), parts[length:])
    return False


def has(place: object, names: list[str]) -> bool:
    if not names:
        return True
    first, *rest = names
    if not rest and first in getattr(place, "__annotations__", ()):
        return True
    return hasattr(place, first) and has(getattr(place, first), rest)


def modules() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(jaxrecon.__path__)}
