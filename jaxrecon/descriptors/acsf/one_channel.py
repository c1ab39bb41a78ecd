"""Symmetry functions of one channel over lanes: rows and their pull-back.

One element, or functions weighted by atomic numbers, leave no matrix products worth the name, but
long loops over (atoms x structures), which is what the lanes are.
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
"""With more, the matrix products of :mod:`~jaxrecon.descriptors.acsf.angular` are faster."""


class Functions(NamedTuple):
    """Parameters of the functions of each channel and pair of channels: hashable.

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

    def see(self, vectors: Array, channel: Array) -> Environment:
        """What the atoms see."""
        return environment(vectors, channel, cutoff=self.cutoff, r_cut=self.r_cut)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rows(
    functions: Functions, vectors: Float[Array, "m 3 lanes"], channel: Float[Array, "m lanes"]
) -> Float[Array, "f lanes"]:
    """Every function, without a unit; the pull-back is a closed form.

    Args:
        functions: their parameters.
        vectors: from the atoms to their neighbours in Angstrom.
        channel: how much each neighbour counts; 0 for none.
    """
    return over_lanes(partial(_rows, functions))(vectors, channel)


def _forward(
    functions: Functions, vectors: Array, channel: Array
) -> tuple[Array, tuple[Array, Array]]:
    # Not by the function itself: forward mode over this reverse mode gives second derivatives.
    return over_lanes(partial(_rows, functions))(vectors, channel), (vectors, channel)


def _backward(functions: Functions, kept: tuple[Array, Array], share: Array) -> tuple[Array, Array]:
    vectors, channel = kept
    moved = over_lanes(partial(_pullback, functions))(vectors, channel, share)
    return moved, jnp.zeros_like(channel)


rows.defvjp(_forward, _backward)


def _rows(functions: Functions, vectors: Array, channel: Array) -> Array:
    s = functions.see(vectors, channel[:, None])
    parts = [radial.values_by_lanes(functions.radial, s)]
    parts += [triplets.values(kind, s) for kind in functions.angular]
    return jnp.concatenate(parts)


def _pullback(functions: Functions, vectors: Array, channel: Array, share: Array) -> Array:
    s = functions.see(vectors, channel[:, None])
    sizes = [functions.radial.size, *(kind.size for kind in functions.angular)]
    shares = _split(share, sizes)
    moved = radial.pullback(functions.radial, s, shares[0])[:, None] * s.direction
    for kind, part in zip(functions.angular, shares[1:], strict=True):
        moved += triplets.pullback(kind, s, part)
    return moved


def _split(array: Array, sizes: list[int]) -> list[Array]:
    return jnp.split(array, [sum(sizes[:count]) for count in range(1, len(sizes))])
