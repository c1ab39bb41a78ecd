"""Inversion: random starts and moves of crystals that preserve a centre of symmetry.

Three of four crystals have such a centre, every lattice has one, and it halves the number of
unknowns: a descent from a symmetric structure stays symmetric. The centre is at the origin.
Because the structure is periodic, there are seven more: halves of lattice vectors and of their
sums.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import product

ON_CENTERS = 0.08
"""Probability that two atoms of a pair lie on two centres instead of being each other's image."""

IMAGE_TOLERANCE = 0.05
"""Largest distance in Angstrom between an atom and the image of another that it counts as."""


def partners(species: Int[Array, " n"], atoms: Bool[Array, " n"]) -> Int[Array, " n"]:
    """Pair the atoms of each element: the first with the second, the third with the fourth, ...

    Args:
        species: atomic numbers.
        atoms: false for padding.

    Returns:
        The partner of each atom. The last one of an odd number is its own partner, as is padding.

    >>> species = jnp.array([8, 22, 8, 8, 0])
    >>> partners(species, species > 0).tolist()
    [2, 1, 0, 3, 4]
    """
    # Count the atoms of an element; flipping the last bit of a number gives that of the partner.
    same = (species[:, None] == species[None, :]) & atoms[:, None] & atoms[None, :]
    number = jnp.sum(jnp.tril(same, -1), axis=1)
    partner = same & (number[None, :] == (number ^ 1)[:, None])
    return jnp.where(partner.any(1), jnp.argmax(partner, axis=1), jnp.arange(len(species)))


def centrosymmetric(
    chances: Float[Array, "m 2"],
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"],
    partner: Int[Array, " n"],
) -> Float[Array, "n 3"]:
    """Change positions so that the inversion maps the structure onto itself.

    The first atom of every pair stays and the second becomes its image, or both lie on centres.
    Atoms without a partner lie on centres. The first eight atoms on centres are on different ones.

    Args:
        chances: uniform random numbers in [0, 1), at least n and at least 8 rows.
        positions: positions of all atoms, in Angstrom.
        cell: lattice vectors as rows, in Angstrom.
        partner: the partner of each atom, from :func:`partners`.

    Returns:
        The new positions, in Angstrom.
    """
    # Both atoms of a pair look at the random number of the first, so that they agree.
    index = jnp.arange(len(positions))
    first = jnp.minimum(index, partner)
    paired = jnp.where((index == first)[:, None], positions, -positions[first])
    on_center = (partner == index) | (chances[first, 0] < ON_CENTERS)
    # The eight centres in random order, dealt to the atoms that lie on centres.
    halves = (jnp.arange(8)[:, None] >> jnp.arange(3)[None, :]) & 1
    order = jnp.argsort(chances[:8, 1])
    halves = halves.astype(positions.dtype) / 2.0
    centers = product(halves[order[(jnp.cumsum(on_center) - 1) % 8]], cell)
    return jnp.where(on_center[:, None], centers, paired)


def images(
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"],
    partner: Int[Array, " n"],
    atoms: Bool[Array, " n"],
) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    """Find the atom onto which the inversion maps each atom.

    Args:
        positions: positions in Angstrom.
        cell: lattice vectors as rows, in Angstrom.
        partner: the partner of each atom, from :func:`partners`.
        atoms: false for padding.

    Returns:
        For each atom itself or its partner, whichever is nearer to its image; and whether all
        images are on atoms, within :data:`IMAGE_TOLERANCE`.
    """
    inverse = jnp.linalg.inv(cell)

    def squared_distance(other: Array) -> Array:
        # An atom is the image of another if the sum of their positions is a lattice vector.
        fractions = product(positions + positions[other], inverse)
        return jnp.sum(product(fractions - jnp.round(fractions), cell) ** 2, axis=-1)

    index = jnp.arange(len(positions))
    to_itself, to_partner = squared_distance(index), squared_distance(partner)
    image = jnp.where(to_itself < to_partner, index, partner)
    nearest = jnp.minimum(to_itself, to_partner)
    return image, jnp.all((nearest < IMAGE_TOLERANCE**2) | ~atoms)
