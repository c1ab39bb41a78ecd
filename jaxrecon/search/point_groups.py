"""Inversion: free structures that start with a point group, and descents that keep it.

Compact clusters and small molecules often are symmetric. The groups here have an axis of order k
along z and mostly a second generator: a structure with a larger group is found through one of these
subgroups. Of g operations, a g-th of the unknowns is left. Round-off would break the symmetry
within ten steps, as directions that break it have no curvature to hold them: so steps are averaged
over the operations.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import einsum

ORDERS = (1, 2, 3, 4, 5, 6)
"""Orders k of the axis."""

SECOND = {
    "none": ((1, 1, 1), (1, 1, 1)),
    "rotation": ((1, -1, -1), (1, 0, 0)),
    "vertical plane": ((1, -1, 1), (1, 0, 1)),
    "horizontal plane": ((1, 1, -1), (1, 1, 0)),
    "inversion": ((-1, -1, -1), (0, 0, 0)),
}
"""The second generator: its diagonal, and which coordinates a position that it keeps may have.

They make the groups Ck, Dk, Ckv, Ckh and, for odd k, S2k.
"""

SPLIT = 0.2
"""Probability that 2 k atoms are two rings of k on such positions in place of one orbit."""

HELD = 1e-3
"""Largest distance in Angstrom between an image and its atom in a structure that has a group."""


class Group(NamedTuple):
    """A point group about the origin, as numbers that a compiled program can draw.

    Attributes:
        order: the order k of the axis.
        second: the diagonal of the second generator; ones for none.
        kept: 1 for the coordinates that a position which that generator keeps may have, 0 for the
            others.
    """

    order: Int[Array, ""]
    second: Float[Array, "3"]
    kept: Float[Array, "3"]


def drawn(chance: Float[Array, ""], share: float) -> Group:
    """Draw a group.

    Args:
        chance: uniform random number in [0, 1).
        share: probability of any group but the trivial one; these are equally probable.
    """
    groups = [(k, *generator) for k in ORDERS for generator in SECOND.values()]
    orders, second, kept = (np.array(column) for column in zip(*groups, strict=True))
    within = 1 + jnp.floor(chance / max(share, 1e-9) * (len(groups) - 1)).astype(int)
    index = jnp.where(chance < share, jnp.minimum(within, len(groups) - 1), 0)
    dtype = chance.dtype
    return Group(
        jnp.asarray(orders)[index],
        jnp.asarray(second, dtype)[index],
        jnp.asarray(kept, dtype)[index],
    )


def symmetric(
    chances: Float[Array, "n 2"],
    positions: Float[Array, "n 3"],
    species: Int[Array, " n"],
    atoms: Bool[Array, " n"],
    group: Group,
) -> Float[Array, "n 3"]:
    """Change positions so that a group maps the structure onto itself.

    The atoms of each element are dealt into orbits, whose first atoms stay. Those that are left
    over make a ring of k atoms that the second generator keeps, if there are enough, or go to the
    axis, in pairs if that generator turns it around and the last one to the origin. Where several
    elements have a last one, the result does not have the group.

    Args:
        chances: uniform random numbers in [0, 1).
        positions: positions of all atoms around the origin, in Angstrom.
        species: atomic numbers.
        atoms: false for padding.
        group: the group; with the trivial one nothing changes.

    Returns:
        The new positions in Angstrom.
    """
    k = group.order
    both = jnp.any(group.second != 1.0)
    size, turned = jnp.where(both, 2 * k, k), group.second[2] < 0.0
    ring_exists = both & jnp.any(group.kept != 0.0)
    # The place of each atom among those of its element, in its orbit, and past all whole orbits.
    same = (species[:, None] == species[None, :]) & atoms[:, None] & atoms[None, :]
    place, count = jnp.sum(jnp.tril(same, -1), axis=1), jnp.sum(same, axis=1)
    rest = count % size
    past = place - (count - rest)

    def earlier(back: Array) -> Array:
        """The index of the atom of the same element so many places before each."""
        return jnp.argmax(same & (place[None, :] == (place - back)[:, None]), axis=1)

    # Three kinds of places: in a ring, on the axis, and in a whole orbit.
    in_orbit = place % size
    split = chances[earlier(in_orbit), 0] < SPLIT
    left_ring = ring_exists & (rest >= k)
    in_ring = ring_exists & jnp.where(past < 0, split, left_ring & (past < k))
    on_axis = (past >= 0) & ~in_ring
    along = past - jnp.where(left_ring, k, 0)
    second_of_pair = turned & (along % 2 == 1)
    # Each atom is the image of the first one of its orbit, ring or pair.
    back = jnp.where(in_ring, place % k, in_orbit)
    origin = earlier(jnp.where(on_axis, second_of_pair.astype(back.dtype), back))
    start = positions[origin]
    # Positions on the axis: the second of a pair opposite to the first, a single one at the origin.
    single = on_axis & turned & (along % 2 == 0) & (place == count - 1)
    single &= jnp.cumsum(single) == 1
    height = jnp.where(single, 0.0, jnp.where(second_of_pair, -start[:, 2], start[:, 2]))
    axis = jnp.zeros_like(start).at[:, 2].set(height)
    # The others: by the second generator, or kept by it, and then around the axis. Rings of even k
    # that a rotation or plane keeps are on it or half a step beside it.
    reflected = jnp.where((in_orbit >= k)[:, None], start * group.second[None], start)
    flat = jnp.where(in_ring[:, None], start * group.kept[None], reflected)
    half_step = in_ring & (chances[origin, 1] < 0.5)
    dtype = start.dtype
    steps = (place % k).astype(dtype) + 0.5 * half_step.astype(dtype)
    around = einsum("nxy,ny->nx", _about_axis(steps / k.astype(dtype)), flat)
    moved = jnp.where(on_axis[:, None], axis, around)
    return jnp.where(atoms[:, None], moved, positions)


def keeping(
    group: Group,
    positions: Float[Array, "n 3"],
    species: Int[Array, " n"],
    atoms: Bool[Array, " n"],
) -> Callable[[Float[Array, "n 3"]], Float[Array, "n 3"]]:
    """The function that averages a step over the operations of a group.

    Args:
        group: the group.
        positions: positions in Angstrom.
        species: atomic numbers.
        atoms: false for padding.

    Returns:
        A function of steps in Angstrom. It changes nothing if the structure does not have the group
        within :data:`HELD`.
    """
    # All powers of the axis, times 1 and the second generator; those too many have no weight.
    k = group.order.astype(positions.dtype)
    powers = jnp.arange(max(ORDERS), dtype=positions.dtype)
    turns = _about_axis(powers / k)
    matrices = jnp.concatenate([turns, turns * group.second[None, None, :]])
    weights = jnp.tile((powers < k).astype(positions.dtype) / (2.0 * k), 2)
    # The atom that each operation takes to the place of each atom.
    images = einsum("hxy,ny->hnx", matrices, positions)
    squares = jnp.sum((images[:, :, None] - positions[None, None]) ** 2, axis=-1)
    alike = (species[:, None] == species[None, :]) & atoms[:, None] & atoms[None, :]
    squares = jnp.where(alike[None], squares, jnp.inf)
    sources = jnp.argmin(squares, axis=1)
    held = (jnp.min(squares, axis=1) < HELD**2) | ~atoms[None] | (weights == 0.0)[:, None]

    def averaged(step: Array) -> Array:
        mean = einsum("h,hxy,hny->nx", weights, matrices, step[sources])
        return jnp.where(jnp.all(held) & atoms[:, None], mean, step)

    return averaged


def _about_axis(turns: Float[Array, " m"]) -> Float[Array, "m 3 3"]:
    """Rotations about z by so many whole turns."""
    cos, sin = jnp.cos(2.0 * jnp.pi * turns), jnp.sin(2.0 * jnp.pi * turns)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return jnp.moveaxis(jnp.asarray(rows), -1, 0)
