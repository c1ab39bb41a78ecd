"""Dataclasses as pytrees that JAX never takes for one another."""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

import jax

Class = TypeVar("Class", bound=type[Any])


def register_dataclass(cls: Class) -> Class:
    """Register a dataclass as a pytree; fields with the metadata ``static`` are part of its type.

    ``jax.tree_util.register_dataclass`` does the same, but the trees of two classes with as many
    fields and equal static ones compare equal there, although their hashes differ (jaxlib 0.10.1).
    A function under ``jax.jit`` then runs what it has compiled for the other class wherever a hash
    table happens to compare the two: rarely, and without a word.

    Args:
        cls: the dataclass; all of its fields are arguments of its constructor.

    Returns:
        The same class.

    >>> from dataclasses import dataclass
    >>> @register_dataclass
    ... @dataclass
    ... class First:
    ...     value: float
    >>> @register_dataclass
    ... @dataclass
    ... class Second:
    ...     value: float
    >>> jax.tree.structure(First(1.0)) == jax.tree.structure(Second(1.0))
    False
    """
    static = tuple(one.name for one in dataclasses.fields(cls) if one.metadata.get("static"))
    data = tuple(one.name for one in dataclasses.fields(cls) if one.name not in static)
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (
            tuple(getattr(value, name) for name in data),
            tuple(getattr(value, name) for name in static),
        )

    def flatten_with_keys(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, fixed = flatten(value)
        return tuple(zip(keys, children, strict=True)), fixed

    def unflatten(fixed: tuple[Any, ...], children: Iterable[Any]) -> Any:
        return cls(
            **dict(zip(data, children, strict=True)), **dict(zip(static, fixed, strict=True))
        )

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
