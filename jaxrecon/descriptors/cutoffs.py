"""Smooth cutoff functions: one at zero distance, zero with zero slope at the cutoff."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def cosine(
    r: Float[Array, "*shape"], r_cut: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Cosine cutoff and its derivative.

    .. math:: f_c(r) = \tfrac12 [\cos(\pi r / r_c) + 1], \quad r < r_c, \qquad 0 \text{ beyond}

    Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), equation 4.

    Args:
        r: distances in Angstrom.
        r_cut: cutoff in Angstrom.

    Returns:
        Value, without a unit, and derivative in 1/Angstrom.

    >>> import jax.numpy as jnp
    >>> [round(float(x[0]), 6) for x in cosine(jnp.array([3.0]), 6.0)]
    [0.5, -0.261799]
    """
    inside = r < r_cut
    phase = jnp.pi / r_cut * r
    value = jnp.where(inside, 0.5 * (jnp.cos(phase) + 1.0), 0.0)
    slope = jnp.where(inside, -0.5 * jnp.pi / r_cut * jnp.sin(phase), 0.0)
    return value, slope
