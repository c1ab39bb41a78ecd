"""One central atom's neighbours in the quantities that symmetry functions are written in."""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.numerics import safe_divide, safe_norm


class Environment(NamedTuple):
    """What one atom sees; or many atoms, side by side along a last axis of lanes.

    Attributes:
        vectors: to the neighbours in Angstrom.
        r: distances in Angstrom.
        direction: unit vectors to the neighbours; zero for one at no distance.
        inverse_r: in 1/Angstrom; zero for a neighbour at no distance.
        cutoff: cutoff function, 0 for what is no neighbour.
        cutoff_slope: its derivative in 1/Angstrom.
        channel: how much each neighbour counts in each channel: 1 in that of its element and 0 in
            all others, or its atomic number in the one channel of weighted functions.
    """

    vectors: Float[Array, "m 3 ..."]
    r: Float[Array, "m ..."]
    direction: Float[Array, "m 3 ..."]
    inverse_r: Float[Array, "m ..."]
    cutoff: Float[Array, "m ..."]
    cutoff_slope: Float[Array, "m ..."]
    channel: Float[Array, "m s ..."]


def environment(
    vectors: Float[Array, "m 3 ..."],
    channel: Float[Array, "m s ..."],
    *,
    cutoff: str,
    r_cut: float,
) -> Environment:
    """Environment from the vectors to the neighbours in Angstrom; those of no channel are out.

    Args:
        vectors: from the central atom to its neighbours.
        channel: how much each neighbour counts in each channel.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
    """
    r = safe_norm(vectors, axis=1)
    inverse_r = safe_divide(jnp.ones_like(r), r)
    value, slope = CUTOFFS[cutoff](r, r_cut)
    there = jnp.any(channel != 0, axis=1)
    return Environment(
        vectors=vectors,
        r=r,
        direction=vectors * inverse_r[:, None],
        inverse_r=inverse_r,
        cutoff=jnp.where(there, value, 0.0),
        cutoff_slope=jnp.where(there, slope, 0.0),
        channel=channel,
    )


def element_channels(
    species: Int[Array, " m"], mask: Bool[Array, " m"], elements: Int[Array, " e"], dtype: jnp.dtype
) -> Float[Array, "m e"]:
    """One channel for each element: 1 for its atoms, 0 for padding and for all other elements.

    Args:
        species: atomic numbers of the neighbours.
        mask: false for padding.
        elements: atomic numbers of the channels.
        dtype: data type of the result.
    """
    return ((species[:, None] == elements[None, :]) & mask[:, None]).astype(dtype)


def weighted_channel(
    species: Int[Array, " m"], mask: Bool[Array, " m"], elements: Int[Array, " e"], dtype: jnp.dtype
) -> Float[Array, "m 1"]:
    """One channel for all elements, in which a neighbour counts its atomic number.

    Args:
        species: atomic numbers of the neighbours.
        mask: false for padding.
        elements: atomic numbers that count; others count 0.
        dtype: data type of the result.
    """
    counts = (species[:, None] == elements[None, :]).any(axis=1) & mask
    return jnp.where(counts, species, 0)[:, None].astype(dtype)


def einsum(subscripts: str, *operands: Array) -> Array:
    """Sum of products at full precision: accelerators round float32 products to 10 bits else."""
    return jnp.einsum(subscripts, *operands, precision=Precision.HIGHEST)


def added(array: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The sum over an axis, term by term.

    XLA makes trees of windows of longer sums on a CPU, or hands them to a library, and takes two to
    ten times as long where lanes are last.
    """
    parts = (jax.lax.index_in_dim(array, i, axis, keepdims=False) for i in range(array.shape[axis]))
    return reduce(jnp.add, parts, jnp.zeros((), array.dtype))


def column(values: tuple[float, ...], like: Array, ndim: int) -> Array:
    """Parameters along the first of ``ndim`` axes, in the dtype of ``like``."""
    return jnp.asarray(values, like.dtype).reshape((-1,) + (1,) * (ndim - 1))


def gaussian(
    eta: Array, r_s: Array, r: Array, cutoff: Array, cutoff_slope: Array
) -> tuple[Array, Array]:
    r""":math:`e^{-\eta (r - r_s)^2} f_c(r)` and its derivative by r, elementwise."""
    offset = r - r_s
    value = jnp.exp(-eta * offset**2)
    return value * cutoff, value * (cutoff_slope - 2.0 * eta * offset * cutoff)
