"""Symmetry functions of one channel over lanes: rows, their pull-back, slopes of single entries.

One element, or functions weighted by atomic numbers, leave no matrix products worth the name, but
long loops over (atoms x structures), which is what the lanes are.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors import radial, triplets
from jaxrecon.descriptors.angular import Angular
from jaxrecon.descriptors.radial import Radial
from jaxrecon.descriptors.surroundings import Surroundings, surroundings
from jaxrecon.lanes import over_lanes

MOST_NEIGHBORS = 48
"""With more, the matrix products of :mod:`~jaxrecon.descriptors.angular` are faster."""

BLOCK = 16
"""At most so many functions are turned from vectors to positions in one go."""


class OneChannel(NamedTuple):
    """Parameters of the functions of one channel: hashable.

    Attributes:
        radial: the two-body functions.
        angular: the three-body functions.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
    """

    radial: Radial
    angular: tuple[Angular, ...]
    cutoff: str
    r_cut: float


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rows(
    functions: OneChannel, vectors: Float[Array, "m 3 lanes"], channel: Float[Array, "m lanes"]
) -> Float[Array, "f lanes"]:
    """Every function, without a unit; the pull-back is a closed form.

    Args:
        functions: their parameters.
        vectors: from the atoms to their neighbours in Angstrom.
        channel: how much each neighbour counts; 0 for none.
    """
    return over_lanes(partial(_rows, functions))(vectors, channel)


def _forward(
    functions: OneChannel, vectors: Array, channel: Array
) -> tuple[Array, tuple[Array, Array]]:
    # Not by the function itself: forward mode over this reverse mode gives second derivatives.
    return over_lanes(partial(_rows, functions))(vectors, channel), (vectors, channel)


def _backward(
    functions: OneChannel, kept: tuple[Array, Array], share: Array
) -> tuple[Array, Array]:
    vectors, channel = kept
    moved = over_lanes(partial(_pullback, functions))(vectors, channel, share)
    return moved, jnp.zeros_like(channel)


rows.defvjp(_forward, _backward)


def slopes_of(
    functions: OneChannel,
    vectors: Float[Array, "n 3 n lanes"],
    channel: Float[Array, "n n lanes"],
    atom: Int[Array, "f lanes"],
) -> Float[Array, "f x lanes"]:
    """Derivatives of function f of one atom by the positions of all, in 1/Angstrom.

    Args:
        functions: their parameters.
        vectors: from each atom of a structure to all atoms in Angstrom; lanes are structures.
        channel: how much each neighbour counts.
        atom: whose function f; nobody's, and all derivatives 0, if there is no such atom.
    """
    return over_lanes(partial(_slopes_of, functions))(vectors, channel, atom)


def _see(functions: OneChannel, vectors: Array, channel: Array) -> Surroundings:
    cutoff, r_cut = functions.cutoff, functions.r_cut
    return surroundings(vectors, channel[:, None], cutoff=cutoff, r_cut=r_cut)


def _rows(functions: OneChannel, vectors: Array, channel: Array) -> Array:
    s = _see(functions, vectors, channel)
    parts = [radial.values_by_lanes(functions.radial, s)]
    parts += [triplets.values(kind, s) for kind in functions.angular]
    return jnp.concatenate(parts)


def _pullback(functions: OneChannel, vectors: Array, channel: Array, share: Array) -> Array:
    s = _see(functions, vectors, channel)
    sizes = [functions.radial.size, *(kind.size for kind in functions.angular)]
    shares = _split(share, sizes)
    moved = radial.pullback(functions.radial, s, shares[0])[:, None] * s.direction
    for kind, part in zip(functions.angular, shares[1:], strict=True):
        moved += triplets.pullback(kind, s, part)
    return moved


def _slopes_of(functions: OneChannel, vectors: Array, channel: Array, atom: Array) -> Array:
    def see(neighbor: tuple[Array, Array]) -> Surroundings:
        return jax.tree.map(lambda part: part[0], _see(functions, *(x[None] for x in neighbor)))

    # In a loop: XLA would compute it anew for every function and atom that asks.
    s = jax.lax.map(see, (vectors, channel))
    sizes = [functions.radial.size, *(kind.size for kind in functions.angular)]
    seen = [_chosen(s, part) for part in _split(atom, sizes)]
    slopes = [radial.slopes_each(functions.radial, seen[0])[:, None] * seen[0].direction]
    slopes += map(triplets.slopes_each, functions.angular, seen[1:])
    return _by_positions(jnp.concatenate(slopes, axis=2), atom)


def _by_positions(slopes: Float[Array, "n 3 f lanes"], atom: Int[Array, "f lanes"]) -> Array:
    """Derivatives by the positions, ``(f, 3 n, lanes)``, from those by the vectors to all atoms."""
    n, _, features, lanes = slopes.shape
    total, _ = jax.lax.scan(
        lambda sums, slope: (sums + slope, None), jnp.zeros_like(slopes[0]), slopes
    )
    block = max(size for size in range(1, BLOCK + 1) if features % size == 0)

    def move(start: Array) -> Array:
        part, sums, mine = (
            jax.lax.dynamic_slice_in_dim(array, start, block, axis=array.ndim - 2)
            for array in (slopes, total, atom)
        )
        starts = mine[None, None] == jnp.arange(n)[:, None, None, None]
        # A vector ends at the neighbour and starts at the atom: moving the atom turns the sign.
        moved = part - jnp.where(starts, sums[None], 0.0)
        return jnp.moveaxis(moved, 2, 0)

    # In blocks of functions: their order and that of the positions are exchanged on the way.
    return jax.lax.map(move, jnp.arange(0, features, block)).reshape(features, 3 * n, lanes)


def _chosen(s: Surroundings, atom: Int[Array, "f lanes"]) -> Surroundings:
    """What the atom of each function sees: lanes ``(f, lanes)`` from lanes ``(n, lanes)``."""

    def of(part: Array) -> Array:
        # A chain of selections: a gather of single numbers takes longer for up to some 40 atoms.
        result = jnp.zeros((*part.shape[:-2], *atom.shape), part.dtype)
        for i in range(part.shape[-2]):
            result = jnp.where(atom == i, part[..., i, None, :], result)
        return result

    return jax.tree.map(of, s)


def _split(array: Array, sizes: list[int]) -> list[Array]:
    return jnp.split(array, [sum(sizes[:count]) for count in range(1, len(sizes))])
