"""Random starts: positions and cells."""

import math

import jax
import jax.numpy as jnp
from ase.data import covalent_radii
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.numerics import product
from jaxrecon.structures.packing import PACKING

EDGE_RANGE = (0.75, 2.1)
"""Smallest and largest edge of the cubes in which free structures start.

The unit is the edge of :func:`compact_edge`.
"""

ASPECT = 0.4
"""Standard deviation of the logarithms of the lengths of the vectors of a random cell."""

VOLUME_RANGE = (0.85, 1.5)
"""Smallest and largest volume of a random cell, in units of the expected volume."""


def radii(species: Int[Array, " n"], dtype: jnp.dtype) -> Float[Array, " n"]:
    """Covalent radii in Angstrom (Cordero et al., Dalton Trans. 2008, 2832)."""
    return jnp.asarray(covalent_radii, dtype)[species]


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "..."]:
    """Uniform random numbers in [0, 1).

    They are drawn as one vector and reshaped, which XLA compiles several times faster than a draw
    of several axes.
    """
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)


def compact_edge(radii: Float[Array, " n"]) -> Float[Array, ""]:
    """Edge in Angstrom of a cube with the volume of a compact cluster of atoms of these radii."""
    return jnp.cbrt(jnp.sum(4.0 / 3.0 * jnp.pi * radii**3) / PACKING)


def random_positions(
    key: PRNGKeyArray, radii: Float[Array, " n"], cell: Float[Array, "3 3"] | None
) -> Float[Array, "n 3"]:
    """Uniform random positions: in the cell, or in a cube of random size for a free structure.

    The edge of the cube is drawn from :data:`EDGE_RANGE`, so that some starts are compact and
    others dissociated.

    Args:
        key: random key.
        radii: covalent radii in Angstrom.
        cell: lattice vectors as rows in Angstrom; None for a free structure.

    Returns:
        Positions in Angstrom.
    """
    chances = uniform(key, (len(radii) + 1, 3), radii.dtype)
    fractions = chances[:-1]
    if cell is not None:
        return product(fractions, cell)
    low, high = EDGE_RANGE
    return fractions * ((low + (high - low) * chances[-1, 0]) * compact_edge(radii))


def random_cell(key: PRNGKeyArray, volume: Float[Array, ""]) -> Float[Array, "3 3"]:
    """A random right-handed cell of any shape that is not too flat.

    Every lattice has a basis in which the component of each vector along another one is at most
    half the length of that one. The shears are drawn from this range, the lengths from a log-normal
    distribution.

    Args:
        key: random key.
        volume: expected volume in Angstrom^3; the volume is drawn from :data:`VOLUME_RANGE` around
            it.

    Returns:
        Lattice vectors as rows in Angstrom.
    """
    length_key, key = jax.random.split(key)
    dtype = volume.dtype
    # A lower triangular matrix with positive diagonal: right-handed, with shears of up to 1/2.
    lengths = jnp.exp(ASPECT * jax.random.normal(length_key, (3,), dtype))
    chances = uniform(key, (3, 3), dtype)
    cell = (jnp.eye(3, dtype=dtype) + jnp.tril(chances - 0.5, -1)) * lengths[None, :]
    # The upper triangle of the random numbers is unused so far: one of them sets the volume.
    low, high = VOLUME_RANGE
    wanted = volume * (low + (high - low) * chances[0, 0])
    return cell * jnp.cbrt(wanted / jnp.prod(lengths))
