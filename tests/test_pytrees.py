"""Dataclasses as pytrees."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

import jaxrecon
from jaxrecon.pytrees import register_dataclass


@register_dataclass
@dataclass(frozen=True)
class Sum:
    """Numbers, and a name that is part of the type."""

    left: Any
    right: Any
    name: str = field(default="sum", metadata={"static": True})


@register_dataclass
@dataclass(frozen=True)
class Heir(Sum):
    """A class with the same fields."""


def test_classes_with_the_same_fields_are_not_taken_for_one_another() -> None:
    trees = [jax.tree.structure(kind(1.0, 2.0)) for kind in (Sum, Heir)]
    assert trees[0] != trees[1]
    assert trees[0] == jax.tree.structure(Sum(3.0, 4.0))
    assert trees[0] != jax.tree.structure(Sum(1.0, 2.0, "other"))


def test_fields_come_back() -> None:
    value = Sum(1.0, {"part": 2.0}, "name")
    assert jax.tree.map(lambda leaf: 2.0 * leaf, value) == Sum(2.0, {"part": 4.0}, "name")
    found = jax.jit(lambda some: Heir(some.right, some.left, some.name))(Sum(1.0, 2.0, "other"))
    assert isinstance(found, Heir)
    assert (float(found.left), float(found.right), found.name) == (2.0, 1.0, "other")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(value)]
    assert paths == [".left", ".right['part']"]


def test_all_classes_of_the_package_are_registered_so() -> None:
    folder = Path(jaxrecon.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name != "pytrees.py":
            assert "tree_util.register_dataclass" not in path.read_text(), path
