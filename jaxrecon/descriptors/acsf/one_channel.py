"""Symmetry functions of a single channel: rows and their reverse-mode derivative.

Functions of one element, and weighted functions, have a single channel. Their sums are too small
for matrix products to be efficient. They are computed in loops over lanes instead, which are all
atoms of all structures of a batch.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.descriptors.acsf import radial, triplets
from jaxrecon.descriptors.acsf.angular import Angular
from jaxrecon.descriptors.acsf.radial import Radial
from jaxrecon.descriptors.environment import Environment, environment
from jaxrecon.lanes import over_lanes

MOST_NEIGHBORS = 48
"""Largest number of neighbours for which this is faster than matrix products.

The matrix products are those of :mod:`jaxrecon.descriptors.acsf.angular`.
"""


class Functions(NamedTuple):
    """The symmetry functions of each channel and of each pair of channels.

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

    def environment(self, vectors: Array, channel: Array) -> Environment:
        """The environments for these vectors in Angstrom and weights in channels."""
        return environment(vectors, channel, cutoff=self.cutoff, r_cut=self.r_cut)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rows(
    functions: Functions, vectors: Float[Array, "m 3 lanes"], channel: Float[Array, "m lanes"]
) -> Float[Array, "f lanes"]:
    """Compute all functions; their reverse-mode derivative is a closed form.

    Args:
        functions: the functions.
        vectors: vectors from the atoms to their neighbours in Angstrom.
        channel: weight of each neighbour; 0 for padding.

    Returns:
        The values, without a unit.
    """
    return over_lanes(partial(_rows, functions))(vectors, channel)


def _forward(
    functions: Functions, vectors: Array, channel: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Compute all functions, and hand their arguments to :func:`_backward`."""
    # Calling ``rows`` here would forbid second derivatives, which JAX takes in forward mode over
    # this reverse mode: ``rows`` has no forward mode.
    return over_lanes(partial(_rows, functions))(vectors, channel), (vectors, channel)


def _backward(
    functions: Functions, arguments: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    """Compute the derivatives of the sum of all functions with the cotangent as weights."""
    vectors, channel = arguments
    derivatives = over_lanes(partial(_pullback, functions))(vectors, channel, cotangent)
    # The weights of neighbours are constants.
    return derivatives, jnp.zeros_like(channel)


rows.defvjp(_forward, _backward)


def _rows(functions: Functions, vectors: Array, channel: Array) -> Array:
    """Compute all functions in all lanes."""
    env = functions.environment(vectors, channel[:, None])
    parts = [radial.values_over_lanes(functions.radial, env)]
    parts += [triplets.values(kind, env) for kind in functions.angular]
    return jnp.concatenate(parts)


def _pullback(functions: Functions, vectors: Array, channel: Array, cotangent: Array) -> Array:
    """Compute the derivatives of the weighted sum of all functions by the vectors."""
    env = functions.environment(vectors, channel[:, None])
    # The weights of the two-body functions come first, then those of each kind of three-body ones.
    sizes = [functions.radial.size, *(kind.size for kind in functions.angular)]
    weights = jnp.split(cotangent, [sum(sizes[:count]) for count in range(1, len(sizes))])
    by_distance = radial.pullback(functions.radial, env, weights[0])
    derivatives = by_distance[:, None] * env.direction
    for kind, part in zip(functions.angular, weights[1:], strict=True):
        derivatives += triplets.pullback(kind, env, part)
    return derivatives
