"""Inversion: starts and moves of crystals that keep a centre of symmetry.

Three of four crystals have one, every lattice has it, and it halves the unknowns: a descent from a
symmetric structure stays symmetric. The centre is the origin, and with it, as the structure
repeats, the seven halves of lattice vectors and their sums.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

SINGLES = 0.08
"""How often two atoms that could be images of each other lie on centres of their own instead."""

WITHIN = 0.05
"""Angstrom that an atom may be off the image of another."""


def partners(species: Int[Array, " n"], atoms: Bool[Array, " n"]) -> Int[Array, " n"]:
    """The atom that each is paired with: first and second of an element, third and fourth, ...

    The last of an odd number is its own partner, as is padding.

    Args:
        species: atomic numbers.
        atoms: false for padding.

    >>> species = jnp.array([8, 22, 8, 8, 0])
    >>> partners(species, species > 0).tolist()
    [2, 1, 0, 3, 4]
    """
    same = (species[:, None] == species[None, :]) & atoms[:, None] & atoms[None, :]
    place = jnp.sum(jnp.tril(same, -1), axis=1)
    other = same & (place[None, :] == (place ^ 1)[:, None])
    return jnp.where(other.any(1), jnp.argmax(other, axis=1), jnp.arange(len(species)))


def centred(
    chances: Float[Array, "m 2"],
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"],
    partner: Int[Array, " n"],
) -> Float[Array, "n 3"]:
    """Positions in Angstrom that the inversion maps onto themselves.

    Of every pair the first atom stays and the second becomes its image, or both lie on centres, as
    atoms without a partner do. The first eight of those lie on different ones.

    Args:
        chances: uniform numbers in [0, 1), at least n and at least 8 rows.
        positions: of all atoms, in Angstrom.
        cell: lattice vectors as rows, in Angstrom.
        partner: of each atom, from :func:`partners`.
    """
    place = jnp.arange(len(positions))
    first = jnp.minimum(place, partner)
    paired = jnp.where((place == first)[:, None], positions, -positions[first])
    alone = (partner == place) | (chances[first, 0] < SINGLES)
    halves = ((jnp.arange(8)[:, None] >> jnp.arange(3)[None, :]) & 1) / 2.0
    order = jnp.argsort(chances[:8, 1])
    centres = halves.astype(positions.dtype)[order[(jnp.cumsum(alone) - 1) % 8]] @ cell
    return jnp.where(alone[:, None], centres, paired)


def images(
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"],
    partner: Int[Array, " n"],
    atoms: Bool[Array, " n"],
) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    """Onto which atom the inversion maps each, itself or its partner; and whether it maps all.

    Args:
        positions: in Angstrom.
        cell: lattice vectors as rows, in Angstrom.
        partner: of each atom, from :func:`partners`.
        atoms: false for padding.
    """
    inverse = jnp.linalg.inv(cell)

    def gap(other: Array) -> Array:
        fractions = (positions + positions[other]) @ inverse
        return jnp.sum(((fractions - jnp.round(fractions)) @ cell) ** 2, axis=-1)

    place = jnp.arange(len(positions))
    alone, paired = gap(place), gap(partner)
    image = jnp.where(alone < paired, place, partner)
    return image, jnp.all((jnp.minimum(alone, paired) < WITHIN**2) | ~atoms)
