"""Blocks: a function of one atom applied to all atoms, as many at once as a cache holds."""

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
    function: Callable[[tuple[Array, ...]], Rows],
    atoms: tuple[Shaped[Array, "n ..."], ...],
    numbers: int = 1,
) -> Rows:
    """Apply a function to all atoms, with many atoms or numbers for one block after the other.

    A block is computed again for its derivatives, instead of holding what all blocks need for these
    in memory.

    Args:
        function: a function of one atom.
        atoms: its arguments for all atoms.
        numbers: how many numbers it returns for an atom, about.

    Returns:
        The results of all atoms.
    """
    block = max(1, min(BLOCK, NUMBERS // max(numbers, 1)))
    n = len(atoms[0])
    if n <= block:
        return jax.vmap(function)(atoms)
    # Blocks of one size need one program, a smaller last block a second one.
    even = max(size for size in range(1, block + 1) if n % size == 0)
    block = even if 2 * even > block else block
    return jax.lax.map(jax.checkpoint(function), atoms, batch_size=block)
