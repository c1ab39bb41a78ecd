"""Lanes: independent evaluations side by side along the last axis, where SIMD units want them.

``vmap`` puts a batch first, and loops over short axes are what is left to vectorise. A function of
arrays whose last axis counts lanes needs no batch axis at all: a batch is more lanes.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array

FEWEST = 64
"""Lanes that a block has at least: a few SIMD registers."""

INPUT_OF_BLOCK = 160_000
"""Bytes that go into a block at most; what is computed from them takes some 25 times the room."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def over_lanes(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function, which ``vmap`` makes wider instead of deeper.

    Args:
        function: of arrays, to arrays; the last axis of each is that of the lanes, which do not
            depend on each other.

    >>> import jax, jax.numpy as jnp
    >>> first = over_lanes(lambda x: x[0])
    >>> jax.vmap(first)(jnp.ones((5, 4, 1))).shape  # computed as x of shape (4, 5)
    (5, 1)
    """
    wide = custom_vmap(lambda *arrays: _in_blocks(function, arrays))

    @wide.def_vmap
    def widen(size: int, batched: list[bool], *arrays: Array) -> tuple[Result, object]:
        joined = [
            _joined(array if there else jnp.broadcast_to(array, (size, *array.shape)))
            for array, there in zip(arrays, batched, strict=True)
        ]
        result = jax.tree.map(lambda array: _parted(array, size), wide(*joined))
        return result, jax.tree.map(lambda _: True, result)

    # custom_vmap and differentiation do not mix: derivatives are those of the plain function.
    @jax.custom_jvp
    def called(*arrays: Array) -> Result:
        return wide(*arrays)

    @called.defjvp
    def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Result, Result]:
        return jax.jvp(function, primals, tangents)

    return called


def _in_blocks(function: Callable[..., Result], arrays: tuple[Array, ...]) -> Result:
    """All lanes at once; on a CPU one block after the other, so that each stays in its cache."""
    lanes = arrays[0].shape[-1]
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    block = max(FEWEST, INPUT_OF_BLOCK * lanes // max(size, 1))
    if jax.default_backend() != "cpu" or lanes <= block:
        return function(*arrays)
    count = -(-lanes // block)
    block = -(-lanes // count)

    def parted(array: Array) -> Array:
        spare = [(0, 0)] * (array.ndim - 1) + [(0, count * block - lanes)]
        return _parted(jnp.pad(array, spare), count)

    result = jax.lax.map(lambda part: function(*part), tuple(map(parted, arrays)))
    return jax.tree.map(lambda array: _joined(array)[..., :lanes], result)


def _joined(array: Array) -> Array:
    """The first axis becomes part of the lanes: its stride is the number of lanes there were."""
    array = jnp.moveaxis(array, 0, -2)
    return array.reshape(*array.shape[:-2], -1)


def _parted(array: Array, size: int) -> Array:
    return jnp.moveaxis(array.reshape(*array.shape[:-1], size, -1), -2, 0)
