"""The environment of an atom, in the quantities that descriptors are written in."""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.numerics import safe_divide, safe_norm


class Environment(NamedTuple):
    """The neighbours of one atom, or of many atoms side by side along a last axis of lanes.

    Attributes:
        vectors: vectors from the atom to its neighbours in Angstrom.
        r: distances of the neighbours in Angstrom.
        direction: unit vectors to the neighbours; zero for a neighbour at no distance.
        inverse_r: ``1 / r`` in 1/Angstrom; zero for a neighbour at no distance.
        cutoff: the cutoff function at each distance, without a unit; 0 for padding.
        cutoff_derivative: its derivative by the distance in 1/Angstrom; 0 for padding.
        channel: weight of each neighbour in each channel: either 1 in the channel of its element
            and 0 in all others, or its atomic number in a single channel. Padding has weight 0 in
            all channels.
    """

    vectors: Float[Array, "m 3 ..."]
    r: Float[Array, "m ..."]
    direction: Float[Array, "m 3 ..."]
    inverse_r: Float[Array, "m ..."]
    cutoff: Float[Array, "m ..."]
    cutoff_derivative: Float[Array, "m ..."]
    channel: Float[Array, "m s ..."]


def environment(
    vectors: Float[Array, "m 3 ..."],
    channel: Float[Array, "m s ..."],
    *,
    cutoff: str,
    r_cut: float,
) -> Environment:
    """Compute distances, directions and cutoff function of the neighbours of an atom.

    Args:
        vectors: vectors from the central atom to its neighbours in Angstrom.
        channel: weight of each neighbour in each channel; 0 in all of them for padding.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.

    Returns:
        The environment, with the shapes of the arguments.
    """
    r = safe_norm(vectors, axis=1)
    inverse_r = safe_divide(jnp.ones_like(r), r)
    value, derivative = CUTOFFS[cutoff](r, r_cut)
    present = jnp.any(channel != 0, axis=1)
    return Environment(
        vectors=vectors,
        r=r,
        direction=vectors * inverse_r[:, None],
        inverse_r=inverse_r,
        cutoff=jnp.where(present, value, 0.0),
        cutoff_derivative=jnp.where(present, derivative, 0.0),
        channel=channel,
    )


def element_channels(
    species: Int[Array, " m"], mask: Bool[Array, " m"], elements: Int[Array, " e"], dtype: jnp.dtype
) -> Float[Array, "m e"]:
    """One channel for each element, in which its atoms have weight 1 and all others 0.

    Args:
        species: atomic numbers of the neighbours.
        mask: false for padding.
        elements: atomic numbers of the channels.
        dtype: data type of the result.

    Returns:
        The weight of each neighbour in each channel; 0 for padding.
    """
    return ((species[:, None] == elements[None, :]) & mask[:, None]).astype(dtype)


def weighted_channel(
    species: Int[Array, " m"], mask: Bool[Array, " m"], elements: Int[Array, " e"], dtype: jnp.dtype
) -> Float[Array, "m 1"]:
    """A single channel for all elements, in which the weight of a neighbour is its atomic number.

    Args:
        species: atomic numbers of the neighbours.
        mask: false for padding.
        elements: atomic numbers that have a weight; all others have weight 0.
        dtype: data type of the result.

    Returns:
        The weight of each neighbour; 0 for padding.
    """
    counts = (species[:, None] == elements[None, :]).any(axis=1) & mask
    return jnp.where(counts, species, 0)[:, None].astype(dtype)


def unrolled_sum(array: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Sum over an axis, written out term by term.

    With lanes last this is two to ten times as fast on a CPU as a reduction, of which XLA makes a
    tree of windows or a library call where the axis is long.

    Args:
        array: the terms.
        axis: the axis to sum over.

    Returns:
        The sums, with the shape of ``array`` without that axis.
    """
    terms = (jax.lax.index_in_dim(array, i, axis, keepdims=False) for i in range(array.shape[axis]))
    return reduce(jnp.add, terms, jnp.zeros((), array.dtype))


def first_axis(values: tuple[float, ...], like: Array, ndim: int) -> Array:
    """Arrange parameters along the first of ``ndim`` axes, so that they broadcast over the others.

    Args:
        values: the parameters.
        like: an array with the data type of the result.
        ndim: number of axes of the result.

    Returns:
        An array of shape ``(len(values), 1, ..., 1)``.
    """
    return jnp.asarray(values, like.dtype).reshape((-1,) + (1,) * (ndim - 1))


def gaussian(
    eta: Array, r_s: Array, r: Array, cutoff: Array, cutoff_derivative: Array
) -> tuple[Array, Array]:
    r"""Gaussian times cutoff function, :math:`e^{-\eta (r - r_s)^2} f_c(r)`, elementwise.

    Args:
        eta: exponents in 1/Angstrom^2.
        r_s: centres in Angstrom.
        r: distances in Angstrom.
        cutoff: the cutoff function at these distances.
        cutoff_derivative: its derivative in 1/Angstrom.

    Returns:
        The values, without a unit, and the derivatives by r in 1/Angstrom.
    """
    offset = r - r_s
    value = jnp.exp(-eta * offset**2)
    return value * cutoff, value * (cutoff_derivative - 2.0 * eta * offset * cutoff)
