"""Smooth cutoff functions: zero with zero slope at the cutoff."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

CutoffName = Literal["cosine", "tanh3"]


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
    # cos^2 and -sin cos of half the phase, as quotients: XLA would compute a bare cosine once more
    # for every function that it is a factor of, but not a quotient.
    half = 0.5 * jnp.pi / r_cut * r
    tangent = jnp.sin(half) / jnp.cos(half)
    value = 1.0 / (1.0 + tangent**2)
    slope = -jnp.pi / r_cut * tangent * value
    return jnp.where(inside, value, 0.0), jnp.where(inside, slope, 0.0)


def tanh3(
    r: Float[Array, "*shape"], r_cut: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Cube of a hyperbolic tangent, and its derivative: its curvature vanishes at the cutoff too.

    .. math:: f_c(r) = \tanh^3(1 - r / r_c), \quad r < r_c, \qquad 0 \text{ beyond}

    Source: Behler, J. Chem. Phys. 134, 074106 (2011), equation 5. At r = 0 it is 0.442, not 1.

    Args:
        r: distances in Angstrom.
        r_cut: cutoff in Angstrom.

    Returns:
        Value, without a unit, and derivative in 1/Angstrom.

    >>> import jax.numpy as jnp
    >>> [round(float(x[0]), 6) for x in tanh3(jnp.array([3.0]), 6.0)]
    [0.098686, -0.083974]
    """
    inside = r < r_cut
    tanh = jnp.tanh(jnp.where(inside, 1.0 - r / r_cut, 0.0))
    return tanh**3, -3.0 / r_cut * tanh**2 * (1.0 - tanh**2) * inside


CUTOFFS = {"cosine": cosine, "tanh3": tanh3}


def check_cutoff(name: str) -> None:
    """Raise unless there is a cutoff function of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in CUTOFFS:
        raise ValueError(f"expected cutoff among {tuple(CUTOFFS)}, got {name!r}")
