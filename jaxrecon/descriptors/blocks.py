"""Blocks: a function of one atom applied to all atoms, as many at once as a cache holds."""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import Array, Shaped

BLOCK = 64
"""Largest number of atoms that are computed at once, which limits the memory needed."""

NUMBERS = 2**16
"""Largest number of numbers in the results of a block of several atoms: they fit into a cache."""

Rows = TypeVar("Rows")


def in_blocks(
    function: Callable[[tuple[Array, ...]], Rows], atoms: tuple[Shaped[Array, "n ..."], ...]
) -> Rows:
    """Apply a function to all atoms, with many atoms or numbers for one block after the other.

    A block is computed again for its derivatives, instead of holding what all blocks need for these
    in memory.

    Args:
        function: a function of one atom.
        atoms: its arguments for all atoms.

    Returns:
        The results of all atoms.
    """
    results = jax.eval_shape(function, jax.tree.map(lambda array: array[0], atoms))
    numbers = sum(math.prod(result.shape) for result in jax.tree.leaves(results))
    block = max(1, min(BLOCK, NUMBERS // max(numbers, 1)))
    if len(atoms[0]) <= block:
        return jax.vmap(function)(atoms)
    return jax.lax.map(jax.checkpoint(function), atoms, batch_size=block)
