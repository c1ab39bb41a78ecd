"""Smooth cutoff functions: their value and derivative are zero at the cutoff and beyond."""

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
        The value, without a unit, and the derivative by the distance in 1/Angstrom.

    >>> import jax.numpy as jnp
    >>> [round(float(x[0]), 6) for x in cosine(jnp.array([3.0]), 6.0)]
    [0.5, -0.261799]
    """
    inside = r < r_cut
    # The value is cos^2, and the derivative is -sin cos, of half the phase. Both are quotients with
    # the tangent here: XLA would compute a plain cosine again in every product it is a factor of.
    half = 0.5 * jnp.pi / r_cut * r
    tangent = jnp.sin(half) / jnp.cos(half)
    value = 1.0 / (1.0 + tangent**2)
    derivative = -jnp.pi / r_cut * tangent * value
    return jnp.where(inside, value, 0.0), jnp.where(inside, derivative, 0.0)


def tanh3(
    r: Float[Array, "*shape"], r_cut: float
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Cube of a hyperbolic tangent, whose curvature is zero at the cutoff too, and its derivative.

    .. math:: f_c(r) = \tanh^3(1 - r / r_c), \quad r < r_c, \qquad 0 \text{ beyond}

    Source: Behler, J. Chem. Phys. 134, 074106 (2011), equation 5. At r = 0 the value is 0.442.

    Args:
        r: distances in Angstrom.
        r_cut: cutoff in Angstrom.

    Returns:
        The value, without a unit, and the derivative by the distance in 1/Angstrom.

    >>> import jax.numpy as jnp
    >>> [round(float(x[0]), 6) for x in tanh3(jnp.array([3.0]), 6.0)]
    [0.098686, -0.083974]
    """
    inside = r < r_cut
    tanh = jnp.tanh(jnp.where(inside, 1.0 - r / r_cut, 0.0))
    return tanh**3, -3.0 / r_cut * tanh**2 * (1.0 - tanh**2) * inside.astype(tanh.dtype)


CUTOFFS = {"cosine": cosine, "tanh3": tanh3}
"""The cutoff functions by name."""


def check_cutoff(name: str) -> None:
    """Check that a cutoff function has this name.

    Args:
        name: the name to check.

    Raises:
        ValueError: if no cutoff function has it.
    """
    if name not in CUTOFFS:
        raise ValueError(f"expected cutoff among {tuple(CUTOFFS)}, got {name!r}")
