"""Derivatives of single entries of the rows by the positions: of those that win a pooling.

A largest and a smallest value take one row an entry, two of all atoms: the derivatives of the
others need not be there. Lanes are structures and poolings, and every function of every lane has
an atom of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.acsf import radial, triplets
from jaxrecon.descriptors.acsf.angular import pairs_of
from jaxrecon.descriptors.acsf.one_channel import Functions
from jaxrecon.descriptors.environment import Environment
from jaxrecon.lanes import over_lanes

BLOCK = 16
"""At most so many functions are turned from vectors to positions in one go."""


def selected_jacobian(
    functions: Functions,
    vectors: Float[Array, "n 3 n lanes"],
    there: Float[Array, "n n lanes"],
    channel: Float[Array, "n s lanes"],
    atom: Int[Array, "p f lanes"],
) -> Float[Array, "pf x lanes"]:
    """Derivatives of function f of some atoms by the ``x = 3 n`` coordinates, in 1/Angstrom.

    Args:
        functions: their parameters.
        vectors: to all atoms (first axis) from all atoms (third axis) in Angstrom.
        there: 1 where the first is a neighbour of the second, 0 for itself and for padding.
        channel: how much each atom counts in each channel as a neighbour.
        atom: whose functions; nobody's, and the derivatives 0, if there is no such atom.
    """
    return over_lanes(partial(_selected_jacobian, functions))(vectors, there, channel, atom)


def _selected_jacobian(
    functions: Functions, vectors: Array, there: Array, channel: Array, atom: Array
) -> Array:
    def see(neighbor: tuple[Array, Array]) -> Environment:
        vector, mask = neighbor
        seen = functions.see(vector[None], mask[None, None])
        return jax.tree.map(lambda part: part[0], seen)

    count = len(atom)
    atom = jnp.moveaxis(atom, 0, 1).reshape(atom.shape[1], -1)
    vectors, there, channel = (jnp.tile(part, count) for part in (vectors, there, channel))
    # In a loop: XLA would compute it anew for every function and atom that asks.
    s = jax.lax.map(see, (vectors, there))
    lanes, channels = atom.shape[1], jnp.moveaxis(channel, 1, 0)
    alone, together = jnp.split(atom, [len(channels) * functions.radial.size])

    def of_channel(given: tuple[Array, Array]) -> Array:
        atom, weight = given
        seen = _chosen(s, atom)
        derivatives = radial.derivatives_each(functions.radial, seen) * weight[:, None]
        return derivatives[:, None] * seen.direction

    def of_pair(given: tuple[Array, Array, Array]) -> Array:
        atom, first, second = given
        parts, start = [], 0
        for kind in functions.angular:
            seen = _chosen(s, atom[start : start + kind.size])
            parts.append(triplets.derivatives_each(kind, seen, first, second))
            start += kind.size
        return jnp.concatenate(parts, axis=2)

    derivatives = []
    if len(alone):
        blocks = alone.reshape(len(channels), -1, lanes)
        derivatives.append(_each(of_channel, (blocks, channels)))
    if len(together):
        first, second = np.asarray(pairs_of(len(channels))).T
        # A pair of two elements counts twice in the sum over both, once as it is and once turned.
        half = jnp.where(first == second, 0.5, 1.0).astype(channel.dtype)[:, None, None]
        blocks = together.reshape(len(first), -1, lanes)
        derivatives.append(_each(of_pair, (blocks, half * channels[first], channels[second])))
    return _by_positions(jnp.concatenate(derivatives, axis=2), atom, count)


def _each(one: Callable[[Any], Array], given: tuple[Array, ...]) -> Float[Array, "n 3 f lanes"]:
    """One block of functions after the other, side by side."""
    if len(given[0]) == 1:
        return one(jax.tree.map(lambda part: part[0], given))
    blocks = jnp.moveaxis(jax.lax.map(one, given), 0, 2)
    return blocks.reshape(*blocks.shape[:2], -1, blocks.shape[-1])


def _by_positions(
    derivatives: Float[Array, "n 3 f wide"], atom: Int[Array, "f wide"], count: int
) -> Float[Array, "pf x lanes"]:
    """Derivatives by the positions from those by the vectors to all atoms."""
    n, _, features, lanes = derivatives.shape
    lanes //= count
    nothing = jnp.zeros_like(derivatives[0])
    total, _ = jax.lax.scan(lambda sums, slope: (sums + slope, None), nothing, derivatives)
    block = max(size for size in range(1, BLOCK + 1) if features % size == 0)

    def move(start: Array) -> Array:
        def part(array: Array) -> Array:
            array = jax.lax.dynamic_slice_in_dim(array, start % features, block, axis=-2)
            return jax.lax.dynamic_slice_in_dim(array, start // features * lanes, lanes, axis=-1)

        starts = part(atom)[None, None] == jnp.arange(n)[:, None, None, None]
        # A vector ends at the neighbour and starts at the atom: moving the atom turns the sign.
        moved = part(derivatives) - jnp.where(starts, part(total)[None], 0.0)
        return jnp.moveaxis(moved, 2, 0)

    # In blocks of functions: their order and that of the positions are exchanged on the way.
    moved = jax.lax.map(move, jnp.arange(0, count * features, block))
    return moved.reshape(count * features, 3 * n, lanes)


def _chosen(s: Environment, atom: Int[Array, "f lanes"]) -> Environment:
    """What the atom of each function sees: lanes ``(f, lanes)`` from lanes ``(n, lanes)``."""

    def of(part: Array) -> Array:
        # A chain of selections: a gather of single numbers takes longer for up to some 40 atoms.
        result = jnp.zeros((*part.shape[:-2], *atom.shape), part.dtype)
        for i in range(part.shape[-2]):
            result = jnp.where(atom == i, part[..., i, None, :], result)
        return result

    return jax.tree.map(of, s)
