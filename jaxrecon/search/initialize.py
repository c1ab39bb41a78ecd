"""Random starts: positions and cells, from uniform random numbers.

The functions take random numbers and not a key. All numbers of a hop are drawn in one call, because
XLA takes 0.1 s and more to compile each further one.
"""

import jax
import jax.numpy as jnp
from ase.data import covalent_radii
from jaxtyping import Array, Float, Int

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


def normal(chances: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Standard normal random numbers from uniform ones in [0, 1), one from each.

    They are finite: each stands for the middle of the interval that round-off gives it.
    """
    middle = 2.0 * chances - 1.0 + jnp.finfo(chances.dtype).eps
    return 2**0.5 * jax.scipy.special.erfinv(middle)


def compact_edge(radii: Float[Array, " n"]) -> Float[Array, ""]:
    """Edge in Angstrom of a cube with the volume of a compact cluster of atoms of these radii."""
    return jnp.cbrt(jnp.sum(4.0 / 3.0 * jnp.pi * radii**3) / PACKING)


def random_positions(
    chances: Float[Array, "m 3"], radii: Float[Array, " n"], cell: Float[Array, "3 3"] | None
) -> Float[Array, "n 3"]:
    """Uniform random positions: in the cell, or in a cube of random size for a free structure.

    The edge of the cube is drawn from :data:`EDGE_RANGE`, so that some starts are compact and
    others dissociated.

    Args:
        chances: uniform random numbers in [0, 1), in one row more than there are atoms.
        radii: covalent radii in Angstrom.
        cell: lattice vectors as rows in Angstrom; None for a free structure.

    Returns:
        Positions in Angstrom.
    """
    fractions = chances[:-1]
    if cell is not None:
        return product(fractions, cell)
    low, high = EDGE_RANGE
    return fractions * ((low + (high - low) * chances[-1, 0]) * compact_edge(radii))


def random_cell(chances: Float[Array, "4 3"], volume: Float[Array, ""]) -> Float[Array, "3 3"]:
    """A random right-handed cell of any shape that is not too flat.

    Every lattice has a basis in which the component of each vector along another one is at most
    half the length of that one. The shears are drawn from this range, the lengths from a log-normal
    distribution.

    Args:
        chances: uniform random numbers in [0, 1): three for the lengths, then a matrix for the
            shears and the volume.
        volume: expected volume in Angstrom^3; the volume is drawn from :data:`VOLUME_RANGE` around
            it.

    Returns:
        Lattice vectors as rows in Angstrom.
    """
    # A lower triangular matrix with positive diagonal: right-handed, with shears of up to 1/2.
    lengths = jnp.exp(ASPECT * normal(chances[0]))
    shears = jnp.tril(chances[1:] - 0.5, -1)
    cell = (jnp.eye(3, dtype=volume.dtype) + shears) * lengths[None, :]
    # The upper triangle of the random numbers is unused so far: one of them sets the volume.
    low, high = VOLUME_RANGE
    wanted = volume * (low + (high - low) * chances[1, 0])
    return cell * jnp.cbrt(wanted / jnp.prod(lengths))
