"""Lanes: independent evaluations side by side along the last axis, as SIMD units want them.

``vmap`` puts the batch axis first, which leaves only short inner loops to vectorise. A function
whose arrays have lanes as their last axis needs no batch axis: a larger batch is more lanes.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array

FEWEST = 64
"""Smallest number of lanes in a block: a few SIMD registers."""

INPUT_OF_BLOCK = 160_000
"""Largest size of the input of one block, in bytes.

What is computed from it takes about 25 times as much memory.
"""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def over_lanes(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make ``vmap`` widen a function by lanes instead of adding a batch axis in front.

    Args:
        function: a function of arrays whose last axis counts lanes, and whose lanes do not depend
            on each other.

    Returns:
        The same function, for the same arguments. Under ``vmap`` the batch becomes more lanes.

    >>> import jax, jax.numpy as jnp
    >>> first = over_lanes(lambda x: x[0])
    >>> jax.vmap(first)(jnp.ones((5, 4, 1))).shape  # computed as x of shape (4, 5)
    (5, 1)
    """
    wide = custom_vmap(lambda *arrays: _in_blocks(function, arrays))

    @wide.def_vmap
    def widen(size: int, batched: list[bool], *arrays: Array) -> tuple[Result, object]:
        joined = [
            join_lanes(array if is_batched else jnp.broadcast_to(array, (size, *array.shape)))
            for array, is_batched in zip(arrays, batched, strict=True)
        ]
        result = jax.tree.map(lambda array: split_lanes(array, size), wide(*joined))
        return result, jax.tree.map(lambda _: True, result)

    # custom_vmap can't be differentiated: the derivatives are those of the plain function.
    @jax.custom_jvp
    def called(*arrays: Array) -> Result:
        return wide(*arrays)

    @called.defjvp
    def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Result, Result]:
        return jax.jvp(function, primals, tangents)

    return called


def _in_blocks(function: Callable[..., Result], arrays: tuple[Array, ...]) -> Result:
    """Compute all lanes at once; on a CPU block after block, so that each fits into the cache."""
    # Choose the number of lanes in a block from the size of the input.
    lanes = arrays[0].shape[-1]
    size = sum(array.size * array.dtype.itemsize for array in arrays)
    block = max(FEWEST, INPUT_OF_BLOCK * lanes // max(size, 1))
    if jax.default_backend() != "cpu" or lanes <= block:
        return function(*arrays)
    # Make the blocks equally large, so that as few lanes as possible are padding.
    count = -(-lanes // block)
    block = -(-lanes // count)

    def split(array: Array) -> Array:
        padding = [(0, 0)] * (array.ndim - 1) + [(0, count * block - lanes)]
        return split_lanes(jnp.pad(array, padding), count)

    result = jax.lax.map(lambda part: function(*part), tuple(map(split, arrays)))
    return jax.tree.map(lambda array: join_lanes(array)[..., :lanes], result)


def join_lanes(array: Array) -> Array:
    """Make the first axis part of the lanes, with the number of lanes before as its stride."""
    array = jnp.moveaxis(array, 0, -2)
    return array.reshape(*array.shape[:-2], -1)


def split_lanes(array: Array, size: int) -> Array:
    """Make a first axis of this size out of the lanes: the inverse of :func:`join_lanes`."""
    return jnp.moveaxis(array.reshape(*array.shape[:-1], size, -1), -2, 0)
