"""Rows of symmetry functions and their derivatives by the positions, with early sums over images.

A position moves all images of its atom. The derivatives of the sums over neighbours that functions
are made of are summed over these before they turn into those of the many functions.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.acsf import radial, three_body
from jaxrecon.descriptors.acsf.angular import pairs_of
from jaxrecon.descriptors.acsf.one_channel import Functions
from jaxrecon.descriptors.blocks import in_blocks
from jaxrecon.descriptors.environment import Environment
from jaxrecon.numerics import einsum
from jaxrecon.structures.neighbors import Neighbors

Channels = Callable[[Int[Array, " m"], Bool[Array, " m"]], Float[Array, "m s"]]
"""The weights in channels of atoms, from their atomic numbers and whether they are present."""


def with_derivatives(
    functions: Functions,
    neighbors: Neighbors,
    channels: Channels,
    *,
    strain: bool,
) -> tuple[Float[Array, "n f"], Float[Array, "n f x 3"]]:
    """Compute the rows of all atoms and their derivatives by the positions.

    Args:
        functions: the functions of each channel and of each pair of channels, G4 not among them.
        neighbors: the environments, with centres.
        channels: weights of neighbours in channels.
        strain: whether to add the derivatives by the strain of space.

    Returns:
        The rows, without a unit; and their derivatives in 1/Angstrom, with those by the strain
        below them.
    """
    centers = jnp.asarray(neighbors.center)
    own = channels(centers, centers > 0)
    n, count, dtype = *own.shape, own.dtype
    source = neighbors.source
    if source is None:
        source = jnp.broadcast_to(jnp.arange(n)[None], neighbors.mask.shape)
    # A strain moves the neighbours of each channel like three points, one for each coordinate.
    moved = own
    if strain:
        moved = jnp.concatenate([own, jnp.repeat(jnp.eye(count, dtype=dtype), 3, axis=0)])

    def of_atom(atom: tuple[Array, ...]) -> tuple[Array, Array]:
        vectors, species, mask, source, center = atom
        channel = channels(species, mask)
        env = functions.environment(vectors, channel)
        points = nn.one_hot(source, n, dtype=dtype) * mask[:, None].astype(dtype)
        if strain:
            present = jnp.where(mask[:, None], vectors, 0.0)
            sheared = channel[:, :, None] * present[:, None, :]
            points = jnp.concatenate([points, sheared.reshape(len(vectors), -1)], axis=1)
        values, derivatives = row_with_derivatives(functions, env, points, moved=moved)
        # The vectors to all neighbours start at the central atom.
        ends = derivatives[:, :n]
        start = nn.one_hot(center, n, dtype=dtype)[None, :, None]
        by_positions = ends - start * ends.sum(axis=1, keepdims=True)
        if strain:
            by_strain = derivatives[:, n:].reshape(-1, count, 3, 3).sum(axis=1)
            by_strain = (by_strain + jnp.swapaxes(by_strain, 1, 2)) / 2.0
            by_positions = jnp.concatenate([by_positions, by_strain], axis=1)
        return values, by_positions

    arrays = (
        neighbors.vectors,
        neighbors.species,
        neighbors.mask,
        source,
        jnp.arange(n),
    )
    pairs = count * (count + 1) // 2
    features = count * functions.radial.size + pairs * sum(k.size for k in functions.angular)
    return in_blocks(of_atom, arrays, 3 * features * len(moved))


def row_with_derivatives(
    functions: Functions,
    env: Environment,
    points: Float[Array, "m p"],
    *,
    moved: Float[Array, "p s"],
) -> tuple[Float[Array, " f"], Float[Array, "f p 3"]]:
    """Compute a row and its derivatives by the coordinates of points.

    Args:
        functions: the functions of each channel and of each pair of channels, G4 not among them.
        env: the environment.
        points: how much each neighbour moves with each point.
        moved: weights in channels of the neighbours that move with each point.

    Returns:
        The row, without a unit, and the derivatives in 1/Angstrom.
    """
    weight = moved.T[:, None, :, None]
    values, slopes = radial.values_and_slopes(functions.radial, env)
    directed = points[:, :, None] * env.direction[:, None]
    by_points = weight * einsum("fj,jpx->fpx", slopes, directed)[None]
    blocks = [(values.ravel(), by_points.reshape(-1, *by_points.shape[2:]))]
    # For each pair of channels add the points in the first with the neighbours in the second, and
    # the other way round. In a pair of equal channels both are the same: add them once.
    first, second = np.asarray(pairs_of(moved.shape[1])).T
    other = weight[second] * jnp.asarray(first != second, moved.dtype).reshape(-1, 1, 1, 1)
    for kind in functions.angular:
        values, slopes = three_body.values_and_slopes(kind, env)
        by_points = einsum("jp,ajesx->saepx", points, slopes)
        by_points = by_points.reshape(moved.shape[1], -1, *by_points.shape[3:])
        by_points = weight[first] * by_points[second] + other * by_points[first]
        blocks.append((values.ravel(), by_points.reshape(-1, *by_points.shape[2:])))
    row, derivatives = map(jnp.concatenate, zip(*blocks, strict=True))
    return row, derivatives
