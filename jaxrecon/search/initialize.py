"""Random starts: positions and cells."""

import math

import jax
import jax.numpy as jnp
from ase.data import covalent_radii
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.structures.packing import PACKING

EDGE_RANGE = (0.75, 2.1)
"""Edges of the starting boxes of free structures, in units of the edge of the compact cluster."""

ASPECT = 0.4
"""Spread of the logarithms of the lengths of a random cell's vectors."""

VOLUME_RANGE = (0.85, 1.5)
"""Volumes of random cells, in units of the one that is expected."""


def radii(species: Int[Array, " n"], dtype: jnp.dtype) -> Float[Array, " n"]:
    """Covalent radii in Angstrom (Cordero et al., Dalton Trans. 2008, 2832)."""
    return jnp.asarray(covalent_radii, dtype)[species]


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "..."]:
    """Uniform numbers in [0, 1), drawn in one row, which XLA compiles several times faster."""
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)


def compact_edge(radii: Float[Array, " n"]) -> Float[Array, ""]:
    """Edge in Angstrom of a cube that holds atoms of these radii as a compact cluster does."""
    return jnp.cbrt(jnp.sum(4.0 / 3.0 * jnp.pi * radii**3) / PACKING)


def random_positions(
    key: PRNGKeyArray, radii: Float[Array, " n"], cell: Float[Array, "3 3"] | None
) -> Float[Array, "n 3"]:
    """Uniform positions in Angstrom: in the cell, or in a cube of random size for a free structure.

    The edge of the cube is drawn from ``EDGE_RANGE``, so that compact and dissociated starts both
    occur.
    """
    chances = uniform(key, (len(radii) + 1, 3), radii.dtype)
    fractions = chances[:-1]
    if cell is not None:
        return fractions @ cell
    low, high = EDGE_RANGE
    return fractions * ((low + (high - low) * chances[-1, 0]) * compact_edge(radii))


def random_cell(key: PRNGKeyArray, volume: Float[Array, ""]) -> Float[Array, "3 3"]:
    """Lattice vectors as rows in Angstrom, right-handed: any shape that is not too flat.

    Every lattice has a basis in which no vector's part along another is over half of that one's
    length: the shears are drawn from there, and the lengths log-normal.

    Args:
        key: of the random numbers.
        volume: in Angstrom^3, about: it is drawn from ``VOLUME_RANGE`` around it.
    """
    length_key, key = jax.random.split(key)
    dtype = volume.dtype
    lengths = jnp.exp(ASPECT * jax.random.normal(length_key, (3,), dtype))
    chances = uniform(key, (3, 3), dtype)
    cell = (jnp.eye(3, dtype=dtype) + jnp.tril(chances - 0.5, -1)) * lengths[None, :]
    low, high = VOLUME_RANGE
    wanted = volume * (low + (high - low) * chances[0, 0])
    return cell * jnp.cbrt(wanted / jnp.prod(lengths))
