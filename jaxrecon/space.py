"""Geometry: from positions to the vectors that an atom sees, free or in the minimum image."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.structures import Structure


class Neighbors(NamedTuple):
    """The surroundings of every atom; row i belongs to central atom i.

    Attributes:
        vectors: displacements ``x[index[i, m]] - x[i]`` in Angstrom, shape ``(n, m, 3)``.
        species: atomic numbers of the neighbours, shape ``(n, m)``.
        mask: false for the atom itself and for padding, shape ``(n, m)``.
    """

    vectors: Float[Array, "n m 3"]
    species: Int[Array, "n m"]
    mask: Bool[Array, "n m"]


def displacement(
    cell: Float[Array, "3 3"] | None,
) -> Callable[[Float[Array, " 3"], Float[Array, " 3"]], Float[Array, " 3"]]:
    """The displacement function ``(a, b) -> a - b`` of jax-md for a space, in Angstrom.

    With a cell it wraps the fractional difference into [-1/2, 1/2), the minimum-image convention
    of Fung et al., arXiv 2207.13227. It sees one image of each atom: in a cell narrower than twice
    the cutoff this is a convention, not the crystal.

    Args:
        cell: lattice vectors as rows in Angstrom, or None for free space.
    """
    # jax_md imports pymatgen and more: seconds that `import jaxrecon` must not cost.
    from jax_md import space

    if cell is None:
        return space.free()[0]
    return space.periodic_general(cell.T, fractional_coordinates=False)[0]


def neighbors(structure: Structure) -> Neighbors:
    """Every atom's view of all others, shapes ``(n, n, ...)``, the atom itself masked out."""
    from jax_md.space import map_product

    positions, mask = structure.positions, structure.mask
    n = positions.shape[0]
    # map_product gives out[i, j] = displacement(positions[j], positions[i]).
    vectors = map_product(displacement(structure.cell))(positions, positions)
    others = mask[:, None] & mask[None, :] & ~jnp.eye(n, dtype=bool)
    return Neighbors(vectors, jnp.broadcast_to(structure.species[None, :], (n, n)), others)
