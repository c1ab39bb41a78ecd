"""Derivatives of selected entries of the rows by the positions.

The largest and the smallest value of a feature are entries of the rows of one or two atoms. Their
derivatives need no derivatives of the other entries. Here every function has an atom of its own in
each lane; lanes are structures, and poolings of these.
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
"""Largest number of functions whose derivatives are turned to those by positions at once."""


def selected_jacobian(
    functions: Functions,
    vectors: Float[Array, "n 3 n lanes"],
    present: Float[Array, "n n lanes"],
    channel: Float[Array, "n s lanes"],
    atom: Int[Array, "p f lanes"],
) -> Float[Array, "pf x lanes"]:
    """Compute the derivatives of each function of a selected atom by all positions.

    Args:
        functions: the functions of each channel and pair of channels.
        vectors: vectors in Angstrom, to all atoms (first axis) from all atoms (third axis).
        present: 1 where the first atom is a neighbour of the second, 0 for an atom itself and for
            padding.
        channel: weight of each atom in each channel as a neighbour.
        atom: index of the atom that is selected for each function, p times. The derivatives are 0
            if there is no atom with this index.

    Returns:
        The derivatives by the ``x = 3 n`` coordinates in 1/Angstrom.
    """
    return over_lanes(partial(_selected_jacobian, functions))(vectors, present, channel, atom)


def _selected_jacobian(
    functions: Functions, vectors: Array, present: Array, channel: Array, atom: Array
) -> Array:
    """Compute :func:`selected_jacobian` in all lanes."""
    # Make the p selections lanes too: they need the same environments.
    count = len(atom)
    atom = jnp.moveaxis(atom, 0, 1).reshape(atom.shape[1], -1)
    vectors, present, channel = (jnp.tile(part, count) for part in (vectors, present, channel))

    def of_neighbor(neighbor: tuple[Array, Array]) -> Environment:
        vector, mask = neighbor
        env = functions.environment(vector[None], mask[None, None])
        return jax.tree.map(lambda part: part[0], env)

    # Compute the environments of all atoms in a loop: otherwise XLA would compute them anew for
    # every function and atom.
    env = jax.lax.map(of_neighbor, (vectors, present))
    lanes, channels = atom.shape[1], jnp.moveaxis(channel, 1, 0)
    two_body, three_body = jnp.split(atom, [len(channels) * functions.radial.size])

    def of_channel(block: tuple[Array, Array]) -> Array:
        atom, weight = block
        selected = _select(env, atom)
        derivatives = radial.selected_derivatives(functions.radial, selected) * weight[:, None]
        return derivatives[:, None] * selected.direction

    def of_pair(block: tuple[Array, Array, Array]) -> Array:
        atom, first, second = block
        parts, start = [], 0
        for kind in functions.angular:
            selected = _select(env, atom[start : start + kind.size])
            parts.append(triplets.selected_derivatives(kind, selected, first, second))
            start += kind.size
        return jnp.concatenate(parts, axis=2)

    # Compute the functions of each channel, then those of each pair of channels.
    derivatives = []
    if len(two_body):
        blocks = two_body.reshape(len(channels), -1, lanes)
        derivatives.append(_over_blocks(of_channel, (blocks, channels)))
    if len(three_body):
        first, second = np.asarray(pairs_of(len(channels))).T
        # Two neighbours have the weight first[j] second[k] + second[j] first[k]. In a pair of equal
        # channels both terms are the same: take half of each.
        half = jnp.where(first == second, 0.5, 1.0).astype(channel.dtype)[:, None, None]
        blocks = three_body.reshape(len(first), -1, lanes)
        derivatives.append(
            _over_blocks(of_pair, (blocks, half * channels[first], channels[second]))
        )
    return _by_positions(jnp.concatenate(derivatives, axis=2), atom, count)


def _over_blocks(
    function: Callable[[Any], Array], blocks: tuple[Array, ...]
) -> Float[Array, "n 3 f lanes"]:
    """Apply a function to one block of functions after the other, and put the results together."""
    if len(blocks[0]) == 1:
        return function(jax.tree.map(lambda part: part[0], blocks))
    results = jnp.moveaxis(jax.lax.map(function, blocks), 0, 2)
    return results.reshape(*results.shape[:2], -1, results.shape[-1])


def _by_positions(
    derivatives: Float[Array, "n 3 f wide"], atom: Int[Array, "f wide"], count: int
) -> Float[Array, "pf x lanes"]:
    """Turn derivatives by the vectors to all atoms into derivatives by the positions."""
    n, _, features, lanes = derivatives.shape
    lanes //= count
    # The sum over all vectors belongs to the atom that they start at.
    zero = jnp.zeros_like(derivatives[0])
    total, _ = jax.lax.scan(lambda sums, derivative: (sums + derivative, None), zero, derivatives)
    # Exchange the order of functions and positions in blocks of functions, which fit into a cache.
    block = max(size for size in range(1, BLOCK + 1) if features % size == 0)

    def of_block(start: Array) -> Array:
        def part(array: Array) -> Array:
            # A block belongs to one of the p selections, which are side by side in the lanes.
            array = jax.lax.dynamic_slice_in_dim(array, start % features, block, axis=-2)
            return jax.lax.dynamic_slice_in_dim(array, start // features * lanes, lanes, axis=-1)

        # Moving the end of a vector changes it as much, moving its start with the opposite sign.
        starts = part(atom)[None, None] == jnp.arange(n)[:, None, None, None]
        by_positions = part(derivatives) - jnp.where(starts, part(total)[None], 0.0)
        return jnp.moveaxis(by_positions, 2, 0)

    by_positions = jax.lax.map(of_block, jnp.arange(0, count * features, block))
    return by_positions.reshape(count * features, 3 * n, lanes)


def _select(env: Environment, atom: Int[Array, "f lanes"]) -> Environment:
    """Take the environment of the atom of each function: lanes ``(f, lanes)`` of ``(n, lanes)``."""

    def select(part: Array) -> Array:
        # A chain of selections is faster than a gather of single numbers up to some 40 atoms.
        result = jnp.zeros((*part.shape[:-2], *atom.shape), part.dtype)
        for i in range(part.shape[-2]):
            result = jnp.where(atom == i, part[..., i, None, :], result)
        return result

    return jax.tree.map(select, env)
