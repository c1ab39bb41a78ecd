r"""Real solid harmonics and their gradients, for sums over neighbours that replace sums over pairs.

The solid harmonics :math:`S_{lm}(\mathbf v) = |\mathbf v|^l\, Y_{lm}(\hat{\mathbf v})` are
polynomials of the components of a vector. So they and their derivatives are exact everywhere, at
the poles and at a vector of zero too. They are computed as in Bigi et al., J. Chem. Phys. 159,
064802 (2023):

.. math::
    S_{lm} = F_{lm} Q_l^{|m|}(z, r^2) \begin{cases} \mathrm{Re}\,(x + iy)^m & m \ge 0 \\
    \mathrm{Im}\,(x + iy)^{|m|} & m < 0 \end{cases}, \quad
    F_{lm} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-|m|)!}{(l+|m|)!}}
    \begin{cases} 1 & m = 0 \\ \sqrt 2 & m \ne 0 \end{cases}

where :math:`Q_l^m` is the associated Legendre function divided by :math:`\sin^m\theta` and
multiplied by :math:`r^{l-m}`.
"""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MAX_DEGREE = 20
"""Largest degree l: the factorials in the prefactors stay within the range of float32."""


def count(l_max: int) -> int:
    """The number of harmonics of all degrees up to ``l_max``."""
    return (l_max + 1) ** 2


def degrees(l_max: int) -> np.ndarray:
    """The degree l of each harmonic, in their order."""
    return np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)


def solid_harmonics(vectors: Float[Array, "3 ..."], l_max: int) -> Float[Array, "k ..."]:
    """Compute the real solid harmonics of vectors.

    Args:
        vectors: the components along the first axis.
        l_max: largest degree, at most :data:`MAX_DEGREE`.

    Returns:
        The harmonics ``l**2 + l + m`` along the first axis, :func:`count` of them, in the unit of
        the vectors to the power l.

    >>> import jax.numpy as jnp
    >>> solid_harmonics(jnp.array([0.0, 0.0, 2.0]), 1).tolist()  # doctest: +ELLIPSIS
    [0.282..., 0.0, 0.977..., 0.0]
    """
    legendre, cosine, sine = _factors(vectors, l_max)
    values = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            azimuthal = cosine[m] if m >= 0 else sine[-m]
            values.append(_prefactor(l, abs(m)) * legendre[l, abs(m)] * azimuthal)
    return jnp.stack(values)


def gradients(vectors: Float[Array, "3 ..."], l_max: int) -> Float[Array, "3 k ..."]:
    """Compute the derivatives of the real solid harmonics by the components of the vectors.

    Args:
        vectors: as for :func:`solid_harmonics`.
        l_max: as for :func:`solid_harmonics`.

    Returns:
        The derivatives by x, y and z, in the unit of the vectors to the power l - 1.
    """
    legendre, cosine, sine = _factors(vectors, l_max)
    x, y, _ = vectors
    zero = jnp.zeros_like(x)
    by_x, by_y, by_z = [], [], []
    for l in range(l_max + 1):
        for order in range(-l, l + 1):
            m = abs(order)
            prefactor = _prefactor(l, m)
            azimuthal = cosine[m] if order >= 0 else sine[m]
            # The Legendre factor depends on z and on r^2; it has a degree less after a derivative.
            along_r = legendre[l - 1, m + 1] * azimuthal if m < l - 1 else zero
            along_z = (l + m) * legendre[l - 1, m] * azimuthal if m < l else zero
            # The derivatives of (x + iy)^m by x and y are m (x + iy)^(m-1) and i times this.
            lower, other = (cosine, sine) if order >= 0 else (sine, cosine)
            sign = -1.0 if order >= 0 else 1.0
            turned_x = m * lower[m - 1] * legendre[l, m] if m else zero
            turned_y = sign * m * other[m - 1] * legendre[l, m] if m else zero
            by_x.append(prefactor * (turned_x - x * along_r))
            by_y.append(prefactor * (turned_y - y * along_r))
            by_z.append(prefactor * along_z)
    return jnp.stack([jnp.stack(by_x), jnp.stack(by_y), jnp.stack(by_z)])


def _factors(
    vectors: Array, l_max: int
) -> tuple[dict[tuple[int, int], Array], list[Array], list[Array]]:
    """The Legendre factors by l and m, and the real and imaginary parts of (x + iy)^m."""
    x, y, z = vectors
    square = x * x + y * y + z * z
    one = jnp.ones_like(x)
    cosine, sine = [one], [jnp.zeros_like(x)]
    for _ in range(l_max):
        cosine.append(x * cosine[-1] - y * sine[-1])
        sine.append(x * sine[-1] + y * cosine[-2])
    # Recursions upwards in l, from the factor (2m - 1)!! of l = m.
    legendre: dict[tuple[int, int], Array] = {}
    for m in range(l_max + 1):
        legendre[m, m] = float(math.prod(range(2 * m - 1, 0, -2))) * one
        for l in range(m + 1, l_max + 1):
            value = (2 * l - 1) * z * legendre[l - 1, m]
            if l > m + 1:
                value -= (l + m - 1) * square * legendre[l - 2, m]
            legendre[l, m] = value / (l - m)
    return legendre, cosine, sine


@lru_cache
def _prefactor(l: int, m: int) -> float:
    """The prefactor of degree l and order m >= 0."""
    ratio = (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m)
    return math.sqrt(ratio * (1 if m == 0 else 2))
