"""Random starting positions."""

import jax
import jax.numpy as jnp
from ase.data import covalent_radii
from jaxtyping import Array, Float, Int, PRNGKeyArray

PACKING = 0.7
"""Volume of the covalent spheres over that of a compact cluster; 0.7 gives 15 Angstrom^3 for Pt."""

EDGE_RANGE = (0.75, 2.1)
"""Edges of the starting boxes of free structures, in units of the edge of the compact cluster."""


def radii(species: Int[Array, " n"], dtype: jnp.dtype) -> Float[Array, " n"]:
    """Covalent radii in Angstrom (Cordero et al., Dalton Trans. 2008, 2832)."""
    return jnp.asarray(covalent_radii, dtype)[species]


def compact_edge(species: Int[Array, " n"], dtype: jnp.dtype) -> Float[Array, ""]:
    """Edge in Angstrom of a cube that holds the atoms at the packing of a compact cluster."""
    volume = jnp.sum(4.0 / 3.0 * jnp.pi * radii(species, dtype) ** 3) / PACKING
    return jnp.cbrt(volume)


def random_positions(
    key: PRNGKeyArray, species: Int[Array, " n"], cell: Float[Array, "3 3"] | None, dtype: jnp.dtype
) -> Float[Array, "n 3"]:
    """Uniform positions in Angstrom: in the cell, or in a cube of random size for a free structure.

    The edge of the cube is drawn from ``EDGE_RANGE``, so that compact and dissociated starts both
    occur.
    """
    edge_key, position_key = jax.random.split(key)
    fractions = jax.random.uniform(position_key, (species.shape[0], 3), dtype)
    if cell is not None:
        return fractions @ cell
    low, high = EDGE_RANGE
    scale = jax.random.uniform(edge_key, (), dtype, low, high)
    return fractions * (scale * compact_edge(species, dtype))
