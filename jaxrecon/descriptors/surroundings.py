"""One central atom's neighbours in the quantities that symmetry functions are written in."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.numerics import safe_divide, safe_norm


class Surroundings(NamedTuple):
    """What one atom sees.

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

    vectors: Float[Array, "m 3"]
    r: Float[Array, " m"]
    direction: Float[Array, "m 3"]
    inverse_r: Float[Array, " m"]
    cutoff: Float[Array, " m"]
    cutoff_slope: Float[Array, " m"]
    channel: Float[Array, "m s"]


def surroundings(
    vectors: Float[Array, "m 3"],
    species: Int[Array, " m"],
    mask: Bool[Array, " m"],
    elements: Int[Array, " e"],
    *,
    cutoff: str,
    r_cut: float,
    weighted: bool,
) -> Surroundings:
    """Surroundings from the vectors to the neighbours in Angstrom; elements of no channel are out.

    Args:
        vectors: from the central atom to its neighbours.
        species: their atomic numbers.
        mask: false for padding.
        elements: atomic numbers of the channels.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
        weighted: whether there is one channel, weighted by atomic numbers.
    """
    r = safe_norm(vectors)
    inverse_r = safe_divide(jnp.ones_like(r), r)
    value, slope = CUTOFFS[cutoff](r, r_cut)
    channel = species[:, None] == elements[None, :]
    mask = mask & channel.any(axis=-1)
    return Surroundings(
        vectors=vectors,
        r=r,
        direction=vectors * inverse_r[:, None],
        inverse_r=inverse_r,
        cutoff=jnp.where(mask, value, 0.0),
        cutoff_slope=jnp.where(mask, slope, 0.0),
        channel=(species[:, None] if weighted else channel).astype(r.dtype),
    )


def einsum(subscripts: str, *operands: Array) -> Array:
    """Sum of products at full precision: accelerators round float32 products to 10 bits else."""
    return jnp.einsum(subscripts, *operands, precision=Precision.HIGHEST)


def column(values: tuple[float, ...], like: Array, ndim: int) -> Array:
    """Parameters along the first of ``ndim`` axes, in the dtype of ``like``."""
    return jnp.asarray(values, like.dtype).reshape((-1,) + (1,) * (ndim - 1))
